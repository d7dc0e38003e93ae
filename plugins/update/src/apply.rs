//! What becomes of a zone: prerequisites and changes, step by step (RFC 2136 section 3).
use std::collections::BTreeMap;

use corten_plugin::wire::{Rcode, RecordType};
use corten_zone::{Names, Record, RecordBuf, Soa, Zone, serial_newer};

use crate::message::{Change, Prerequisite, Update};
use crate::overlay::{is_single, may_stand_beside_alias};

/// A record of one name.
type Entry = (RecordType, u32, Box<[u8]>);

/// A zone with changes that are not served yet; names that nobody touched are the zone's.
pub(crate) struct Work<'z> {
    zone: &'z Zone,
    touched: Names,
    /// What the update that is being done has touched, as it was before; nothing for what none had.
    undo: BTreeMap<Vec<u8>, Option<Vec<Entry>>>,
}

impl<'z> Work<'z> {
    pub(crate) fn new(zone: &'z Zone) -> Self {
        Self {
            zone,
            touched: Names::new(),
            undo: BTreeMap::new(),
        }
    }

    /// Another update begins.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
    }

    /// Takes back what the update did.
    pub(crate) fn undo(&mut self) {
        for (owner, before) in std::mem::take(&mut self.undo) {
            match before {
                Some(records) => self.touched.insert(owner, records),
                None => self.touched.remove(&owner),
            };
        }
    }

    fn of_zone(&self, owner: &[u8]) -> Vec<Entry> {
        let records = self
            .zone
            .node(owner)
            .into_iter()
            .flat_map(|node| node.records());
        records
            .map(|record| (record.rtype, record.ttl, record.rdata.into()))
            .collect()
    }

    /// The records of a name as they are now.
    pub(crate) fn records(&self, owner: &[u8]) -> Vec<Entry> {
        match self.touched.get(owner) {
            Some(records) => records.clone(),
            None => self.of_zone(owner),
        }
    }

    fn touch(&mut self, owner: &[u8]) -> &mut Vec<Entry> {
        if !self.undo.contains_key(owner) {
            let before = self.touched.get(owner).cloned();
            self.undo.insert(owner.to_owned(), before);
        }
        if !self.touched.contains_key(owner) {
            let records = self.of_zone(owner);
            self.touched.insert(owner.to_owned(), records);
        }
        self.touched.entry(owner.to_owned()).or_default()
    }

    /// Whether what must hold does (RFC 2136 section 3.2.5).
    pub(crate) fn check(&self, update: &Update) -> Result<(), Rcode> {
        let mut sets: BTreeMap<(&[u8], RecordType), Vec<&[u8]>> = BTreeMap::new();
        let has = |owner: &[u8], rtype| self.records(owner).iter().any(|entry| entry.0 == rtype);
        for prerequisite in &update.prerequisites {
            let (holds, rcode) = match prerequisite {
                Prerequisite::NameInUse(owner) => {
                    (!self.records(owner).is_empty(), Rcode::NXDOMAIN)
                }
                Prerequisite::NameNotInUse(owner) => {
                    (self.records(owner).is_empty(), Rcode::YXDOMAIN)
                }
                Prerequisite::SetExists(owner, rtype) => (has(owner, *rtype), Rcode::NXRRSET),
                Prerequisite::SetDoesNotExist(owner, rtype) => {
                    (!has(owner, *rtype), Rcode::YXRRSET)
                }
                Prerequisite::Has(owner, rtype, rdata) => {
                    sets.entry((owner, *rtype)).or_default().push(rdata);
                    continue;
                }
            };
            if !holds {
                return Err(rcode);
            }
        }
        for ((owner, rtype), mut wanted) in sets {
            wanted.sort();
            wanted.dedup();
            let mut there = self.records(owner);
            there.retain(|entry| entry.0 == rtype);
            let all = wanted
                .iter()
                .all(|rdata| there.iter().any(|entry| same(rtype, &entry.2, rdata)));
            if there.len() != wanted.len() || !all {
                return Err(Rcode::NXRRSET);
            }
        }
        Ok(())
    }

    pub(crate) fn is_apex(&self, owner: &[u8]) -> bool {
        owner == self.zone.apex()
    }

    /// Does one step (RFC 2136 section 3.4.2).
    pub(crate) fn change(&mut self, change: &Change) {
        let at_apex = self.is_apex(change.owner());
        match change {
            Change::Add {
                owner,
                rtype,
                ttl,
                rdata,
            } => self.add(owner, *rtype, *ttl, rdata, at_apex),
            // The zone stays one: SOA and NS of the apex are not for deletion.
            Change::DeleteName(owner) => self
                .touch(owner)
                .retain(|entry| at_apex && matches!(entry.0, RecordType::SOA | RecordType::NS)),
            Change::DeleteSet(owner, rtype) => {
                if !(at_apex && matches!(*rtype, RecordType::SOA | RecordType::NS)) {
                    self.touch(owner).retain(|entry| entry.0 != *rtype);
                }
            }
            Change::DeleteRecord(owner, rtype, rdata) => {
                let records = self.touch(owner);
                let of_type = records.iter().filter(|entry| entry.0 == *rtype).count();
                let last = at_apex && *rtype == RecordType::NS && of_type <= 1;
                if *rtype != RecordType::SOA && !last {
                    records.retain(|entry| entry.0 != *rtype || !same(*rtype, &entry.2, rdata));
                }
            }
        }
    }

    fn add(&mut self, owner: &[u8], rtype: RecordType, ttl: u32, rdata: &[u8], at_apex: bool) {
        let records = self.touch(owner);
        let alias = rtype == RecordType::CNAME;
        let mut others = records
            .iter()
            .filter(|entry| !may_stand_beside_alias(entry.0));
        if !may_stand_beside_alias(rtype)
            && others.any(|entry| (entry.0 == RecordType::CNAME) != alias)
        {
            return;
        }
        if rtype == RecordType::SOA {
            let serial = |ttl, rdata| {
                let soa = Soa::read(Record {
                    owner,
                    rtype,
                    ttl,
                    rdata,
                });
                soa.map(|soa| soa.serial)
            };
            let newer = records.iter().any(|entry| {
                let known = entry.0 == RecordType::SOA;
                let pair = serial(ttl, rdata).zip(serial(entry.1, &entry.2));
                known && pair.is_some_and(|(new, old)| serial_newer(new, old))
            });
            if !at_apex || !newer {
                return;
            }
        }
        let single = is_single(rtype);
        records.retain(|entry| entry.0 != rtype || !(single || same(rtype, &entry.2, rdata)));
        // RFC 2181 section 5.2: an RRset has one TTL.
        for entry in records.iter_mut().filter(|entry| entry.0 == rtype) {
            entry.1 = ttl;
        }
        records.push((rtype, ttl, rdata.into()));
    }

    /// Takes the digest of the version away (RFC 8976): whoever checks the next one would refuse it.
    pub(crate) fn drop_digest(&mut self) {
        let apex = self.zone.apex();
        if self.zone.rrset(apex, RecordType::ZONEMD).is_some() {
            self.touch(apex)
                .retain(|entry| entry.0 != RecordType::ZONEMD);
        }
    }

    /// What all updates changed: records that went and that came.
    pub(crate) fn difference(&self) -> (Vec<RecordBuf>, Vec<RecordBuf>) {
        let names = self.touched.iter();
        difference(names.map(|(owner, now)| (&**owner, self.of_zone(owner), &**now)))
    }

    /// What the update changed: the same.
    pub(crate) fn step(&self) -> (Vec<RecordBuf>, Vec<RecordBuf>) {
        difference(self.undo.iter().map(|(owner, before)| {
            let before = before.clone().unwrap_or_else(|| self.of_zone(owner));
            let now = self.touched.get(owner).map_or(&[][..], Vec::as_slice);
            (&**owner, before, now)
        }))
    }

    /// The SOA record as it is now.
    pub(crate) fn soa(&self) -> Option<RecordBuf> {
        let apex = self.zone.apex();
        let records = self.records(apex);
        let soa = records.iter().find(|entry| entry.0 == RecordType::SOA)?;
        Some(record(apex, soa))
    }

    /// What has been touched, with this SOA record.
    pub(crate) fn into_names(mut self, soa: &RecordBuf) -> Names {
        let records = self.touch(&soa.owner);
        records.retain(|entry| entry.0 != RecordType::SOA);
        records.push((soa.rtype, soa.ttl, soa.rdata.clone()));
        self.touched
    }
}

/// Records that went and that came, from names with their records before and now.
fn difference<'n>(
    names: impl Iterator<Item = (&'n [u8], Vec<Entry>, &'n [Entry])>,
) -> (Vec<RecordBuf>, Vec<RecordBuf>) {
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (owner, before, now) in names {
        let gone = before.iter().filter(|entry| !now.contains(entry));
        removed.extend(gone.map(|entry| record(owner, entry)));
        let new = now.iter().filter(|entry| !before.contains(entry));
        added.extend(new.map(|entry| record(owner, entry)));
    }
    (removed, added)
}

fn record(owner: &[u8], (rtype, ttl, rdata): &Entry) -> RecordBuf {
    RecordBuf {
        owner: owner.into(),
        rtype: *rtype,
        ttl: *ttl,
        rdata: rdata.clone(),
    }
}

/// Whether two RDATA are the same: letter case does not count in those that are names (RFC 2136 section
/// 1.1.1 compares as RFC 1035 does).
fn same(rtype: RecordType, one: &[u8], other: &[u8]) -> bool {
    let names = matches!(
        rtype,
        RecordType::NS
            | RecordType::CNAME
            | RecordType::PTR
            | RecordType::DNAME
            | RecordType::MX
            | RecordType::SRV
            | RecordType::SOA
    );
    match names {
        true => one.eq_ignore_ascii_case(other),
        false => one == other,
    }
}
