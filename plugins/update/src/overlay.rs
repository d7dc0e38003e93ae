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

    /// Forgets what a version of the file has done with: a record that was deleted and that it does not have,
    /// and one that was added where it now has a CNAME record, or the other way round. What an update to the
    /// version would not add (RFC 2136 section 3.4.2.2) gives way. Returns whether anything was forgotten, and
    /// the names that lost something.
    pub(crate) fn fit(&mut self, zone: &Zone) -> (bool, BTreeSet<Box<[u8]>>) {
        let before = self.removed.len();
        self.removed.retain(|key| in_zone(zone, key));
        let removed = &self.removed;
        let gives_way = |(owner, rtype, _): &Key| {
            let records = zone.node(owner).into_iter().flat_map(|node| node.records());
            let alias = |rtype| rtype == RecordType::CNAME;
            let mut others = records.filter(|record| {
                alias(record.rtype) != alias(*rtype)
                    && !may_stand_beside_alias(record.rtype)
                    && !removed.contains(&key(&record.to_owned()))
            });
            !may_stand_beside_alias(*rtype) && others.next().is_some()
        };
        let mut lost = BTreeSet::new();
        self.added.retain(|key, _| {
            let gone = gives_way(key);
            if gone {
                lost.insert(key.0.clone());
            }
            !gone
        });
        let forgot = before != self.removed.len() || !lost.is_empty();
        // Of these there is one at a name: an update puts another in its place.
        for (owner, rtype, rdata) in self.added.keys().filter(|key| is_single(key.1)) {
            let own = zone.rrset(owner, *rtype).into_iter();
            let others = own.flat_map(|set| set.rdata());
            let others = others.filter(|other| **other != **rdata);
            self.removed
                .extend(others.map(|other| (owner.clone(), *rtype, other.into())));
        }
        (forgot, lost)
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
            // It is of the file's version.
            if record.rtype == RecordType::ZONEMD && record.owner == base.apex() {
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

/// RFC 4035 section 2.5: these may stand beside a CNAME record.
pub(crate) fn may_stand_beside_alias(rtype: RecordType) -> bool {
    matches!(
        rtype,
        RecordType::RRSIG | RecordType::NSEC | RecordType::KEY
    )
}

/// Types of which there is one record at a name (RFC 2181 section 10.1, RFC 6672 section 2.4).
pub(crate) fn is_single(rtype: RecordType) -> bool {
    matches!(
        rtype,
        RecordType::SOA | RecordType::CNAME | RecordType::DNAME
    )
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
