//! Making a reply anew out of the records of replies: what cannot be changed in place.
//!
//! Names may be compressed against any place further up, so a record whose length changes cannot
//! stay where it is, nor can those behind it. Here every name is read out in full and written again
//! with compression of our own. The reply keeps the memory of its old form for the next time.
use super::compress::{Compress, Places, compress, expand};
use super::{Rdata, Record, Reply, Section};
use crate::codes::{Class, RecordType};
use crate::name::Name;
use crate::query::{Query, be16};
use crate::{HEADER_OCTETS, MESSAGE_OCTETS_MAX, walk};

/// Which of a record's names is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAt {
    /// The owner.
    Owner,
    /// The name that the record leads to: of CNAME, DNAME, MX, NAPTR, NS, PTR and SRV, and the
    /// primary server of SOA.
    Target,
    /// Another name in the RDATA.
    Other,
}

/// The records of a reply, to be read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    octets: &'a [u8],
    records: &'a [Record],
}

/// A reply that is being made.
#[derive(Debug)]
pub struct Anew<'a> {
    octets: &'a mut Vec<u8>,
    records: &'a mut Vec<Record>,
    places: Places,
    full: bool,
}

/// Memory of the last form of a reply.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    octets: Vec<u8>,
    records: Vec<Record>,
}

impl Clone for Spare {
    /// A copy needs none of it.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Spare {
    /// Some memory, emptied.
    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        self.octets.clear();
        &mut self.octets
    }

    /// Gives the records from `low` to `high` their new places, one after the other.
    pub(crate) fn reorder(
        &mut self,
        records: &mut [Record],
        low: usize,
        high: usize,
        order: &[u16],
    ) {
        self.records.clear();
        self.records.extend_from_slice(&records[low..=high]);
        for at in low..=high {
            let (was, start) = (
                self.records[usize::from(order[at]) - low],
                records[at].start,
            );
            records[at] = Record {
                start,
                rdata: start + (was.rdata - was.start),
                end: start + (was.end - was.start),
                ..was
            };
        }
    }
}

impl Reply {
    /// The records as they are now.
    pub fn view(&self) -> View<'_> {
        View {
            octets: &self.octets,
            records: &self.records,
        }
    }

    /// Makes the message anew, with the query's present question: `each` copies what shall be in it.
    /// Header bits, RCODE and options stay. Allocates nothing once the memory is there.
    ///
    /// Records that would lead past 65,535 octets are left out, and TC is set.
    pub fn rebuild(&mut self, query: &Query, each: impl FnOnce(View<'_>, &mut Anew<'_>)) {
        if !self.started {
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        let (mut octets, mut records) = (spare.octets, spare.records);
        octets.clear();
        records.clear();
        octets.resize(HEADER_OCTETS, 0);
        super::write_question(query, &mut octets);
        let mut anew = Anew {
            places: Places::new(&octets),
            octets: &mut octets,
            records: &mut records,
            full: false,
        };
        each(self.view(), &mut anew);
        self.truncated |= anew.full;
        self.spare = Spare {
            octets: std::mem::replace(&mut self.octets, octets),
            records: std::mem::replace(&mut self.records, records),
        };
    }

    /// Lets `map` change names; it returns whether it did. The question becomes the query's.
    pub fn map_names(
        &mut self,
        query: &Query,
        mut map: impl FnMut(NameAt, RecordType, &mut Name) -> bool,
    ) {
        self.rebuild(query, |old, new| {
            for record in old.records {
                new.copy_mapped(old, record, &mut map);
            }
        });
    }

    /// Makes the reply's question the query's again, after a plugin has put that back.
    pub fn restore_question(&mut self, query: &Query) {
        if !self.started {
            return;
        }
        let end = self
            .records
            .first()
            .map_or(self.octets.len(), |first| usize::from(first.start));
        let scratch = self.spare.scratch();
        super::write_question(query, scratch);
        let now = self.octets.get(HEADER_OCTETS..end).unwrap_or_default();
        if now == &scratch[..] {
            return;
        }
        let same_name = now.len() == scratch.len()
            && scratch.len() > 4
            && now[..now.len() - 4].eq_ignore_ascii_case(&scratch[..scratch.len() - 4]);
        if same_name {
            self.octets[HEADER_OCTETS..end].copy_from_slice(scratch);
        } else {
            self.map_names(query, |_, _, _| false);
        }
    }
}

impl<'a> View<'a> {
    /// The records, in their order.
    pub fn records(self) -> &'a [Record] {
        self.records
    }

    /// The owner of a record.
    pub fn owner(self, record: &Record) -> Option<Name> {
        self.name(usize::from(record.start))
    }

    /// Where the owner of a record leads to, if nothing but a pointer stands for it: owners that
    /// lead to one place are the same.
    pub fn owner_pointer(self, record: &Record) -> Option<u16> {
        be16(self.octets, usize::from(record.start)).filter(|pointer| *pointer >= 0xc000)
    }

    /// The name that a record leads to ([`NameAt::Target`]).
    pub fn target(self, record: &Record) -> Option<Name> {
        let names = Names::of(self.octets, record)?;
        names.target()?;
        self.name(names.at[0])
    }

    /// RDATA as it lies in the message, names compressed or not.
    pub fn rdata(self, record: &Record) -> &'a [u8] {
        self.octets
            .get(usize::from(record.rdata)..usize::from(record.end))
            .unwrap_or_default()
    }

    /// Appends RDATA with its names written out, letter case kept; returns whether it could be read.
    pub fn expanded_rdata(self, record: &Record, out: &mut Vec<u8>) -> bool {
        let Some(names) = Names::of(self.octets, record) else {
            return false;
        };
        let mut at = usize::from(record.rdata);
        for place in &names.at[..names.count] {
            let (Some((name, length)), Some(end)) = (
                expand(self.octets, *place),
                walk::skip_name(self.octets, *place),
            ) else {
                return false;
            };
            out.extend_from_slice(self.octets.get(at..*place).unwrap_or_default());
            out.extend_from_slice(&name[..length]);
            at = end;
        }
        out.extend_from_slice(
            self.octets
                .get(at..usize::from(record.end))
                .unwrap_or_default(),
        );
        true
    }

    /// TTL in seconds.
    pub fn ttl(self, record: &Record) -> u32 {
        super::ttl_at(self.octets, record)
    }

    /// CLASS.
    pub fn class(self, record: &Record) -> Class {
        Class(be16(self.octets, usize::from(record.rdata).saturating_sub(8)).unwrap_or(0))
    }

    fn name(self, at: usize) -> Option<Name> {
        let (octets, length) = expand(self.octets, at)?;
        Name::from_wire(&octets[..length]).ok()
    }
}

impl Anew<'_> {
    /// Adds a record of this or another reply. Sections must come in their order.
    pub fn copy(&mut self, from: View<'_>, record: &Record) {
        self.copy_mapped(from, record, |_, _, _| false);
    }

    /// The same, and lets `map` change names; it returns whether it did.
    pub fn copy_mapped(
        &mut self,
        from: View<'_>,
        record: &Record,
        mut map: impl FnMut(NameAt, RecordType, &mut Name) -> bool,
    ) {
        let rtype = record.rtype;
        let (start, rdata) = (usize::from(record.start), usize::from(record.rdata));
        let class = from.class(record);
        self.record(record.section, rtype, class, from.ttl(record), |new| {
            new.name(from, start, Compress::Yes, |name| {
                map(NameAt::Owner, rtype, name)
            })
        });
        let Some(last) = self.open_record() else {
            return;
        };
        let end = usize::from(record.end);
        let mut at = rdata;
        if let Some(names) = Names::of(from.octets, record) {
            let target = names.target();
            for (index, place) in names.at[..names.count].iter().enumerate() {
                let which = match (index, target) {
                    (0, Some(())) => NameAt::Target,
                    _ => NameAt::Other,
                };
                self.octets
                    .extend_from_slice(from.octets.get(at..*place).unwrap_or_default());
                self.name(from, *place, compress(rtype), |name| {
                    map(which, rtype, name)
                });
                at = walk::skip_name(from.octets, *place).unwrap_or(end);
            }
        }
        self.octets
            .extend_from_slice(from.octets.get(at..end).unwrap_or_default());
        self.close(last);
    }

    /// Adds a record with the owner and class of another, and RDATA of its own without names.
    pub fn like(
        &mut self,
        from: View<'_>,
        record: &Record,
        rtype: RecordType,
        ttl: u32,
        rdata: impl FnOnce(&mut Rdata<'_>),
    ) {
        let class = from.class(record);
        self.record(record.section, rtype, class, ttl, |new| {
            new.name(from, usize::from(record.start), Compress::Yes, |_| false)
        });
        if let Some(last) = self.open_record() {
            rdata(&mut Rdata(self.octets));
            self.close(last);
        }
    }

    /// Adds a record of class IN with RDATA whose names, if there are any, stay as they are.
    pub fn push(
        &mut self,
        section: Section,
        owner: &Name,
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) {
        self.record(section, rtype, Class::IN, ttl, |new| {
            new.places.write(new.octets, owner.wire(), Compress::Yes);
        });
        if let Some(last) = self.open_record() {
            self.octets.extend_from_slice(rdata);
            self.close(last);
        }
    }

    /// Begins a record; nothing is added when there is no room or the section is over.
    fn record(
        &mut self,
        section: Section,
        rtype: RecordType,
        class: Class,
        ttl: u32,
        owner: impl FnOnce(&mut Self),
    ) {
        let over = self
            .records
            .last()
            .is_some_and(|last| last.section > section);
        debug_assert!(!over, "sections come in their order");
        if self.full || over {
            return;
        }
        let start = self.octets.len();
        owner(self);
        self.octets.extend_from_slice(&rtype.0.to_be_bytes());
        self.octets.extend_from_slice(&class.0.to_be_bytes());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&[0, 0]);
        self.open(section, rtype, start);
    }

    fn open(&mut self, section: Section, rtype: RecordType, start: usize) {
        let (Ok(at), Ok(rdata)) = (u16::try_from(start), u16::try_from(self.octets.len())) else {
            self.octets.truncate(start);
            self.full = true;
            return;
        };
        self.records.push(Record {
            section,
            rtype,
            start: at,
            rdata,
            end: 0,
        });
    }

    /// The record that was begun last, unless it found no room.
    fn open_record(&self) -> Option<usize> {
        let open = self.records.last()?.end == 0;
        open.then_some(self.records.len() - 1)
    }

    /// Ends a record: writes RDLENGTH, or takes it back when it is too long.
    fn close(&mut self, last: usize) {
        let record = &mut self.records[last];
        let (start, rdata) = (usize::from(record.start), usize::from(record.rdata));
        match u16::try_from(self.octets.len()) {
            Ok(end) if self.octets.len() <= MESSAGE_OCTETS_MAX => {
                record.end = end;
                let length = end - record.rdata;
                self.octets[rdata - 2..rdata].copy_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.octets.truncate(start);
                self.records.truncate(last);
                self.full = true;
            }
        }
    }

    /// Writes the name that lies at a place of another message.
    fn name(
        &mut self,
        from: View<'_>,
        at: usize,
        compress: Compress,
        map: impl FnOnce(&mut Name) -> bool,
    ) {
        let Some((octets, length)) = expand(from.octets, at) else {
            // Only a plugin's own RDATA can be so; the root stands for what cannot be read.
            self.octets.push(0);
            return;
        };
        let raw = &octets[..length];
        match Name::from_wire(raw) {
            Ok(mut name) => match map(&mut name) {
                true => self.places.write(self.octets, name.wire(), compress),
                // Letter case stays as it is.
                false => self.places.write(self.octets, raw, compress),
            },
            Err(_) => self.octets.push(0),
        }
    }
}

/// Where the names lie in a record's RDATA.
struct Names {
    at: [usize; 2],
    count: usize,
    rtype: RecordType,
}

impl Names {
    fn of(octets: &[u8], record: &Record) -> Option<Self> {
        let mut names = Self {
            at: [0; 2],
            count: 0,
            rtype: record.rtype,
        };
        if record.rtype == RecordType::NAPTR {
            names.at[0] = naptr_replacement(octets, record)?;
            names.count = 1;
            return Some(names);
        }
        let raw = walk::record(octets, usize::from(record.start))?;
        walk::names_in_rdata(octets, &raw, |at| {
            if names.count < names.at.len() {
                names.at[names.count] = at;
                names.count += 1;
            }
        })?;
        Some(names)
    }

    /// Whether the first name is one that the record leads to.
    fn target(&self) -> Option<()> {
        let leads = matches!(
            self.rtype,
            RecordType::CNAME
                | RecordType::DNAME
                | RecordType::MX
                | RecordType::NAPTR
                | RecordType::NS
                | RecordType::PTR
                | RecordType::SOA
                | RecordType::SRV
        );
        (leads && self.count > 0).then_some(())
    }
}

/// The REPLACEMENT of a NAPTR record (RFC 3403 section 4.1). It should not be compressed; where it
/// is, a verbatim copy would lead to somewhere else.
fn naptr_replacement(octets: &[u8], record: &Record) -> Option<usize> {
    let mut at = usize::from(record.rdata) + 4;
    for _ in 0..3 {
        at += 1 + usize::from(*octets.get(at)?);
    }
    let end = walk::skip_name(octets, at)?;
    (end == usize::from(record.end) && walk::expanded_length(octets, at).is_some()).then_some(at)
}

#[cfg(test)]
mod tests;
