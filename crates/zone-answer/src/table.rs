//! Zones by name.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use corten_plugin::wire::{Name, Question, RecordType};
use corten_zone::Slot;

/// The zones that a plugin serves.
#[derive(Default)]
pub struct ZoneTable {
    slots: Vec<Arc<Slot>>,
    by_apex: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    /// Which numbers of labels the apexes have, one bit each up to 127.
    labels: u128,
}

impl ZoneTable {
    /// These zones. Of several with one name the first counts.
    pub fn new(slots: impl IntoIterator<Item = Arc<Slot>>) -> Self {
        let mut table = Self::default();
        for slot in slots {
            if table.by_apex.contains_key(slot.apex()) {
                continue;
            }
            table.by_apex.insert(slot.apex().into(), table.slots.len());
            table.labels |= 1 << labels(slot.apex());
            table.slots.push(slot);
        }
        table
    }

    /// The zone that answers a question: the longest that the name is in. DS of a zone's own name is
    /// a matter of the zone above (RFC 4035 section 3.1.4.1), if that is here.
    pub fn find(&self, question: &Question) -> Option<&Arc<Slot>> {
        self.slots.get(self.position(question)?)
    }

    /// The same as an index into [`Self::slots`].
    pub fn position(&self, question: &Question) -> Option<usize> {
        let name = &question.name;
        let own = self.longest(name, name.label_count())?;
        let at_apex = question.rtype == RecordType::DS
            && self
                .slots
                .get(own)
                .is_some_and(|slot| slot.apex() == name.wire());
        if !at_apex || name.is_root() {
            return Some(own);
        }
        self.longest(name, name.label_count() - 1).or(Some(own))
    }

    /// The longest zone that the name is in, of those with at most so many labels.
    fn longest(&self, name: &Name, labels: usize) -> Option<usize> {
        let mut left = self.labels & (u128::MAX >> (127 - labels.min(127)));
        while left != 0 {
            let count = left.ilog2();
            left &= !(1 << count);
            if let Some(&index) = self.by_apex.get(name.suffix(count as usize)) {
                return Some(index);
            }
        }
        None
    }

    /// The zone with this apex, in wire form, lower-cased.
    pub fn get(&self, apex: &[u8]) -> Option<&Arc<Slot>> {
        self.slots.get(*self.by_apex.get(apex)?)
    }

    /// All of them, in the order they were given.
    pub fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }
}

fn labels(apex: &[u8]) -> usize {
    Name::from_wire(apex).map_or(0, |name| name.label_count())
}

impl fmt::Debug for ZoneTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.slots.iter().map(|slot| Name::from_wire(slot.apex()));
        f.debug_list().entries(names.flatten()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::Class;
    use proptest::prelude::*;

    fn table(names: &[&str]) -> ZoneTable {
        let slot = |name: &&str| Arc::new(Slot::new(name.parse::<Name>().unwrap().wire()));
        ZoneTable::new(names.iter().map(slot))
    }

    fn found(table: &ZoneTable, name: &str, rtype: RecordType) -> Option<String> {
        let (name, class) = (name.parse().unwrap(), Class::IN);
        let slot = table.find(&Question { name, rtype, class })?;
        Some(Name::from_wire(slot.apex()).unwrap().to_string())
    }

    #[test]
    fn the_longest_zone_is_found() {
        let zones = table(&["example", "b.c.example", "test", "Example"]);
        let a = |name| found(&zones, name, RecordType::A);
        assert_eq!(zones.slots().len(), 3);
        assert_eq!(a("a.b.c.example").as_deref(), Some("b.c.example."));
        assert_eq!(a("c.example").as_deref(), Some("example."));
        assert_eq!(a("xb.c.example").as_deref(), Some("example."));
        assert_eq!(a("org"), None);
        assert_eq!(a("."), None);
        assert_eq!(
            found(&table(&["."]), "org", RecordType::A).as_deref(),
            Some(".")
        );
    }

    fn some_name() -> impl Strategy<Value = String> {
        let label = proptest::sample::select(&["a", "b", "A", "aa", "zz"][..]);
        proptest::collection::vec(label, 0..5).prop_map(|labels| labels.join(".") + ".")
    }

    /// Labels of a name, last first, without case.
    fn labels_of(name: &str) -> Vec<String> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        labels.rev().map(str::to_lowercase).collect()
    }

    proptest! {
        /// Whatever the order of the zones is, the one that shares most labels with the name answers.
        #[test]
        fn the_longest_zone_is_found_in_any_tree(
            zones in proptest::collection::vec(some_name(), 0..12),
            asked in some_name(),
            is_ds: bool,
        ) {
            let names: Vec<&str> = zones.iter().map(String::as_str).collect();
            let own = labels_of(&asked);
            let fits = |most: usize| {
                let zones = zones.iter().map(|zone| labels_of(zone));
                let lengths = zones.filter(|zone| own.starts_with(zone)).map(|zone| zone.len());
                lengths.filter(|length| *length <= most).max()
            };
            let mut expected = fits(own.len());
            if is_ds && expected == Some(own.len()) && !own.is_empty() {
                expected = fits(own.len() - 1).or(expected);
            }
            let rtype = if is_ds { RecordType::DS } else { RecordType::A };
            let found = found(&table(&names), &asked, rtype);
            prop_assert_eq!(found.map(|name| labels_of(&name).len()), expected);
        }
    }

    /// RFC 4035 section 3.1.4.1.
    #[test]
    fn ds_is_of_the_zone_above() {
        let zones = table(&["example", "a.example", "b.a.example"]);
        let ds = |name| found(&zones, name, RecordType::DS);
        assert_eq!(ds("b.a.example").as_deref(), Some("a.example."));
        assert_eq!(ds("a.example").as_deref(), Some("example."));
        assert_eq!(ds("x.a.example").as_deref(), Some("a.example."));
        assert_eq!(
            ds("example").as_deref(),
            Some("example."),
            "there is none above"
        );
        assert_eq!(
            found(&table(&["."]), ".", RecordType::DS).as_deref(),
            Some(".")
        );
    }
}
