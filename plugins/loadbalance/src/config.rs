//! From the directive's lines to what they mean.
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use corten_plugin::corefile::{Line, Location, ParseError};
use corten_plugin::{Setup, SetupError};

const DEFAULT_RELOAD: Duration = Duration::from_secs(30);

/// How addresses are ordered.
pub(crate) enum Policy {
    /// In any order.
    RoundRobin,
    /// One of them first, as often as its weight says.
    Weighted {
        file: PathBuf,
        /// Zero for never.
        reload: Duration,
        /// Where the file is named.
        at: Location,
    },
}

/// What the *loadbalance* directives of a server block say.
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) prefer: Vec<Network>,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let mut config = Self {
            policy: Policy::RoundRobin,
            prefer: Vec::new(),
        };
        for line in setup.occurrences()? {
            config.policy = policy(setup, &line)?;
            for option in line.lines() {
                config.option(option)?;
            }
        }
        Ok(config)
    }

    fn option(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        line.no_block()?;
        match (line.name.text.as_str(), &mut self.policy) {
            ("prefer", _) => {
                for word in &line.args {
                    let network = Network::read(&word.text).ok_or_else(|| {
                        let text = &word.text;
                        let error =
                            format!("invalid CIDR \"{text}\": invalid CIDR address: {text}");
                        let help = "an address and a prefix length, such as 10.0.0.0/8";
                        word.error(error).help(help)
                    })?;
                    self.prefer.push(network);
                }
            }
            ("reload", Policy::Weighted { reload, .. }) => *reload = duration(line)?,
            ("reload", Policy::RoundRobin) => {
                let error = line.name.error("unknown property 'reload'");
                return Err(error.help("it belongs to 'weighted FILE'").into());
            }
            (_, Policy::Weighted { .. }) => {
                return Err(line.unknown_property(&["prefer", "reload"]).into());
            }
            _ => return Err(line.unknown_property(&["prefer"]).into()),
        }
        Ok(())
    }
}

fn policy(setup: &Setup<'_>, line: &Line<'_>) -> Result<Policy, ParseError> {
    let [policy, rest @ ..] = &line.args[..] else {
        return Ok(Policy::RoundRobin);
    };
    match (policy.text.as_str(), rest) {
        ("round_robin", []) => Ok(Policy::RoundRobin),
        ("round_robin", [extra, ..]) => Err(extra.error("unknown property for round_robin")),
        ("weighted", []) => Err(policy.error("missing weight file argument")),
        ("weighted", [file]) => Ok(Policy::Weighted {
            file: setup.path(&file.text),
            reload: DEFAULT_RELOAD,
            at: file.at.clone(),
        }),
        ("weighted", [_, extra, ..]) => Err(extra.error("unexpected argument(s)")),
        (other, _) => Err(policy
            .error(format!("unknown policy: {other}"))
            .help("the policies are round_robin and weighted")),
    }
}

fn duration(line: &Line<'_>) -> Result<Duration, ParseError> {
    match line.args[..] {
        [] => Err(line.name.error("reload duration value is missing")),
        [word] => word.parse_duration(),
        [_, extra, ..] => Err(extra.error("unexpected argument")),
    }
}

/// Addresses with one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
    v6: bool,
}

impl Network {
    /// Reads an address and a prefix length with a slash in between.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u32 = Some(length)
            .filter(|length| length.bytes().all(|octet| octet.is_ascii_digit()))?
            .parse()
            .ok()?;
        let (bits, all, v6) = wide(address);
        let mask = match length {
            0 => 0,
            _ => all & u128::MAX << (all.count_ones().checked_sub(length)?),
        };
        (length <= all.count_ones()).then_some(Self {
            bits: bits & mask,
            mask,
            v6,
        })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (bits, _, v6) = wide(address);
        v6 == self.v6 && bits & self.mask == self.bits
    }
}

/// An address as a number, all bits that it can have, and whether it is one of IPv6.
fn wide(address: IpAddr) -> (u128, u128, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), u128::from(u32::MAX), false),
        IpAddr::V6(v6) => (v6.to_bits(), u128::MAX, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (network, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.1", "10.2.0.0"),
            ("10.1.2.3/8", "10.200.0.1", "11.0.0.0"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.0"),
            ("0.0.0.0/0", "255.0.0.1", "::1"),
            ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
            ("::/0", "::1", "0.0.0.1"),
        ] {
            let network = Network::read(network).unwrap();
            assert!(
                network.contains(ip(inside)) && !network.contains(ip(outside)),
                "{network:?}"
            );
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a/8",
            "::/+1",
            "::/",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
