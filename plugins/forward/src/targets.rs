//! The words behind FROM: addresses, names and files, and the servers that they stand for.
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use corten_plugin::corefile::Token;
use corten_plugin::{Setup, SetupError, nameservers, socket_address};
use corten_upstream::{Protocol, Server, client_tls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Path that a DoH server is asked under (RFC 8484 section 4.1; CoreDNS's).
const DOH_PATH: &str = "/dns-query";

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Plain,
    Tls,
    Https,
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Plain => 53,
            Self::Tls => 853,
            Self::Https => 443,
        }
    }
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Known.
    Address(SocketAddr),
    /// To be resolved.
    Name { host: String, port: u16 },
    /// The `nameserver` lines of a file.
    File(PathBuf),
}

/// An upstream as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) place: Place,
    /// `%NAME`.
    pub(crate) server_name: Option<String>,
}

impl Target {
    /// Reads one word.
    pub(crate) fn read(setup: &Setup<'_>, word: &Token) -> Result<Self, SetupError> {
        let (scheme, rest) = word.text.split_once("://").unwrap_or(("dns", &word.text));
        let scheme = match scheme {
            "dns" => Scheme::Plain,
            "tls" => Scheme::Tls,
            "https" => Scheme::Https,
            other => {
                let text = format!(
                    "'{other}' is not supported as a destination protocol in forward: {}",
                    word.text
                );
                return Err(word
                    .error(text)
                    .help("protocols are dns://, tls:// and https://")
                    .into());
            }
        };
        if scheme == Scheme::Https && rest.contains('/') {
            let text = format!("'{}' has a path; upstreams are https://ADDRESS", word.text);
            let help = format!("the path is always {DOH_PATH}");
            return Err(word.error(text).help(help).into());
        }
        let path = setup.path(rest);
        if scheme == Scheme::Plain && path.is_file() {
            // An empty file is a mistake now, but may come later.
            nameservers(&path).map_err(|error| word.error(error))?;
            return Ok(Self {
                scheme,
                place: Place::File(path),
                server_name: None,
            });
        }
        let (host, server_name) = split_name(rest);
        let place = place(&host, scheme).ok_or_else(|| {
            word.error(format!("not an IP address or file: \"{rest}\""))
                .help("an upstream is IP[:PORT], tls://IP[%NAME], https://IP, a host name, or a file like resolv.conf")
        })?;
        Ok(Self {
            scheme,
            place,
            server_name,
        })
    }
}

/// `HOST%NAME:PORT` or `HOST:PORT%NAME`: the host with its port, and the name.
fn split_name(text: &str) -> (String, Option<String>) {
    let Some((host, name)) = text.split_once('%') else {
        return (text.to_owned(), None);
    };
    match name.rsplit_once(':') {
        Some((name, port)) => (format!("{host}:{port}"), Some(name.to_owned())),
        None => (host.to_owned(), Some(name.to_owned())),
    }
}

/// An address with or without port, else a host name.
fn place(host: &str, scheme: Scheme) -> Option<Place> {
    if let Some(address) = socket_address(host, scheme.port()) {
        return Some(Place::Address(address));
    }
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (host, scheme.port()),
    };
    let label = |label: &str| {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // Four numbers with a typo are no name either: no top-level domain is a number.
    let numeric = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        last.bytes().all(|octet| octet.is_ascii_digit())
    };
    let sound = name.len() <= 253 && name.split('.').all(label) && !numeric(name);
    sound.then(|| Place::Name {
        host: host.to_owned(),
        port,
    })
}

/// Makes servers of addresses; they share roots and session store.
#[derive(Debug, Default)]
pub(crate) struct Maker {
    server_name: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    https: Option<Arc<ClientConfig>>,
}

impl Maker {
    /// Loads what the targets need.
    pub(crate) fn new(
        targets: &[Target],
        files: &[PathBuf],
        server_name: Option<String>,
    ) -> Result<Self, SetupError> {
        let wanted = |scheme| targets.iter().any(|target| target.scheme == scheme);
        let load = |alpn: &'static [u8]| {
            client_tls::config(files, alpn)
                .map(Some)
                .map_err(SetupError::new)
        };
        let maker = Self {
            server_name,
            tls: if wanted(Scheme::Tls) {
                // DNS over TLS may go without (RFC 7858 section 3.1), and old servers refuse what they
                // do not know.
                load(b"")?
            } else {
                None
            },
            https: if wanted(Scheme::Https) {
                load(b"h2")?
            } else {
                None
            },
        };
        for target in targets {
            // Every name that is written must be one.
            let any = SocketAddr::from(([127, 0, 0, 1], 1));
            maker.server(target, any)?;
        }
        Ok(maker)
    }

    /// The server at an address of a target.
    pub(crate) fn server(
        &self,
        target: &Target,
        address: SocketAddr,
    ) -> Result<Server, SetupError> {
        let given = target.server_name.as_ref().or(self.server_name.as_ref());
        if let (Some(own), Some(_)) = (&target.server_name, &self.server_name) {
            return Err(SetupError::new(format!(
                "both '%{own}' and tls_servername name the same server; one is enough"
            )));
        }
        let host = match &target.place {
            Place::Name { host, .. } => Some(host),
            _ => None,
        };
        let written = given.or(host).map(|name| name.trim_end_matches('.'));
        let name = || match written {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| SetupError::new(format!("'{name}' is no server name"))),
            // Without a name the certificate must be made for the address.
            None => Ok(ServerName::from(address.ip())),
        };
        let protocol = match (target.scheme, &self.tls, &self.https) {
            (Scheme::Tls, Some(config), _) => Protocol::Tls {
                config: Arc::clone(config),
                name: name()?,
            },
            (Scheme::Https, _, Some(config)) => Protocol::Https {
                config: Arc::clone(config),
                name: name()?,
                uri: uri(written, address).into(),
            },
            _ => Protocol::Plain,
        };
        Ok(Server { address, protocol })
    }
}

fn uri(name: Option<&str>, address: SocketAddr) -> String {
    let host = match (name, address.ip()) {
        (Some(name), _) => name.to_owned(),
        (None, IpAddr::V4(ip)) => ip.to_string(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
    };
    match address.port() == Scheme::Https.port() {
        true => format!("https://{host}{DOH_PATH}"),
        false => format!("https://{host}:{}{DOH_PATH}", address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_an_address_or_a_name() {
        let address = |text: &str| Place::Address(text.parse().unwrap());
        let name = |host: &str, port| Place::Name {
            host: host.to_owned(),
            port,
        };
        for (word, expected) in [
            ("192.0.2.1", Some(address("192.0.2.1:53"))),
            ("192.0.2.1:54", Some(address("192.0.2.1:54"))),
            ("2001:db8::1", Some(address("[2001:db8::1]:53"))),
            ("[2001:db8::1]:54", Some(address("[2001:db8::1]:54"))),
            ("[2001:db8::1]", Some(address("[2001:db8::1]:53"))),
            ("dns.example", Some(name("dns.example", 53))),
            ("dns.example.:5353", Some(name("dns.example.", 5353))),
            ("/etc/resolv.conf", None),
            ("no such host", None),
            ("192.0.2", None),
            ("192.0.2.256", None),
            ("dns..example", None),
            ("dns.example:port", None),
        ] {
            assert_eq!(place(word, Scheme::Plain), expected, "{word}");
        }
    }

    #[test]
    fn the_server_name_stands_before_or_behind_the_port() {
        for text in ["192.0.2.1%dns.example:853", "192.0.2.1:853%dns.example"] {
            let (host, name) = split_name(text);
            assert_eq!(name.as_deref(), Some("dns.example"), "{text}");
            assert_eq!(host, "192.0.2.1:853");
        }
    }

    #[test]
    fn requests_name_the_server() {
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(
            uri(None, address("[2001:db8::1]:443")),
            "https://[2001:db8::1]/dns-query"
        );
        assert_eq!(
            uri(Some("dns.example"), address("192.0.2.1:8443")),
            "https://dns.example:8443/dns-query"
        );
    }
}
