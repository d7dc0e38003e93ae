//! What is known of the zones that are signed: of those that plugins of the block hold in memory.
use std::sync::Arc;

use corten_dnssec::bitmap::Types;
use corten_plugin::wire::{Name, RecordType};
use corten_zone::{Slot, Zone};

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

/// The types of a name of a zone; nothing if there is no such name.
fn types_in(zone: &Zone, name: &Name) -> Option<Types> {
    let here = zone.records().filter(|record| record.owner == name.wire());
    let types: Types = here.map(|record| record.rtype).collect();
    (!types.is_empty()).then_some(types)
}
