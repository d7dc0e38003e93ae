//! The RRsets of a reply.
use corten_plugin::Zones;
use corten_plugin::wire::{Class, Name, Question, RecordType, Reply, Section, View};

use crate::cache::{Key, Place};
use crate::signer_of;

/// The question's name lies where the header ends.
const QUESTION_POINTER: u16 = 0xc00c;

/// One RRset of a section.
pub(crate) struct Set {
    pub(crate) section: Section,
    pub(crate) rtype: RecordType,
    pub(crate) owner: Name,
    /// Index of its first record in the reply.
    pub(crate) first: u16,
    /// Index of its last one.
    pub(crate) last: u16,
    /// How many there are.
    pub(crate) count: u16,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Index of the zone that would sign it.
    pub(crate) zone: Option<usize>,
    /// Whether it is to be signed.
    pub(crate) wanted: bool,
    pub(crate) key: Key,
    pub(crate) signed: Option<Place>,
}

/// All of them; keeps its memory.
#[derive(Default)]
pub(crate) struct Sets {
    sets: Vec<Set>,
    /// The set of each record, by the record's index; RRSIG records and other classes have none.
    of_record: Vec<Option<u16>>,
    denials: bool,
}

impl Sets {
    /// Takes a reply apart. Every RRset with a zone is wanted, but for those that have a signature
    /// or need none.
    pub(crate) fn read(&mut self, zones: &Zones, question: &Question, reply: &Reply) {
        self.sets.clear();
        self.of_record.clear();
        self.denials = false;
        let view = reply.view();
        let (mut signatures, mut last) = (false, None);
        for (index, record) in view.records().iter().enumerate() {
            let rtype = record.rtype;
            let is_signature = matches!(rtype, RecordType::RRSIG | RecordType::SIG);
            if is_signature || view.class(record) != Class::IN {
                signatures |= is_signature;
                self.of_record.push(None);
                continue;
            }
            self.denials |= matches!(rtype, RecordType::NSEC | RecordType::NSEC3);
            let pointer = view.owner_pointer(record);
            // Records of an RRset stand together nearly always, and lead to one name.
            let same = last.filter(|(section, kind, at, _)| {
                pointer.is_some() && (*section, *kind, *at) == (record.section, rtype, pointer)
            });
            let at = match same {
                Some((_, _, _, at)) => at,
                None => {
                    let owner = match pointer {
                        Some(QUESTION_POINTER) => question.name.clone(),
                        _ => view.owner(record).unwrap_or_default(),
                    };
                    self.find_or_add(zones, record.section, rtype, owner, index)
                }
            };
            last = Some((record.section, rtype, pointer, at));
            let set = &mut self.sets[usize::from(at)];
            let ttl = view.ttl(record);
            set.ttl = if set.count == 0 {
                ttl
            } else {
                set.ttl.min(ttl)
            };
            set.count += 1;
            // A message holds fewer records than that.
            set.last = index as u16;
            self.of_record.push(Some(at));
        }
        if signatures {
            self.leave_out_signed(view);
        }
        self.leave_out_synthesised();
    }

    fn find_or_add(
        &mut self,
        zones: &Zones,
        section: Section,
        rtype: RecordType,
        owner: Name,
        index: usize,
    ) -> u16 {
        let is = |set: &Set| (set.section, set.rtype) == (section, rtype) && set.owner == owner;
        if let Some(at) = self.sets.iter().position(is) {
            return at as u16;
        }
        let zone = signer_of(zones, &owner, rtype);
        self.sets.push(Set {
            section,
            rtype,
            owner,
            first: index as u16,
            last: index as u16,
            count: 0,
            ttl: 0,
            zone,
            wanted: zone.is_some(),
            key: [0; 2],
            signed: None,
        });
        (self.sets.len() - 1) as u16
    }

    fn leave_out_signed(&mut self, view: View<'_>) {
        for record in view.records() {
            let covered = match (record.rtype, view.rdata(record)) {
                (RecordType::RRSIG, [high, low, ..]) => u16::from_be_bytes([*high, *low]),
                _ => continue,
            };
            let owner = view.owner(record);
            for set in &mut self.sets {
                if (set.section, set.rtype.0) == (record.section, covered)
                    && owner.as_ref() == Some(&set.owner)
                {
                    set.wanted = false;
                }
            }
        }
    }

    /// CNAME records below the owner of a DNAME record of the answer.
    fn leave_out_synthesised(&mut self) {
        let dname = |set: &Set| (set.section, set.rtype) == (Section::Answer, RecordType::DNAME);
        if !self.sets.iter().any(dname) {
            return;
        }
        let owners: Vec<Name> = self
            .sets
            .iter()
            .filter(|set| dname(set))
            .map(|set| set.owner.clone())
            .collect();
        for set in &mut self.sets {
            let below = |dname: &Name| set.owner.is_in(dname) && set.owner != *dname;
            if set.rtype == RecordType::CNAME && owners.iter().any(below) {
                set.wanted = false;
            }
        }
    }

    /// The RRsets of a type in a section.
    pub(crate) fn of(&self, section: Section, rtype: RecordType) -> impl Iterator<Item = &Set> {
        self.sets
            .iter()
            .filter(move |set| (set.section, set.rtype) == (section, rtype))
    }

    /// The set that ends with the record of this index.
    pub(crate) fn ending_with(&self, index: usize) -> Option<&Set> {
        let at = self.of_record.get(index).copied().flatten()?;
        self.sets
            .get(usize::from(at))
            .filter(|set| usize::from(set.last) == index)
    }

    /// Indexes of a set's records in the reply.
    pub(crate) fn records_of(&self, set: &Set) -> impl Iterator<Item = usize> {
        let at = self
            .of_record
            .get(usize::from(set.first))
            .copied()
            .flatten();
        let range = usize::from(set.first)..=usize::from(set.last);
        range.filter(move |index| self.of_record[*index] == at)
    }

    /// Whether there are NSEC or NSEC3 records.
    pub(crate) fn has_denials(&self) -> bool {
        self.denials
    }

    /// In a referral only DS records are the zone's own, and what leads to it.
    pub(crate) fn sign_only_ds(&mut self) {
        for set in &mut self.sets {
            set.wanted &= set.section == Section::Answer || set.rtype == RecordType::DS;
        }
    }

    /// For sections that are left out.
    pub(crate) fn sign_nothing_of(&mut self, section: Section) {
        for set in &mut self.sets {
            set.wanted &= set.section != section;
        }
    }

    /// Bounds how many are signed; false when answer and authority have more.
    pub(crate) fn bound(&mut self, most: usize) -> bool {
        let mut count = 0;
        for set in self.sets.iter_mut().filter(|set| set.wanted) {
            count += 1;
            if count > most {
                if set.section != Section::Additional {
                    return false;
                }
                set.wanted = false;
            }
        }
        true
    }

    /// Those that are to be signed.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(|set| set.wanted)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The set at an index.
    pub(crate) fn at(&self, index: usize) -> &Set {
        &self.sets[index]
    }

    /// The same, to note its signatures.
    pub(crate) fn at_mut(&mut self, index: usize) -> &mut Set {
        &mut self.sets[index]
    }
}
