//! Records that deny: made for each question, since nobody has a chain of all names.
use corten_dnssec::bitmap::Types;
use corten_dnssec::denial::{self, NXNAME, hash};
use corten_plugin::wire::{Name, Rcode, RecordType, Section};

use crate::Dnssec;
use crate::cache::{Key, Place};
use crate::config::Denial;

/// One record that denies.
pub(crate) struct Proof {
    pub(crate) section: Section,
    pub(crate) owner: Name,
    pub(crate) rtype: RecordType,
    pub(crate) rdata: Vec<u8>,
    /// Seconds.
    pub(crate) ttl: u32,
    /// Index of the zone that signs it.
    pub(crate) zone: usize,
    pub(crate) key: Key,
    pub(crate) signed: Option<Place>,
}

/// What is said of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// It does not exist.
    Absent,
    /// It exists without the type that is asked for.
    Present,
    /// It is a delegation, and has no DS records.
    Delegation,
    /// The same in front of a whole subtree that others answer for.
    Referral,
}

/// Makes the records for one denial.
pub(crate) struct Proofs<'a> {
    pub(crate) dnssec: &'a Dnssec,
    pub(crate) zone: &'a Name,
    pub(crate) made: &'a mut Vec<Proof>,
    pub(crate) count: usize,
}

/// Types that CoreDNS says a zone's apex has.
const APEX: &[RecordType] = &[
    RecordType::A,
    RecordType::NS,
    RecordType::SOA,
    RecordType::HINFO,
    RecordType::MX,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::LOC,
    RecordType::SRV,
    RecordType::CERT,
    RecordType::SSHFP,
    RecordType::RRSIG,
    RecordType::NSEC,
    RecordType::DNSKEY,
    RecordType::TLSA,
    RecordType::HIP,
    RecordType::OPENPGPKEY,
    RecordType::SPF,
];

/// Types that it says other names have; a delegation has NS as well.
const NAME: &[RecordType] = &[
    RecordType::A,
    RecordType::HINFO,
    RecordType::TXT,
    RecordType::AAAA,
    RecordType::LOC,
    RecordType::SRV,
    RecordType::CERT,
    RecordType::SSHFP,
    RecordType::RRSIG,
    RecordType::NSEC,
    RecordType::TLSA,
    RecordType::HIP,
    RecordType::OPENPGPKEY,
    RecordType::SPF,
];

/// Types that a name may have of which nobody knows which ones it has. A type that is left out is denied,
/// and resolvers believe that (RFC 8198).
const PERHAPS: &[RecordType] = &[
    RecordType::MX,
    RecordType::PTR,
    RecordType::RP,
    RecordType::AFSDB,
    RecordType::NAPTR,
    RecordType::APL,
    RecordType::IPSECKEY,
    RecordType::DHCID,
    RecordType::SMIMEA,
    RecordType::SVCB,
    RecordType::HTTPS,
    RecordType::EUI48,
    RecordType::EUI64,
    RecordType::URI,
    RecordType::CAA,
];

impl Proofs<'_> {
    /// Makes what denies a type at a name, or the name; returns the reply's RCODE if it is
    /// another one.
    pub(crate) fn make(
        &mut self,
        name: &Name,
        qtype: RecordType,
        subject: Subject,
    ) -> Option<Rcode> {
        if self.dnssec.denial == Denial::Nsec3 {
            self.nsec3(name, qtype, subject);
            return None;
        }
        let types = self.types(name, qtype, subject);
        let next = match subject {
            Subject::Referral => denial::behind_subtree(name, self.zone),
            _ => denial::first_child(name, self.zone),
        };
        self.add(name.clone(), RecordType::NSEC, |rdata| {
            rdata.extend_from_slice(next.wire());
            types.encode(rdata);
        });
        (subject == Subject::Absent).then_some(Rcode::NOERROR)
    }

    /// Whether the records answer a question for NSEC.
    pub(crate) fn answers_nsec(&self) -> bool {
        self.dnssec.denial != Denial::Nsec3
    }

    fn add(&mut self, owner: Name, rtype: RecordType, write: impl FnOnce(&mut Vec<u8>)) {
        if self.count == self.made.len() {
            self.made.push(Proof {
                section: Section::Authority,
                owner: Name::root(),
                rtype,
                rdata: Vec::new(),
                ttl: 0,
                zone: 0,
                key: [0; 2],
                signed: None,
            });
        }
        let proof = &mut self.made[self.count];
        (proof.owner, proof.rtype, proof.signed) = (owner, rtype, None);
        proof.rdata.clear();
        write(&mut proof.rdata);
        self.count += 1;
    }

    /// The types that a name has.
    fn types(&self, name: &Name, qtype: RecordType, subject: Subject) -> Types {
        let is_apex = name == self.zone;
        let honest = self.dnssec.denial != Denial::BlackLies;
        let mut types = Types::new();
        match subject {
            Subject::Delegation | Subject::Referral if honest => {
                types.extend([RecordType::NS, RecordType::RRSIG, RecordType::NSEC]);
            }
            Subject::Delegation | Subject::Referral => {
                types.extend(NAME.iter().copied());
                types.insert(RecordType::NS);
            }
            Subject::Absent if honest => {
                types.extend([RecordType::RRSIG, RecordType::NSEC, NXNAME]);
            }
            Subject::Absent | Subject::Present => {
                let known = match subject {
                    Subject::Present => self.dnssec.types_of(name),
                    _ => Some(Types::new()),
                };
                let exact = honest && known.is_some();
                let plausible = if is_apex { APEX } else { NAME };
                match exact {
                    true if is_apex => types.extend([RecordType::DNSKEY]),
                    true => (),
                    false => types.extend(plausible.iter().copied()),
                }
                match known {
                    Some(known) => types.extend(known.iter()),
                    None => types.extend(PERHAPS.iter().copied()),
                }
                types.extend([RecordType::RRSIG, RecordType::NSEC]);
                // What the proof itself consists of is there, whoever asks for it.
                if !matches!(qtype, RecordType::NSEC | RecordType::RRSIG) {
                    types.remove(qtype);
                }
            }
        }
        types
    }

    /// The same as NSEC3 records have it.
    fn nsec3_types(&self, name: &Name, qtype: RecordType, subject: Subject) -> Types {
        let mut types = self.types(name, qtype, subject);
        types.remove(RecordType::NSEC);
        if name == self.zone {
            types.insert(RecordType::NSEC3PARAM);
        }
        types.remove(qtype);
        let alone = matches!(subject, Subject::Delegation | Subject::Referral);
        if alone || types.as_slice() == [RecordType::RRSIG] {
            // Nothing is signed there (RFC 5155 section 7.1).
            types.remove(RecordType::RRSIG);
        }
        types
    }

    fn nsec3(&mut self, name: &Name, qtype: RecordType, subject: Subject) {
        if subject != Subject::Absent {
            let types = self.nsec3_types(name, qtype, subject);
            self.matches(name, &types);
            return;
        }
        // The parent is said to exist, which does no harm if it does not: nothing is denied by it.
        let encloser = name.parent(1);
        let types = self.nsec3_types(&encloser, RecordType(0), Subject::Present);
        self.matches(&encloser, &types);
        self.covers(name);
        let mut wildcard = b"\x01*".to_vec();
        wildcard.extend_from_slice(encloser.wire());
        // Where a wildcard has no room there is none.
        if let Ok(wildcard) = Name::from_wire(&wildcard)
            && wildcard != *name
        {
            self.covers(&wildcard);
        }
    }

    fn matches(&mut self, name: &Name, types: &Types) {
        let at = hash(name, 0, &[]);
        self.nsec3_record(&at, &denial::hash_behind(&at), types);
    }

    fn covers(&mut self, name: &Name) {
        let at = hash(name, 0, &[]);
        self.nsec3_record(
            &denial::hash_before(&at),
            &denial::hash_behind(&at),
            &Types::new(),
        );
    }

    fn nsec3_record(&mut self, at: &denial::Hash, next: &denial::Hash, types: &Types) {
        // Zones with longer names are refused when the configuration is read.
        if let Some(owner) = denial::nsec3_owner(at, self.zone) {
            let rdata = denial::nsec3(next, types);
            self.add(owner, RecordType::NSEC3, |out| {
                out.extend_from_slice(&rdata)
            });
        }
    }
}
