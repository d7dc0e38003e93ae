//! The directive's lines.
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use corten_plugin::corefile::{Line, Location, Occurrence, Token};
use corten_plugin::wire::{Name, Rcode};
use corten_plugin::{Setup, SetupError, Zones};
use corten_upstream::{Policy, Protocol, Server, Settings};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::client_tls;

/// Upstreams of one directive (CoreDNS's limit).
const UPSTREAMS_MAX: usize = 15;
const PORT: u16 = 53;
const TLS_PORT: u16 = 853;
const PROPERTIES: &[&str] = &[
    "except",
    "expire",
    "failfast_all_unhealthy_upstreams",
    "failover",
    "force_tcp",
    "health_check",
    "max_age",
    "max_concurrent",
    "max_connect_attempts",
    "max_fails",
    "max_idle_conns",
    "policy",
    "prefer_udp",
    "read_timeout",
    "tls",
    "tls_servername",
];
/// Options of CoreDNS that this version does not have.
const MISSING: &[&str] = &[
    "doh_method",
    "next",
    "next_on_nodata",
    "resolver",
    "source_address",
];

/// What a *forward* directive says.
pub(crate) struct Config {
    pub(crate) from: Name,
    pub(crate) except: Zones,
    pub(crate) servers: Vec<Server>,
    pub(crate) settings: Settings,
}

/// An upstream as it is written.
struct Target {
    address: SocketAddr,
    tls: bool,
    name: Option<String>,
}

/// Options that servers are made from when all lines have been read.
#[derive(Default)]
struct Tls {
    files: Vec<String>,
    server_name: Option<String>,
    expire: Option<std::time::Duration>,
    max_age: Option<(std::time::Duration, Location)>,
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
            tracing::warn!(target: "plugin/forward", "Unsupported CIDR notation: '{}' expands to multiple zones. Using only '{first}'.", from.text);
        }
        let mut targets = Vec::new();
        for word in to {
            targets.extend(targets_of(setup, word)?);
        }
        if targets.len() > UPSTREAMS_MAX {
            return Err(line
                .name
                .error(format!(
                    "more than {UPSTREAMS_MAX} TOs configured: {}",
                    targets.len()
                ))
                .into());
        }
        let mut config = Self {
            from: first.clone(),
            except: Zones::default(),
            servers: Vec::new(),
            settings: Settings::default(),
        };
        let mut tls = Tls::default();
        for option in line.lines() {
            config.option(setup, option, &mut tls)?;
        }
        if let (Some((age, at)), expire) =
            (&tls.max_age, tls.expire.unwrap_or(config.settings.expire))
            && !age.is_zero()
            && *age < expire
        {
            let text = format!("max_age ({age:?}) must not be less than expire ({expire:?})");
            return Err(SetupError::new(text).at(at));
        }
        config.servers = servers(setup, targets, &tls)?;
        Ok(config)
    }

    fn option(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'_>,
        tls: &mut Tls,
    ) -> Result<(), SetupError> {
        let settings = &mut self.settings;
        match line.name.text.as_str() {
            "except" => {
                let more = setup.zones(line.at_least(1)?)?;
                self.except = Zones::new([self.except.names(), more.names()].concat());
            }
            "force_tcp" => {
                line.no_args()?;
                settings.force_tcp = true;
            }
            "prefer_udp" => {
                line.no_args()?;
                settings.prefer_udp = true;
            }
            "failfast_all_unhealthy_upstreams" => {
                line.no_args()?;
                settings.failfast = true;
            }
            "expire" => {
                settings.expire = line.one_arg()?.parse_duration()?;
                tls.expire = Some(settings.expire);
            }
            "max_age" => {
                tls.max_age = Some((line.one_arg()?.parse_duration()?, line.name.at.clone()))
            }
            "read_timeout" => {
                let word = line.one_arg()?;
                settings.read_timeout = word.parse_duration()?;
                if settings.read_timeout.is_zero() {
                    return Err(word.error("read_timeout must be greater than zero").into());
                }
            }
            "max_fails" => {
                settings.max_fails = line.one_arg()?.parse("a number of failed checks")?
            }
            "max_connect_attempts" => {
                let attempts: usize = line.one_arg()?.parse("a number of attempts")?;
                settings.attempts_max = if attempts == 0 { usize::MAX } else { attempts };
            }
            "max_concurrent" => {
                settings.concurrent_max = line.one_arg()?.parse("a number of queries")?
            }
            "max_idle_conns" => {
                settings.idle_max = line.one_arg()?.parse("a number of connections")?
            }
            "policy" => {
                let word = line.one_arg()?;
                settings.policy = match word.text.as_str() {
                    "random" => Policy::Random,
                    "round_robin" => Policy::RoundRobin,
                    "sequential" => Policy::Sequential,
                    other => {
                        let error = word.error(format!("unknown policy '{other}'"));
                        return Err(error
                            .help("policies are random, round_robin and sequential")
                            .into());
                    }
                };
            }
            "health_check" => health_check(settings, line)?,
            "failover" => settings.failover = failover(line)?,
            "tls" => {
                tls.files = line
                    .args_between(0, 3)?
                    .iter()
                    .map(|word| word.text.clone())
                    .collect()
            }
            "tls_servername" => tls.server_name = Some(line.one_arg()?.text.clone()),
            other if MISSING.contains(&other) => {
                return Err(line
                    .name
                    .error(format!(
                        "the option '{other}' is not supported by this version"
                    ))
                    .into());
            }
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }
}

/// `health_check DURATION [no_rec] [domain FQDN]`
fn health_check(settings: &mut Settings, line: &Line<'_>) -> Result<(), SetupError> {
    let [interval, words @ ..] = line.at_least(1)? else {
        return Err(line.argument_error().into());
    };
    let check = &mut settings.health_check;
    check.interval = interval.parse_duration()?;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "no_rec" => check.recursion_desired = false,
            "domain" => {
                let domain = words.next().ok_or_else(|| line.argument_error())?;
                check.domain = domain.text.parse().map_err(|error| {
                    domain.error(format!(
                        "health_check: invalid domain name '{}': {error}",
                        domain.text
                    ))
                })?;
            }
            other => {
                return Err(word
                    .error(format!("health_check: unknown option '{other}'"))
                    .help("options are no_rec and domain")
                    .into());
            }
        }
    }
    Ok(())
}

fn failover(line: &Line<'_>) -> Result<Vec<Rcode>, SetupError> {
    let mut rcodes = Vec::new();
    for word in line.at_least(1)? {
        let rcode: Rcode = word.parse("an RCODE, such as SERVFAIL")?;
        if rcode == Rcode::NOERROR {
            return Err(word.error("NoError cannot be used in failover").into());
        }
        rcodes.push(rcode);
    }
    Ok(rcodes)
}

/// The addresses that one word names: an address, a host name, or a file like resolv.conf.
fn targets_of(setup: &Setup<'_>, word: &Token) -> Result<Vec<Target>, SetupError> {
    let (scheme, rest) = word.text.split_once("://").unwrap_or(("dns", &word.text));
    let tls = match scheme {
        "dns" => false,
        "tls" => true,
        "https" => {
            return Err(word
                .error("'https' upstreams are not supported by this version; use tls:// or dns://")
                .into());
        }
        other => {
            let text = format!(
                "'{other}' is not supported as a destination protocol in forward: {}",
                word.text
            );
            return Err(word
                .error(text)
                .help("protocols are dns:// and tls://")
                .into());
        }
    };
    let path = setup.path(rest);
    if scheme == "dns" && path.is_file() {
        return nameservers(&path, word);
    }
    let (host, name) = rest
        .split_once('%')
        .map_or((rest, None), |(host, name)| (host, Some(name)));
    // The name may stand in front of the port.
    let (host, name) = match name.and_then(|name| name.rsplit_once(':')) {
        Some((name, port)) => (format!("{host}:{port}"), Some(name.to_owned())),
        None => (host.to_owned(), name.map(str::to_owned)),
    };
    let port = if tls { TLS_PORT } else { PORT };
    let addresses = addresses(&host, port).map_err(|reason| {
        word.error(format!("not an IP address or file: \"{rest}\""))
            .help(reason)
    })?;
    Ok(addresses
        .into_iter()
        .map(|address| Target {
            address,
            tls,
            name: name.clone(),
        })
        .collect())
}

/// An address with or without a port, or what a host name resolves to now.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let with_port = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let found: Vec<_> = with_port
        .to_socket_addrs()
        .map_err(|error| format!("'{host}' does not resolve: {error}"))?
        .collect();
    if found.is_empty() {
        Err(format!("'{host}' has no address"))
    } else {
        Ok(found)
    }
}

/// The `nameserver` lines of a file.
fn nameservers(path: &Path, word: &Token) -> Result<Vec<Target>, SetupError> {
    let text = fs::read_to_string(path)
        .map_err(|error| word.error(format!("{}: {error}", path.display())))?;
    let servers: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let ip = words
                .next()
                .filter(|first| *first == "nameserver")
                .and_then(|_| words.next())?;
            Some(Target {
                address: SocketAddr::new(ip.parse().ok()?, PORT),
                tls: false,
                name: None,
            })
        })
        .collect();
    if servers.is_empty() {
        return Err(word
            .error(format!("no nameservers found in {}", path.display()))
            .into());
    }
    Ok(servers)
}

fn servers(setup: &Setup<'_>, targets: Vec<Target>, tls: &Tls) -> Result<Vec<Server>, SetupError> {
    // Made once: upstreams share the roots and the session store.
    let mut client: Option<Arc<ClientConfig>> = None;
    targets
        .into_iter()
        .map(|target| {
            let address = target.address;
            if !target.tls {
                return Ok(Server {
                    address,
                    protocol: Protocol::Plain,
                });
            }
            if let (Some(own), Some(_)) = (&target.name, &tls.server_name) {
                return Err(SetupError::new(format!(
                    "both '%{own}' and tls_servername name the server of {address}; one is enough"
                )));
            }
            let name = match target.name.as_ref().or(tls.server_name.as_ref()) {
                Some(name) => ServerName::try_from(name.clone())
                    .map_err(|_| SetupError::new(format!("'{name}' is no server name")))?,
                // Without a name the certificate must be made for the address.
                None => ServerName::from(address.ip()),
            };
            let config = match &client {
                Some(config) => Arc::clone(config),
                None => {
                    let files: Vec<_> = tls.files.iter().map(|file| setup.path(file)).collect();
                    Arc::clone(client.insert(client_tls::config(&files).map_err(SetupError::new)?))
                }
            };
            Ok(Server {
                address,
                protocol: Protocol::Tls { config, name },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_a_port() {
        for (host, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:54", "192.0.2.1:54"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
        ] {
            assert_eq!(addresses(host, 53).unwrap(), [expected.parse().unwrap()]);
        }
        assert!(addresses("no such host", 53).is_err());
    }
}
