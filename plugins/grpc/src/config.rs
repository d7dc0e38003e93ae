//! The directive's lines.
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, Setup, SetupError, Zones, nameservers, socket_address};
use corten_upstream::{Policy, Protocol, Server, Settings, client_tls};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Upstreams of a directive (CoreDNS's bound).
const UPSTREAMS_MAX: usize = 15;
/// Port of an upstream that names none, and of one that is written `grpc://`.
const PORT: u16 = 53;
const GRPC_PORT: u16 = 443;
/// What a query may take (CoreDNS's value); each upstream is asked once.
const DEADLINE: Duration = Duration::from_secs(5);
const PROPERTIES: &[&str] = &["except", "fallthrough", "policy", "tls", "tls_servername"];

pub(crate) struct Config {
    pub(crate) from: Name,
    pub(crate) except: Zones,
    pub(crate) fallthrough: Fallthrough,
    pub(crate) servers: Vec<Server>,
    pub(crate) settings: Settings,
    /// Everything that the servers and settings depend on.
    pub(crate) identity: String,
}

/// What options say about TLS.
#[derive(Default)]
struct Draft {
    files: Option<Vec<PathBuf>>,
    server_name: Option<String>,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let [from, to @ ..] = line.at_least(2)? else {
            return Err(line.argument_error().into());
        };
        let zones = setup.zones(&[from])?;
        let [first, others @ ..] = zones.names() else {
            return Err(from.error("no zone").into());
        };
        if !others.is_empty() {
            tracing::warn!(target: "plugin/grpc", "Unsupported CIDR notation: '{}' expands to multiple zones. Using only '{first}'.", from.text);
        }
        let mut addresses = Vec::new();
        for word in to {
            for address in targets(setup, word)? {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.len() > UPSTREAMS_MAX {
            let text = format!(
                "more than {UPSTREAMS_MAX} TOs configured: {}",
                addresses.len()
            );
            return Err(line.name.error(text).into());
        }
        let mut config = Self {
            from: first.clone(),
            except: Zones::default(),
            fallthrough: Fallthrough::None,
            servers: Vec::new(),
            settings: Settings {
                max_fails: 0,
                read_timeout: DEADLINE,
                attempts_max: addresses.len(),
                proxy_name: "grpc",
                ..Settings::default()
            },
            identity: String::new(),
        };
        let mut draft = Draft::default();
        for option in line.lines() {
            config.option(setup, option, &mut draft)?;
        }
        let tls = match (&draft.files, &draft.server_name) {
            (None, None) => None,
            (files, _) => {
                let files = files.as_deref().unwrap_or_default();
                let made = client_tls::config(files, b"h2");
                Some(made.map_err(|error| line.name.error(error))?)
            }
        };
        config.identity = identity(&addresses, &draft, &config.settings);
        for address in addresses {
            let server = server(address, tls.as_ref(), draft.server_name.as_deref());
            config
                .servers
                .push(server.map_err(|error| line.name.error(error))?);
        }
        Ok(config)
    }

    fn option(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'_>,
        draft: &mut Draft,
    ) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "except" => {
                let more = setup.zones(line.at_least(1)?)?;
                self.except = Zones::new([self.except.names(), more.names()].concat());
            }
            "tls" => {
                let files = line.args_between(0, 3)?;
                let paths = files.iter().map(|word| setup.path(&word.text));
                draft.files = Some(paths.collect());
            }
            "tls_servername" => draft.server_name = Some(line.one_arg()?.text.clone()),
            "policy" => {
                let word = line.one_arg()?;
                self.settings.policy = match word.text.as_str() {
                    "random" => Policy::Random,
                    "round_robin" => Policy::RoundRobin,
                    "sequential" => Policy::Sequential,
                    other => {
                        return Err(word
                            .error(format!("unknown policy '{other}'"))
                            .help("one of random, round_robin and sequential")
                            .into());
                    }
                };
            }
            "fallthrough" => self.fallthrough = setup.fallthrough(&line.args)?,
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }
}

fn identity(addresses: &[SocketAddr], draft: &Draft, settings: &Settings) -> String {
    let mut text = format!(
        "{addresses:?} {:?} {:?}",
        draft.server_name, settings.policy
    );
    for file in draft.files.iter().flatten() {
        // They have just been read; a new certificate is a new configuration.
        text.push_str(&format!(" {} {:?}", file.display(), fs::read(file).ok()));
    }
    if draft.files.is_some() {
        text.push_str(" tls");
    }
    text
}

fn server(
    address: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    server_name: Option<&str>,
) -> Result<Server, String> {
    let name = match server_name {
        // Without a name the certificate must be made for the address.
        None => ServerName::from(address.ip()),
        Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| format!("'{name}' is no server name"))?,
    };
    let authority = match server_name {
        Some(name) => format!("{}:{}", name.trim_end_matches('.'), address.port()),
        None => address.to_string(),
    };
    Ok(Server {
        address,
        protocol: Protocol::Grpc {
            tls: tls.map(|config| (Arc::clone(config), name)),
            authority: authority.into(),
        },
    })
}

/// The addresses that a word stands for: its own, or those of a file.
fn targets(setup: &Setup<'_>, word: &Token) -> Result<Vec<SocketAddr>, SetupError> {
    let (text, port) = match word.text.strip_prefix("grpc://") {
        Some(rest) => (rest, GRPC_PORT),
        None => (word.text.as_str(), PORT),
    };
    if let Some(address) = socket_address(text, port) {
        return Ok(vec![address]);
    }
    let path = setup.path(text);
    if path.is_file() {
        return nameservers(&path).map_err(|error| word.error(error).into());
    }
    Err(word
        .error(format!("not an IP address or file: \"{text}\""))
        .help("an upstream is IP[:PORT], grpc://IP[:PORT], or a file like resolv.conf")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_called_by_their_name() {
        let address = "192.0.2.1:443".parse().unwrap();
        for (name, called) in [
            (None, "192.0.2.1:443"),
            (Some("dns.example."), "dns.example:443"),
        ] {
            let made = server(address, None, name).unwrap();
            let Protocol::Grpc { authority, tls } = made.protocol else {
                panic!("gRPC");
            };
            assert_eq!((&*authority, tls.is_none()), (called, true));
        }
        assert!(server(address, None, Some("not a name")).is_err());
    }
}
