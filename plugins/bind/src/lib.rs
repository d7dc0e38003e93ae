//! *bind*: the addresses that a server block listens on.
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use corten_plugin::corefile::Token;
use corten_plugin::{Directive, Setup, SetupError};
use nix::ifaddrs::getifaddrs;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "bind",
    setup,
    readme: include_str!("../README.md"),
};

/// An address of the machine and the interface it belongs to.
struct Interface {
    name: String,
    address: SocketAddr,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let interfaces = interfaces();
    let mut bound: Vec<SocketAddr> = Vec::new();
    for line in setup.occurrences()? {
        if line.args.is_empty() {
            return Err(line
                .name
                .error("at least one address or interface name is expected")
                .into());
        }
        let mut except = Vec::new();
        for option in line.lines() {
            match option.name.text.as_str() {
                "except" if option.args.is_empty() => {
                    return Err(option.name.error("at least one address or interface must be given to except subdirective").into());
                }
                "except" => except.extend(resolve(&option.args, &interfaces)?),
                other => {
                    return Err(option
                        .name
                        .error(format!("invalid option \"{other}\""))
                        .help("the only option is 'except'")
                        .into());
                }
            }
        }
        for address in resolve(&line.args, &interfaces)? {
            if !except.contains(&address) && !bound.contains(&address) {
                bound.push(address);
            }
        }
    }
    setup.options.bind = Some(bound);
    Ok(())
}

/// Addresses as they are, and every address of the interfaces that are named.
fn resolve(words: &[&Token], interfaces: &[Interface]) -> Result<Vec<SocketAddr>, SetupError> {
    let mut addresses = Vec::new();
    for word in words {
        let of_interface = interfaces
            .iter()
            .filter(|interface| interface.name == word.text)
            .map(|interface| interface.address);
        let before = addresses.len();
        addresses.extend(of_interface);
        if addresses.len() > before {
            continue;
        }
        let address = literal(&word.text, interfaces).ok_or_else(|| {
            word.error(format!(
                "not a valid IP address or interface name: \"{}\"",
                word.text
            ))
        })?;
        addresses.push(address);
    }
    Ok(addresses)
}

/// An address; a link-local one may have its interface behind a `%`.
fn literal(text: &str, interfaces: &[Interface]) -> Option<SocketAddr> {
    let (ip, zone) = text
        .split_once('%')
        .map_or((text, None), |(ip, zone)| (ip, Some(zone)));
    match (ip.parse().ok()?, zone) {
        (ip, None) => Some(SocketAddr::new(ip, 0)),
        (IpAddr::V4(_), Some(_)) => None,
        (ip @ IpAddr::V6(_), Some(zone)) => interfaces
            .iter()
            .find(|interface| interface.name == zone && interface.address.ip() == ip)
            .map(|interface| interface.address),
    }
}

fn interfaces() -> Vec<Interface> {
    // Without the list only addresses can be named, and names are refused as unknown.
    let Ok(list) = getifaddrs() else {
        return Vec::new();
    };
    list.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address
            .as_sockaddr_in()
            .map(|v4| SocketAddr::from((v4.ip(), 0)));
        let v6 = || {
            let v6 = address.as_sockaddr_in6()?;
            let scope = if v6.ip().is_unicast_link_local() {
                v6.scope_id()
            } else {
                0
            };
            Some(SocketAddrV6::new(v6.ip(), 0, 0, scope).into())
        };
        Some(Interface {
            name: interface.interface_name,
            address: v4.or_else(v6)?,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_may_name_their_interface() {
        let lo = Interface {
            name: "lo".into(),
            address: SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 7).into(),
        };
        let all = [lo];
        for (text, found) in [
            ("127.0.0.1", Some("127.0.0.1:0")),
            ("::1", Some("[::1]:0")),
            ("fe80::1%lo", Some("[fe80::1%7]:0")),
            ("fe80::1%eth0", None),
            ("127.0.0.1%lo", None),
            ("127.0.0.256", None),
            ("nosuchif0", None),
        ] {
            assert_eq!(
                literal(text, &all)
                    .map(|address| address.to_string())
                    .as_deref(),
                found,
                "{text}"
            );
        }
    }

    #[test]
    fn the_loopback_interface_has_its_address() {
        assert!(
            interfaces()
                .iter()
                .any(|interface| interface.address.ip() == IpAddr::from([127, 0, 0, 1]))
        );
    }
}
