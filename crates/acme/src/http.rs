//! Requests to the CA: a connection each, deadlines, roots, and what a status line says.
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::response::Parts;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::dns;

/// Octets of the largest response; a certificate chain has some 5,000.
const BODY_OCTETS_MAX: usize = 1 << 20;
/// Longest pause that a CA can ask for: a mistake there must not end renewals for good.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// One address of the CA's host; there may be others.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of the CA's host that are tried.
const ADDRESSES_MAX: usize = 8;

/// How a CA is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    /// PEM file of roots, every certificate of which counts; nothing for the system's.
    pub(crate) roots: Option<&'a Path>,
    /// Whether the system's count beside those of the file.
    pub(crate) with_system_roots: bool,
    /// HOST:PORT of the resolver that knows the CA's host; nothing for the system's.
    pub(crate) resolver: Option<&'a str>,
    /// Resolvers that are asked when the system's fails.
    pub(crate) fallbacks: &'a [SocketAddr],
    /// One request, connection included.
    pub(crate) deadline: Duration,
}

/// The way to one CA.
#[derive(Clone)]
pub(crate) struct Transport {
    tls: Arc<ClientConfig>,
    resolver: Option<String>,
    fallbacks: Arc<[SocketAddr]>,
    deadline: Duration,
    heard: Arc<Mutex<Heard>>,
}

/// What responses said that the ACME library does not pass on.
#[derive(Debug, Default)]
struct Heard {
    /// When to try again.
    retry_after: Option<Duration>,
    /// Whether the last refusal was for too many requests.
    rate_limited: bool,
    /// Names by which records of dns-persist-01 know the CA.
    issuer_names: Vec<String>,
}

/// What a CA says of itself (RFC 8555 section 7.1.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// Where it says when to renew (RFC 9773 section 4).
    pub(crate) renewal_info: Option<String>,
    /// Its clock.
    pub(crate) date: Option<SystemTime>,
    /// Names by which CAA records know it.
    pub(crate) caa_identities: Vec<String>,
    /// Its profiles, sorted.
    pub(crate) profiles: Vec<String>,
    /// Whether it has only customers of its own.
    pub(crate) wants_binding: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryText {
    #[serde(rename = "newOrder")]
    _new_order: String,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: MetaText,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetaText {
    caa_identities: Vec<String>,
    profiles: std::collections::BTreeMap<String, serde_json::Value>,
    external_account_required: bool,
}

/// An authorization, as far as the library leaves it out.
#[derive(Deserialize)]
struct AuthorizationText {
    #[serde(default)]
    challenges: Vec<ChallengeText>,
}

#[derive(Deserialize)]
struct ChallengeText {
    #[serde(default, rename = "issuer-domain-names")]
    issuer_domain_names: Vec<String>,
}

/// A response that is none of ACME's, such as a proxy's page.
#[derive(Debug, thiserror::Error)]
#[error("the CA answered {status} without an ACME problem document")]
pub(crate) struct Unavailable {
    pub(crate) status: StatusCode,
}

/// A response that is no directory.
#[derive(Debug, thiserror::Error)]
#[error("this is no ACME directory; is '/directory' missing at the end of the URL?")]
pub(crate) struct NoDirectory;

/// The request did not reach the CA, or its response did not reach us.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {source}")]
pub(crate) struct Unreachable {
    host: String,
    source: io::Error,
}

impl Unreachable {
    /// What is wrong with the certificate that the CA's server shows, if that is it.
    pub(crate) fn certificate(&self) -> Option<&CertificateError> {
        match self.source.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn new(host: &str, source: io::Error) -> Self {
        let host = host.to_owned();
        Self { host, source }
    }
}

impl Transport {
    /// Reads the roots.
    pub(crate) fn new(access: Access<'_>) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        if access.roots.is_none() || access.with_system_roots {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        match access.roots {
            None => {
                if store.is_empty() {
                    return Err("the system has no root certificates (Debian: install ca-certificates, or name a file with 'cacert')".into());
                }
            }
            Some(file) => {
                let explain =
                    |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
                for root in CertificateDer::pem_file_iter(file).map_err(|error| explain(&error))? {
                    let root = root.map_err(|error| explain(&error))?;
                    store.add(root).map_err(|error| explain(&error))?;
                }
                if store.is_empty() {
                    return Err(format!("{}: no certificate in the file", file.display()));
                }
            }
        }
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(store)
                .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            resolver: access.resolver.map(str::to_owned),
            fallbacks: access.fallbacks.into(),
            deadline: access.deadline,
            heard: Arc::default(),
        })
    }

    /// What the CA said last about the time to try again; asked once.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.heard().retry_after.take()
    }

    /// Whether the last refusal was for too many requests.
    pub(crate) fn was_rate_limited(&self) -> bool {
        self.heard().rate_limited
    }

    /// Names by which records of dns-persist-01 know the CA.
    pub(crate) fn issuer_names(&self) -> Vec<String> {
        self.heard().issuer_names.clone()
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the CA's directory. An error names the likely mistake.
    pub(crate) async fn directory(&self, url: &str) -> Result<Directory, Error> {
        let (parts, body) = self.get(url).await.map_err(|error| match &error {
            Error::Other(other)
                if other
                    .downcast_ref::<Unavailable>()
                    .is_some_and(|answer| answer.status == StatusCode::NOT_FOUND) =>
            {
                Error::Other(Box::new(NoDirectory))
            }
            _ => error,
        })?;
        let text: DirectoryText =
            serde_json::from_slice(&body).map_err(|_| Error::Other(Box::new(NoDirectory)))?;
        let date = parts.headers.get(DATE).and_then(|date| date.to_str().ok());
        Ok(Directory {
            renewal_info: text.renewal_info,
            date: date.and_then(|date| httpdate::parse_http_date(date).ok()),
            caa_identities: text.meta.caa_identities,
            profiles: text.meta.profiles.into_keys().collect(),
            wants_binding: text.meta.external_account_required,
        })
    }

    /// A plain GET of a resource that needs no signature.
    pub(crate) async fn get(&self, url: &str) -> Result<(Parts, Bytes), Error> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        let (parts, body) = self.exchange(request).await?;
        match parts.status.is_success() {
            true => Ok((parts, body)),
            false => Err(Error::Other(Box::new(Unavailable {
                status: parts.status,
            }))),
        }
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (parts, body) = self.exchange(request).await?;
        let is_problem = header(&parts, CONTENT_TYPE).starts_with("application/problem+json");
        if (parts.status.is_client_error() || parts.status.is_server_error()) && !is_problem {
            return Err(Error::Other(Box::new(Unavailable {
                status: parts.status,
            })));
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(body),
        })
    }

    /// Keeps what the library does not pass on.
    fn hear(&self, parts: &Parts, body: &[u8]) {
        let mut heard = self.heard();
        let wish = retry_after(header(parts, RETRY_AFTER), SystemTime::now());
        heard.retry_after = wish.map(|wish| wish.min(RETRY_AFTER_MAX));
        if parts.status.is_client_error() || parts.status.is_server_error() {
            heard.rate_limited = parts.status == StatusCode::TOO_MANY_REQUESTS;
        } else if let Ok(text) = serde_json::from_slice::<AuthorizationText>(body) {
            let names = text.challenges.into_iter();
            let mut names = names
                .flat_map(|challenge| challenge.issuer_domain_names)
                .peekable();
            if names.peek().is_some() {
                heard.issuer_names = names.collect();
            }
        }
    }

    /// One request over a connection of its own.
    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<(Parts, Bytes), Error> {
        let host = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let failed = |source| Error::Other(Box::new(Unreachable::new(&host, source)));
        let exchange = async {
            let stream = self.connect(request.uri()).await?;
            let uri = request.uri().clone();
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse().map_err(io::Error::other)?;
            let headers = request.headers_mut();
            headers.insert(
                HOST,
                HeaderValue::from_str(&host).map_err(io::Error::other)?,
            );
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("corten/", env!("CARGO_PKG_VERSION"))),
            );
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
            let exchange = async {
                let (parts, body) = sender
                    .send_request(request)
                    .await
                    .map_err(io::Error::other)?
                    .into_parts();
                let body = Limited::new(body, BODY_OCTETS_MAX)
                    .collect()
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>((parts, body.to_bytes()))
            };
            // Driven side by side. A connection that ends first may have brought the whole
            // response; else its reason tells more than the request that was cut off.
            let mut exchange = pin!(exchange);
            tokio::select! {
                done = &mut exchange => done,
                ended = connection => {
                    exchange.await.map_err(|cut| ended.err().map_or(cut, io::Error::other))
                }
            }
        };
        let timed = timeout(self.deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (parts, body) = timed.map_err(failed)?;
        self.hear(&parts, &body);
        Ok((parts, body))
    }

    /// Connects to the first address of the host that answers.
    async fn connect(&self, uri: &Uri) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        if uri.scheme_str() != Some("https") {
            return Err(io::Error::other(format!("'{uri}' is not an https URL")));
        }
        let host = uri
            .host()
            .ok_or_else(|| io::Error::other("the URL has no host"))?
            .trim_start_matches('[')
            .trim_end_matches(']');
        let addresses = self.addresses(host, uri.port_u16().unwrap_or(443)).await?;
        let mut failed = io::Error::other("its name has no address");
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let connected = timeout(CONNECT, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                    return TlsConnector::from(Arc::clone(&self.tls))
                        .connect(name, stream)
                        .await;
                }
                // The request's own error names the host.
                Err(error) if host.parse::<IpAddr>().is_ok() => failed = error,
                Err(error) => failed = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(failed)
    }

    /// Addresses of the CA's host: from the resolver that was named, else from the system's, else
    /// from those that this server forwards to. The system's may be this very server.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut why = String::new();
        if let Some(resolver) = &self.resolver {
            match ask(dns::resolvers(Some(resolver)).await, host, port).await {
                Ok(found) => return Ok(found),
                Err(error) => why = format!("{error}; "),
            }
        }
        let system = match tokio::net::lookup_host((host, port)).await {
            Ok(found) => return Ok(found.collect()),
            Err(error) => error,
        };
        if !self.fallbacks.is_empty() {
            match ask(Ok(self.fallbacks.to_vec()), host, port).await {
                Ok(found) => return Ok(found),
                Err(error) => why = format!("{why}{error}; "),
            }
        }
        Err(io::Error::other(format!(
            "{why}the system's resolver does not know the host ({system}); if it is this very server, name another one: resolver HOST:PORT"
        )))
    }
}

/// Addresses of a host, from resolvers.
async fn ask(
    resolvers: Result<Vec<SocketAddr>, String>,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let name = host
        .parse()
        .map_err(|error| format!("'{host}' is no name of a host: {error}"))?;
    let found = dns::addresses(&resolvers?, &name).await?;
    match found.is_empty() {
        true => Err(format!("the resolver has no address of {host}")),
        false => Ok(found
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect()),
    }
}

fn header(parts: &Parts, name: HeaderName) -> &str {
    let value = parts.headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A time to wait: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_has_two_forms() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(
                retry_after(value, now),
                seconds.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }
}
