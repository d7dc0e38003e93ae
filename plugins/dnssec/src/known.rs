//! What is known of the zones that are signed: of those that plugins of the block hold in memory.
use std::sync::Arc;

use corten_dnssec::bitmap::Types;
use corten_plugin::wire::{Name, RecordType};
use corten_zone::{Found, Node, Slot, Zone};

use crate::Dnssec;

impl Dnssec {
    /// The zone that answers for a name, if a plugin of the block has it.
    fn slot_of(&self, name: &Name) -> Option<Arc<Slot>> {
        let catalogues = self.catalogues.get()?;
        (0..=name.label_count()).rev().find_map(|labels| {
            let apex = name.suffix(labels);
            catalogues.iter().find_map(|catalogue| catalogue.slot(apex))
        })
    }

    /// The types of a name's records; nothing if that is not known.
    pub(crate) fn types_of(&self, name: &Name) -> Option<Types> {
        types_in(self.slot_of(name)?.load().as_deref()?, name)
    }

    /// Whether a name below a zone's apex is delegated; nothing if that is not known.
    pub(crate) fn is_delegated(&self, name: &Name) -> Option<bool> {
        let types = types_in(self.slot_of(name)?.load().as_deref()?, name)?;
        Some(types.contains(RecordType::NS))
    }
}

/// The types of a name of a zone, be it by a wildcard; nothing if there is no such name.
fn types_in(zone: &Zone, name: &Name) -> Option<Types> {
    let lookup = zone.lookup(name, RecordType::ANY);
    match lookup.found {
        Found::NameError | Found::Redirection(..) => None,
        Found::Delegation(cut, _) if cut.name() != name.wire() => None,
        Found::Delegation(cut, _) => Some(types_of_node(cut)),
        _ => Some(types_of_node(lookup.node?)),
    }
}

fn types_of_node(node: Node<'_>) -> Types {
    node.sets().map(|set| set.rtype).collect()
}

#[cfg(test)]
mod tests {
    use corten_plugin::wire::text;
    use corten_zone::Builder;

    use super::*;

    #[test]
    fn the_zone_knows_what_its_names_have() {
        let mut builder = Builder::new(b"\x07example\0");
        for line in [
            "example. 60 SOA a.example. b.example. 1 2 3 4 5",
            "a.b.example. 60 A 192.0.2.1",
            "a.b.example. 60 MX 1 a.example.",
            "*.w.example. 60 TXT star",
            "kid.example. 60 NS ns.kid.example.",
            "ns.kid.example. 60 A 192.0.2.1",
        ] {
            let record = text::record(line, &Name::root(), None).unwrap();
            builder
                .add(&record.owner, record.rtype, record.ttl, &record.rdata)
                .unwrap();
        }
        let zone = builder.build().unwrap();
        for (name, expected) in [
            ("a.b.example", Some(&[RecordType::A, RecordType::MX][..])),
            ("b.example", Some(&[])),
            ("x.w.example", Some(&[RecordType::TXT])),
            ("kid.example", Some(&[RecordType::NS])),
            ("ns.kid.example", None),
            ("x.example", None),
        ] {
            let types = types_in(&zone, &name.parse().unwrap());
            assert_eq!(types.as_ref().map(Types::as_slice), expected, "{name}");
        }
    }
}
