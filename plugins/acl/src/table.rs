//! A directive's rules, compiled: the addresses fall into ranges inside which every rule treats all
//! alike, and each range has one decision for every type.
//!
//! A query costs one binary search, however many networks and rules there are.
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use corten_plugin::wire::RecordType;
use ipnet::IpNet;

use crate::config::{Action, Rule};

/// The rules of one directive.
#[derive(Debug)]
pub(crate) struct Table {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// Each once.
    decisions: Box<[Decision]>,
}

/// Ranges that cover all addresses of a family.
#[derive(Debug)]
struct Ranges<A> {
    /// Where each begins; the first is zero.
    starts: Box<[A]>,
    /// Places in [`Table::decisions`].
    decisions: Box<[u32]>,
}

/// What the rules say about addresses of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Decision {
    /// For single types, sorted.
    typed: Vec<(RecordType, Action)>,
    /// For all others.
    others: Option<Action>,
}

impl Table {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut known = HashMap::new();
        let v4 = ranges(rules, Family::V4, &mut known);
        let v6 = ranges(rules, Family::V6, &mut known);
        let mut decisions = vec![Decision::default(); known.len()];
        for (decision, place) in known {
            decisions[place as usize] = decision;
        }
        Self {
            v4: Ranges {
                // Ranges of IPv4 end at its last address.
                starts: v4.iter().map(|(start, _)| *start as u32).collect(),
                decisions: v4.iter().map(|(_, place)| *place).collect(),
            },
            v6: Ranges {
                starts: v6.iter().map(|(start, _)| *start).collect(),
                decisions: v6.iter().map(|(_, place)| *place).collect(),
            },
            decisions: decisions.into(),
        }
    }

    /// What the first rule for this client and type says; nothing when there is none.
    pub(crate) fn decide(&self, client: IpAddr, rtype: RecordType) -> Option<Action> {
        let place = match client.to_canonical() {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        };
        let decision = self.decisions.get(place as usize)?;
        match decision.typed.binary_search_by_key(&rtype, |(own, _)| *own) {
            Ok(at) => Some(decision.typed[at].1),
            Err(_) => decision.others,
        }
    }
}

impl<A: Copy + Ord> Ranges<A> {
    fn find(&self, address: A) -> u32 {
        // The first range begins at zero, so there always is one in front.
        let behind = self.starts.partition_point(|start| *start <= address);
        self.decisions[behind - 1]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Where the ranges of a family begin, with their decisions.
fn ranges(rules: &[Rule], family: Family, known: &mut HashMap<Decision, u32>) -> Vec<(u128, u32)> {
    let last = match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    };
    // Where a rule begins to count, or ceases to.
    let mut changes = Vec::new();
    for (rule, at) in rules.iter().zip(0..) {
        for (first, end) in merged(networks(rule, family, last)) {
            changes.push((first, at, true));
            if end < last {
                changes.push((end + 1, at, false));
            }
        }
    }
    changes.sort_unstable();
    let mut active = BTreeSet::new();
    let mut ranges: Vec<(u128, u32)> = Vec::new();
    let mut rest = &changes[..];
    let mut start = 0;
    loop {
        let here = rest.partition_point(|change| change.0 <= start);
        let (now, behind) = rest.split_at(here);
        for (_, rule, begins) in now {
            match begins {
                true => active.insert(*rule),
                false => active.remove(rule),
            };
        }
        let next = known.len() as u32;
        let place = *known.entry(decision(rules, &active)).or_insert(next);
        if ranges.last().is_none_or(|(_, before)| *before != place) {
            ranges.push((start, place));
        }
        rest = behind;
        match rest.first() {
            Some(change) => start = change.0,
            None => return ranges,
        }
    }
}

/// First and last addresses of a rule's networks.
fn networks(rule: &Rule, family: Family, last: u128) -> Vec<(u128, u128)> {
    let Some(networks) = &rule.networks else {
        return vec![(0, last)];
    };
    let found = networks
        .iter()
        .filter_map(|network| match (network, family) {
            (IpNet::V4(v4), Family::V4) => Some((
                u128::from(v4.network().to_bits()),
                u128::from(v4.broadcast().to_bits()),
            )),
            (IpNet::V6(v6), Family::V6) => Some((v6.network().to_bits(), v6.broadcast().to_bits())),
            _ => None,
        });
    found.collect()
}

/// The same addresses in ranges that neither overlap nor touch.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// What rules say that count together: of each type the first.
fn decision(rules: &[Rule], active: &BTreeSet<usize>) -> Decision {
    let mut decision = Decision::default();
    for rule in active.iter().filter_map(|rule| rules.get(*rule)) {
        let Some(types) = &rule.types else {
            decision.others = Some(rule.action);
            break;
        };
        for rtype in types {
            let typed = &mut decision.typed;
            if let Err(at) = typed.binary_search_by_key(rtype, |(own, _)| *own) {
                typed.insert(at, (*rtype, rule.action));
            }
        }
    }
    decision
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rules one after the other: what the table must say.
    fn plainly(rules: &[Rule], client: IpAddr, rtype: RecordType) -> Option<Action> {
        let matches = |rule: &&Rule| {
            let mut types = rule.types.iter().flatten();
            let mut networks = rule.networks.iter().flatten();
            (rule.types.is_none() || types.any(|own| *own == rtype))
                && (rule.networks.is_none() || networks.any(|own| own.contains(&client)))
        };
        rules.iter().find(matches).map(|rule| rule.action)
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            Just(Action::Allow),
            Just(Action::Block),
            Just(Action::Filter),
            Just(Action::Drop),
        ]
    }

    /// Networks that often overlap, and reach to both ends.
    fn network() -> impl Strategy<Value = IpNet> {
        let bits = prop_oneof![Just(0u128), Just(u128::MAX), any::<u128>()];
        (bits, 0u8..=128, any::<bool>()).prop_map(|(bits, length, v6)| match v6 {
            true => IpNet::new(IpAddr::V6(bits.into()), length).unwrap(),
            false => IpNet::new(IpAddr::V4((bits as u32).into()), length.min(32)).unwrap(),
        })
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let types = proptest::option::of(proptest::collection::vec(
            (1u16..5).prop_map(RecordType),
            0..4,
        ));
        let networks = proptest::option::of(proptest::collection::vec(network(), 0..5));
        (action(), types, networks).prop_map(|(action, types, networks)| Rule {
            action,
            types,
            networks,
        })
    }

    proptest! {
        #[test]
        fn the_table_says_what_the_rules_say(
            rules in proptest::collection::vec(rule(), 0..8),
            others in proptest::collection::vec(network(), 4),
        ) {
            let table = Table::new(&rules);
            let own = rules.iter().flat_map(|rule| rule.networks.iter().flatten());
            for network in own.chain(&others) {
                for edge in [network.network(), network.broadcast(), network.addr()] {
                    for client in around(edge) {
                        for rtype in (1..6).map(RecordType) {
                            let plain = plainly(&rules, client, rtype);
                            prop_assert_eq!(table.decide(client, rtype), plain, "{}", client);
                        }
                    }
                }
            }
        }
    }

    /// An address and its neighbours. What is IPv4 in IPv6 is taken for IPv4, as clients are.
    fn around(address: IpAddr) -> Vec<IpAddr> {
        let near: [IpAddr; 3] =
            match address {
                IpAddr::V4(v4) => [-1i32, 0, 1]
                    .map(|step| IpAddr::V4(v4.to_bits().wrapping_add_signed(step).into())),
                IpAddr::V6(v6) => [-1i128, 0, 1]
                    .map(|step| IpAddr::V6(v6.to_bits().wrapping_add_signed(step).into())),
            };
        near.map(|address| address.to_canonical()).into()
    }

    #[test]
    fn single_addresses_in_rules_of_their_own_stay_apart() {
        let rules: Vec<Rule> = (0..5000u32)
            .map(|n| Rule {
                action: if n % 2 == 0 {
                    Action::Block
                } else {
                    Action::Drop
                },
                types: None,
                networks: Some(vec![IpNet::from(IpAddr::V4((n * 2).into()))]),
            })
            .collect();
        let table = Table::new(&rules);
        assert_eq!(table.decisions.len(), 3);
        let decide = |n: u32| table.decide(IpAddr::V4(n.into()), RecordType::A);
        assert_eq!(decide(4), Some(Action::Block));
        assert_eq!(decide(6), Some(Action::Drop));
        assert_eq!((decide(5), decide(10_000)), (None, None));
    }
}
