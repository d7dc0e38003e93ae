//! HTTP endpoints of the process, such as `/metrics`.
//!
//! A plugin announces an endpoint in its set-up; the server binds, speaks HTTP and switches to the new
//! generation's endpoints with everything else, so that a reload that fails leaves them alone.
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use corten_corefile::Token;
use http::{Request, Response};

use crate::{SetupError, TlsIdentity};

/// Answers requests for one path.
#[async_trait]
pub trait Endpoint: Send + Sync {
    /// The answer to a GET or HEAD request; to others the server answers 405. The body is left out
    /// for HEAD by the server.
    async fn respond(&self, request: &Request<()>) -> Response<Vec<u8>>;
}

/// An endpoint and where it is wanted; given to [`crate::Setup::announce`].
///
/// Several may share an address. The first announcement of a path counts; those of the same
/// directive in other blocks are expected to answer alike.
#[derive(Clone)]
pub struct Announcement {
    /// Who wants it.
    pub directive: &'static str,
    /// Where, as [`Announcement::address`] reads it.
    pub address: String,
    /// What it answers for; a path that ends in a slash stands for everything below it.
    pub path: &'static str,
    /// What answers.
    pub endpoint: Arc<dyn Endpoint>,
    /// TLS on this address; nothing for plain HTTP.
    pub tls: Option<Arc<dyn TlsIdentity>>,
}

impl Announcement {
    /// Reads `HOST:PORT`; without a host it is every address of the machine.
    pub fn address(token: &Token) -> Result<String, SetupError> {
        let text = token.text.as_str();
        let wrong = |what: &str| {
            let error = token.error(format!("address {text}: {what}"));
            Err(error
                .help("an address is HOST:PORT or :PORT, such as 'localhost:9153'")
                .into())
        };
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("missing port in address");
        };
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        match bracketed {
            Some(host) if host.parse::<std::net::Ipv6Addr>().is_err() => {
                return wrong("not an IPv6 address between the brackets");
            }
            None if host.contains(':') => return wrong("too many colons in address"),
            _ => (),
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(text.to_owned()),
            _ => wrong("invalid port"),
        }
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}{}", self.directive, self.address, self.path)
    }
}

/// A plain-text answer.
pub fn text(status: u16, body: impl Into<String>) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into().into_bytes());
    // Statuses of endpoints are constants of the program.
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use corten_corefile::{Source, parse};

    use super::*;

    #[test]
    fn addresses_have_a_port() {
        for (text, expected) in [
            ("localhost:9153", None),
            (":9153", None),
            ("[::1]:9153", None),
            ("localhost", Some("missing port in address")),
            ("8181", Some("missing port in address")),
            ("::1:9153", Some("too many colons in address")),
            ("[x]:9153", Some("not an IPv6 address")),
            ("localhost:http", Some("invalid port")),
            ("localhost:", Some("invalid port")),
            (":0", Some("invalid port")),
        ] {
            let corefile = format!(". {{\n    health {text}\n}}\n");
            let source = Source {
                name: "Corefile",
                text: &corefile,
                path: None,
            };
            let corefile = parse(&source, &["health"], &|_| None).unwrap();
            let line = corefile.blocks[0].directives[0].occurrence().unwrap();
            let read = Announcement::address(line.args[0]).map_err(|error| error.to_string());
            match (read, expected) {
                (Ok(read), None) => assert_eq!(read, text),
                (Err(error), Some(expected)) => {
                    assert!(
                        error.contains(&format!("address {text}: {expected}")),
                        "{error}"
                    );
                    assert!(error.contains("Corefile:2"), "{error}");
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
