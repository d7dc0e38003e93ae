//! The difference between a zone as its file has it and as updates made it.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corten_plugin::wire::RecordType;
use corten_zone::{Builder, RecordBuf, Zone, ZoneError};

use crate::journal::Entry;

/// Owner, type and RDATA.
pub(crate) type Key = (Box<[u8]>, RecordType, Box<[u8]>);

/// The difference to the file.
#[derive(Default)]
pub(crate) struct Overlay {
    pub(crate) removed: BTreeSet<Key>,
    /// With TTL and the time at which it expires.
    pub(crate) added: BTreeMap<Key, (u32, u64)>,
    /// A SOA record that an update brought; its serial does not count.
    soa: Option<RecordBuf>,
}

pub(crate) fn key(record: &RecordBuf) -> Key {
    (record.owner.clone(), record.rtype, record.rdata.clone())
}

pub(crate) fn in_zone(zone: &Zone, (owner, rtype, rdata): &Key) -> bool {
    let set = zone.rrset(owner, *rtype);
    set.is_some_and(|set| set.rdata().any(|found| *found == **rdata))
}

impl Overlay {
    pub(crate) fn apply(&mut self, entry: &Entry, base: Option<&Zone>) {
        if entry.whole {
            *self = Self::default();
        }
        for record in &entry.removed {
            let key = key(record);
            self.added.remove(&key);
            // What only updates brought need not be remembered once it is gone.
            if base.is_none_or(|base| in_zone(base, &key)) {
                self.removed.insert(key);
            }
        }
        for (record, expires) in &entry.added {
            if record.rtype == RecordType::SOA {
                self.soa = Some(record.clone());
                continue;
            }
            let key = key(record);
            self.removed.remove(&key);
            self.added.insert(key, (record.ttl, *expires));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.soa.is_none()
    }

    pub(crate) fn entry(&self, (base, serial): (u32, u32)) -> Entry {
        let record = |(owner, rtype, rdata): &Key, ttl| RecordBuf {
            owner: owner.clone(),
            rtype: *rtype,
            ttl,
            rdata: rdata.clone(),
        };
        let added = self.added.iter();
        let soa = self.soa.iter().map(|soa| (soa.clone(), 0));
        Entry {
            whole: true,
            base,
            serial,
            removed: self.removed.iter().map(|key| record(key, 0)).collect(),
            added: added
                .map(|(key, (ttl, expires))| (record(key, *ttl), *expires))
                .chain(soa)
                .collect(),
        }
    }

    /// The file's version with what updates made of it.
    pub(crate) fn over(&self, base: &Arc<Zone>, serial: u32) -> Result<Arc<Zone>, ZoneError> {
        if self.is_empty() && base.soa().serial == serial {
            return Ok(Arc::clone(base));
        }
        let mut builder = Builder::new(base.apex());
        for record in base.records() {
            if record.rtype == RecordType::SOA {
                let own = self.soa.as_ref().map(RecordBuf::as_record);
                let soa = with_serial(&own.unwrap_or(record).to_owned(), serial);
                builder.add(&soa.owner, soa.rtype, soa.ttl, &soa.rdata)?;
                continue;
            }
            let key = key(&record.to_owned());
            if !self.removed.contains(&key) && !self.added.contains_key(&key) {
                builder.add(record.owner, record.rtype, record.ttl, record.rdata)?;
            }
        }
        for ((owner, rtype, rdata), (ttl, _)) in &self.added {
            builder.add(owner, *rtype, *ttl, rdata)?;
        }
        builder.build().map(Arc::new)
    }
}

/// A SOA record with another serial: the first of the five numbers at its end.
pub(crate) fn with_serial(soa: &RecordBuf, serial: u32) -> RecordBuf {
    let mut soa = soa.clone();
    let at = soa.rdata.len().saturating_sub(20);
    if let Some(place) = soa.rdata.get_mut(at..at + 4) {
        place.copy_from_slice(&serial.to_be_bytes());
    }
    soa
}
