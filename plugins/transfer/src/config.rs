//! The directive's lines.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corten_plugin::corefile::{Line, Token};
use corten_plugin::wire::Name;
use corten_plugin::{Exchange, Setup, SetupError, Zones, socket_address};
use corten_tsig::{Key, Keyring};
use ipnet::IpNet;

use crate::catalog::FRONT_OCTETS;

const PROPERTIES: &[&str] = &["to", "source", "key", "catalog"];
/// Port of those that are notified.
const PORT: u16 = 53;

/// One occurrence of the directive: who may have which zones, and who is told of changes.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) zones: Zones,
    admitted: Vec<IpNet>,
    /// `*`.
    anybody: bool,
    /// Who is notified.
    pub(crate) notified: Vec<SocketAddr>,
    /// Where notifications come from.
    pub(crate) source: Option<IpAddr>,
    /// Keys one of which a request must be signed with; none: it need not be.
    pub(crate) keys: Vec<Arc<Key>>,
    /// The catalog that the zones are in.
    pub(crate) catalog: Option<Catalog>,
}

/// A catalog zone, and what it says of members.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) name: Name,
    /// Property `group` (RFC 9432 section 4.3.2).
    pub(crate) group: Option<Box<str>>,
}

/// Every occurrence in a block.
#[derive(Debug)]
pub(crate) struct Policies(Vec<Policy>);

impl Policies {
    /// Reads the block's directives.
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let mut all: Vec<Policy> = Vec::new();
        for line in setup.occurrences()? {
            let policy = Policy::read(setup, &line)?;
            for zone in policy.zones.names() {
                if all.iter().any(|other| other.zones.names().contains(zone)) {
                    tracing::warn!(
                        target: "plugin/transfer",
                        "{}:{} - zone {zone} has a transfer directive further up; that one counts",
                        line.name.at.file, line.name.at.line
                    );
                }
            }
            all.push(policy);
        }
        Ok(Self(all))
    }

    /// Everybody may have these zones, and these are told of changes.
    #[cfg(test)]
    pub(crate) fn everybody(zones: Zones, notified: Vec<SocketAddr>) -> Self {
        Self(vec![Policy {
            zones,
            admitted: Vec::new(),
            anybody: true,
            notified,
            source: None,
            keys: Vec::new(),
            catalog: None,
        }])
    }

    /// The occurrence that decides on a zone: for a catalog, the first that has it.
    pub(crate) fn of(&self, name: &Name) -> Option<&Policy> {
        let mut all = self.0.iter();
        let own = all.find(|policy| policy.catalog.as_ref().is_some_and(|own| own.name == *name));
        own.or_else(|| self.of_zone(name))
    }

    /// The catalog that a zone is to be in.
    pub(crate) fn catalog_of(&self, name: &Name) -> Option<&Catalog> {
        self.of_zone(name)?.catalog.as_ref()
    }

    /// Names of all catalogs; some more than once.
    pub(crate) fn catalogs(&self) -> impl Iterator<Item = &Name> {
        let all = self.0.iter().filter_map(|policy| policy.catalog.as_ref());
        all.map(|catalog| &catalog.name)
    }

    /// The first occurrence with the longest zone that a name is in.
    fn of_zone(&self, name: &Name) -> Option<&Policy> {
        let mut best: Option<(usize, &Policy)> = None;
        for policy in &self.0 {
            let Some(zone) = policy.zones.matches(name) else {
                continue;
            };
            if best.is_none_or(|(labels, _)| zone.label_count() > labels) {
                best = Some((zone.label_count(), policy));
            }
        }
        best.map(|(_, policy)| policy)
    }
}

impl Policy {
    fn read(setup: &Setup<'_>, line: &Line<'_>) -> Result<Self, SetupError> {
        let mut policy = Self {
            zones: setup.zones(&line.args)?,
            admitted: Vec::new(),
            anybody: false,
            notified: Vec::new(),
            source: None,
            keys: Vec::new(),
            catalog: None,
        };
        let mut has_to = false;
        for option in line.lines() {
            option.no_block()?;
            match option.name.text.as_str() {
                "to" => {
                    has_to = true;
                    for word in option.at_least(1)? {
                        policy.admit(word)?;
                    }
                }
                "source" => {
                    let word = option.one_arg()?;
                    let ip = word.text.parse().map_err(|_| {
                        word.error(format!("invalid source address \"{}\"", word.text))
                    })?;
                    if policy.source.replace(ip).is_some() {
                        return Err(word.error("source already specified").into());
                    }
                }
                "key" => {
                    for word in option.at_least(1)? {
                        policy.keys.push(key(setup, word)?);
                    }
                }
                "catalog" => {
                    let catalog = Catalog::read(setup, option)?;
                    if policy.catalog.replace(catalog).is_some() {
                        return Err(option
                            .name
                            .error("catalog already specified")
                            .help("zones with another catalog or group have a 'transfer ZONES...' of their own")
                            .into());
                    }
                }
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        match has_to {
            true => Ok(policy),
            false => Err(line
                .name
                .error("'to' is required")
                .help("say who may have the zone: 'to ADDRESS...', or 'to *' for everybody")
                .into()),
        }
    }

    fn admit(&mut self, word: &Token) -> Result<(), SetupError> {
        if word.text == "*" {
            self.anybody = true;
        } else if let Ok(net) = word.text.parse::<IpNet>() {
            self.admitted.push(net);
        } else if let Some(address) = socket_address(&word.text, PORT) {
            self.admitted.push(address.ip().into());
            if !self.notified.contains(&address) {
                self.notified.push(address);
            }
        } else {
            return Err(word
                .error(format!("not an IP address: \"{}\"", word.text))
                .help(
                    "an address is IP, IP:PORT, a network such as 192.0.2.0/24, or * for everybody",
                )
                .into());
        }
        Ok(())
    }

    /// Whether a client may have the zone.
    pub(crate) fn admits(&self, ex: &Exchange) -> bool {
        let ip = ex.client.ip();
        let by_address = self.anybody || self.admitted.iter().any(|net| net.contains(&ip));
        let by_key = || {
            let signer = ex.signer();
            let is = |key: &Arc<Key>| signer.is_some_and(|one| one.is(&key.name, key.mark()));
            self.keys.iter().any(is)
        };
        by_address && (self.keys.is_empty() || by_key())
    }
}

impl Catalog {
    /// `catalog NAME [GROUP]`.
    fn read(setup: &Setup<'_>, line: &Line<'_>) -> Result<Self, SetupError> {
        let words = line.args_between(1, 2)?;
        let name: Name = words[0].parse("the name of a catalog zone")?;
        if setup.zones(&[])?.matches(&name).is_none() {
            return Err(words[0]
                .error(format!("the server block does not serve \"{name}\""))
                .help("add it to the names in front of the block's brace")
                .into());
        }
        if name.wire().len() + FRONT_OCTETS > 255 {
            return Err(words[0].error("the name leaves no room for members").into());
        }
        let group = words.get(1).map(|word| word.text.as_str());
        if let Some(group) = group
            && !(1..=255).contains(&group.len())
        {
            return Err(words[1].error("a group has 1 to 255 octets").into());
        }
        Ok(Self {
            name,
            group: group.map(Into::into),
        })
    }
}

/// A key of the block's *tsig*.
fn key(setup: &Setup<'_>, word: &Token) -> Result<Arc<Key>, SetupError> {
    Keyring::find(setup.parts.offers.all(), &word.text).map_err(|error| {
        let help = error.help().map(str::to_owned);
        word.error(error.to_string()).maybe_help(help).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::Signer;
    use corten_tsig::Secret;
    use proptest::prelude::*;

    fn policy(zones: &[&str]) -> Policy {
        Policy {
            zones: Zones::new(zones.iter().map(|zone| zone.parse().unwrap()).collect()),
            admitted: Vec::new(),
            anybody: false,
            notified: Vec::new(),
            source: None,
            keys: Vec::new(),
            catalog: None,
        }
    }

    /// The longest zone decides, by labels: not the text that sorts last.
    #[test]
    fn the_longest_zone_decides() {
        let all = Policies(vec![
            policy(&["example"]),
            policy(&["zz.example", "b.a.example"]),
            policy(&["a.example"]),
            policy(&["example"]),
        ]);
        for (name, place) in [
            ("example", Some(0)),
            ("x.zz.example", Some(1)),
            ("a.example", Some(2)),
            ("b.a.example", Some(1)),
            ("org", None),
        ] {
            let found = all.of(&name.parse().unwrap());
            let expected = place.map(|place: usize| &all.0[place]);
            assert!(
                found.map(std::ptr::from_ref) == expected.map(std::ptr::from_ref),
                "{name}"
            );
        }
    }

    /// Labels of a name, last first, without case.
    fn labels(name: &str) -> Vec<String> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        labels.rev().map(str::to_lowercase).collect()
    }

    fn some_name() -> impl Strategy<Value = String> {
        // Some that are ends of others as text, and not as names.
        let label = proptest::sample::select(&["a", "b", "A", "aa", "zz", "0"][..]);
        proptest::collection::vec(label, 0..5).prop_map(|labels| labels.join(".") + ".")
    }

    proptest! {
        /// CVE-2026-33489: which occurrence decides depends neither on their order nor on letters, but
        /// on how many labels a zone shares with the name.
        #[test]
        fn the_longest_zone_decides_in_any_tree(
            stanzas in proptest::collection::vec(proptest::collection::vec(some_name(), 1..4), 0..8),
            asked in some_name(),
        ) {
            let all = Policies(
                stanzas
                    .iter()
                    .map(|zones| policy(&zones.iter().map(String::as_str).collect::<Vec<_>>()))
                    .collect(),
            );
            let shares = |zones: &Vec<String>| {
                let lengths = zones
                    .iter()
                    .map(|zone| labels(zone))
                    .filter(|zone| labels(&asked).starts_with(zone));
                lengths.map(|zone| zone.len()).max()
            };
            let longest = stanzas.iter().filter_map(shares).max();
            let expected = stanzas.iter().position(|zones| shares(zones) == longest);
            let expected = expected.filter(|_| longest.is_some()).map(|place| &all.0[place]);
            let found = all.of(&asked.parse().unwrap());
            prop_assert_eq!(found.map(std::ptr::from_ref), expected.map(std::ptr::from_ref));
        }
    }

    #[test]
    fn keys_are_asked_for_beside_addresses() {
        let mut ex = Exchange::new();
        ex.client = "192.0.2.7:1234".parse().unwrap();
        let mut own = policy(&["example"]);
        assert!(!own.admits(&ex));
        own.admitted.push("192.0.2.0/28".parse().unwrap());
        assert!(own.admits(&ex));
        let name: Name = "one.key".parse().unwrap();
        let secret = Secret::from_base64("YQ==").unwrap();
        let key = Arc::new(Key::new(name.clone(), None, secret));
        let mark = key.mark();
        own.keys.push(key);
        assert!(!own.admits(&ex));
        ex.set_signer(Arc::new(Signer {
            key: "two.key".parse().unwrap(),
            mark,
        }));
        assert!(!own.admits(&ex));
        // Another block's key of that name.
        ex.set_signer(Arc::new(Signer {
            key: name.clone(),
            mark: mark ^ 1,
        }));
        assert!(!own.admits(&ex));
        ex.set_signer(Arc::new(Signer { key: name, mark }));
        assert!(own.admits(&ex));
        ex.client = "198.51.100.1:1".parse().unwrap();
        assert!(!own.admits(&ex));
    }
}
