//! What of a reply is to be signed: its RRsets, and the proofs that it needs beside them.
//!
//! | reply | signed | proof |
//! |---|---|---|
//! | with an answer | every RRset in the zones | - |
//! | denial: one SOA record, and what is asked is not there | the same | at the end of the chain of CNAME records |
//! | referral | the DS RRset | that there is none, at the delegation |
//! | anything else | nothing | - |
//!
//! RRsets that carry signatures stay as they are, and so does a denial with NSEC or NSEC3 records. A
//! CNAME record that a DNAME record stands for needs no signature (RFC 6672 section 5.3.1).
use std::hash::{BuildHasher, Hasher};

use corten_dnssec::canonical::{Rrset, lower_names};
use corten_dnssec::rrsig::Validity;
use corten_plugin::Zones;
use corten_plugin::wire::{Name, Query, Question, Rcode, RecordType, Reply, Section, View};

use crate::cache::{Cache, Copies, Key, Signed};
use crate::config::Denial;
use crate::pool::Job;
use crate::proof::{Proof, Proofs, Subject};
use crate::sets::{Set, Sets};
use crate::{Dnssec, ORIGINAL_TTL, RENEWAL, signer_of};

/// RRsets of one reply that are signed; those of the additional section beyond stay unsigned.
const SIGNED_MAX: usize = 64;
/// CNAME records followed from the question to what is denied.
const CHAIN_MAX: usize = 32;

/// Memory for one reply after another.
#[derive(Default)]
pub(crate) struct Work {
    sets: Sets,
    proofs: Vec<Proof>,
    /// How many of them count.
    proof_count: usize,
    /// The RCODE that the signed reply has, if it is another one.
    rcode: Option<Rcode>,
    /// The proof answers the question: SOA and the like are left out.
    proof_answers: bool,
    signatures: Copies,
    scratch: Vec<u8>,
}

/// What is to be done with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It stays as it is.
    Leave,
    /// RRsets and proofs are there to be signed.
    Sign,
    /// First it must be known whether the question's name is delegated.
    AskForDelegation,
    /// It has more RRsets than anybody signs.
    TooMany,
}

/// What the cache has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A signature.
    Fresh,
    /// One that is to be renewed.
    Old,
    /// None that is valid.
    Not,
}

/// A name of which something is denied.
struct Denied {
    name: Name,
    zone: usize,
    ttl: u32,
    subject: Subject,
}

/// An RRset or a proof of some [`Work`].
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Set(usize),
    Proof(usize),
}

impl Work {
    /// Finds out what is to be signed. `delegated` says, once it is known, whether the question's name
    /// is delegated.
    pub(crate) fn plan(
        &mut self,
        dnssec: &Dnssec,
        query: &Query,
        reply: &Reply,
        delegated: Option<bool>,
    ) -> Plan {
        (self.proof_count, self.rcode, self.proof_answers) = (0, None, false);
        let question = &query.question;
        self.sets.read(&dnssec.zones, question, reply);
        let answered = match reply.rcode {
            Rcode::NOERROR => reply.has_answer(),
            Rcode::NXDOMAIN => false,
            Rcode::YXDOMAIN => true,
            _ => return Plan::Leave,
        };
        let denied = match answered {
            true => None,
            false => match self.unanswered(dnssec, question, reply, delegated) {
                Ok(denied) => denied,
                Err(plan) => return plan,
            },
        };
        if let Some(denied) = denied {
            self.prove(dnssec, query, &denied);
        }
        match self.sets.bound(SIGNED_MAX) {
            false => Plan::TooMany,
            true if self.proof_count == 0 && self.sets.wanted().next().is_none() => Plan::Leave,
            true => Plan::Sign,
        }
    }

    /// What a reply without an answer denies, if that is for us to prove.
    fn unanswered(
        &mut self,
        dnssec: &Dnssec,
        question: &Question,
        reply: &Reply,
        delegated: Option<bool>,
    ) -> Result<Option<Denied>, Plan> {
        let (first, second) = {
            let mut soas = self.sets.of(Section::Authority, RecordType::SOA);
            (soas.next(), soas.next())
        };
        match (first, second) {
            (Some(soa), None) if soa.count == 1 => {
                // Somebody else's denial, or one that is proved already.
                if self.sets.has_denials() || soa.zone.is_none() {
                    return Ok(None);
                }
                self.denied(dnssec, question, reply, soa, delegated)
            }
            (None, _) => match self.referral(&dnssec.zones, reply.rcode) {
                Some(denied) => {
                    self.sets.sign_only_ds();
                    Ok(denied)
                }
                // Nothing that a proof could be made of.
                None if reply.count(Section::Answer) == 0 => Err(Plan::Leave),
                None => Ok(None),
            },
            _ => Err(Plan::Leave),
        }
    }

    /// What a denial denies: the name that the chain of CNAME records ends with.
    fn denied(
        &self,
        dnssec: &Dnssec,
        question: &Question,
        reply: &Reply,
        soa: &Set,
        delegated: Option<bool>,
    ) -> Result<Option<Denied>, Plan> {
        let end = self.chain_end(question, reply.view());
        let zone = end
            .as_ref()
            .and_then(|name| signer_of(&dnssec.zones, name, question.rtype));
        let (Some(name), Some(zone)) = (end, zone.filter(|zone| soa.zone == Some(*zone))) else {
            return Ok(None);
        };
        let is_apex = dnssec.zones.names()[zone] == name;
        let subject = match reply.rcode {
            Rcode::NXDOMAIN => Subject::Absent,
            _ if question.rtype == RecordType::DS && !is_apex => {
                // NS records without DS ones make everybody a server of the names below: only of a
                // delegation may be said that it is one (RFC 4035 section 5.2).
                let known = delegated.or_else(|| dnssec.is_delegated(&name));
                match known.ok_or(Plan::AskForDelegation)? {
                    true => Subject::Delegation,
                    false => Subject::Present,
                }
            }
            _ => Subject::Present,
        };
        Ok(Some(Denied {
            // RFC 9077 section 3.
            ttl: soa.ttl.min(reply.soa_minimum().unwrap_or(u32::MAX)),
            name,
            zone,
            subject,
        }))
    }

    /// The name that CNAME records lead to from the question's; nothing when there is no end.
    fn chain_end(&self, question: &Question, view: View<'_>) -> Option<Name> {
        let mut name = question.name.clone();
        for _ in 0..CHAIN_MAX {
            let mut cnames = self.sets.of(Section::Answer, RecordType::CNAME);
            let Some(cname) = cnames.find(|set| set.owner == name) else {
                return Some(name);
            };
            name = view.target(view.records().get(usize::from(cname.first))?)?;
        }
        None
    }

    /// Whether the reply refers to servers of a delegation, and if so whether a proof is needed that the
    /// delegation is not signed.
    fn referral(&self, zones: &Zones, rcode: Rcode) -> Option<Option<Denied>> {
        // The zone above the delegation speaks of it, also where the one below is signed here, too.
        let above = |set: &Set| {
            let zone = signer_of(zones, &set.owner, RecordType::DS)?;
            (set.owner != zones.names()[zone]).then_some(zone)
        };
        let mut servers = self.sets.of(Section::Authority, RecordType::NS);
        let (cut, zone) = servers
            .find_map(|set| Some((set, above(set)?)))
            .filter(|_| rcode == Rcode::NOERROR)?;
        let mut digests = self.sets.of(Section::Authority, RecordType::DS);
        let proved = digests.any(|set| set.owner == cut.owner) || self.sets.has_denials();
        let zone = Some(zone).filter(|_| !proved);
        Some(zone.map(|zone| Denied {
            name: cut.owner.clone(),
            zone,
            ttl: cut.ttl,
            subject: Subject::Referral,
        }))
    }

    fn prove(&mut self, dnssec: &Dnssec, query: &Query, denied: &Denied) {
        let qtype = query.question.rtype;
        let mut proofs = Proofs {
            dnssec,
            zone: &dnssec.zones.names()[denied.zone],
            made: &mut self.proofs,
            count: 0,
        };
        self.rcode = proofs.make(&denied.name, qtype, denied.subject);
        if dnssec.denial == Denial::Compact && query.compact_ok() {
            // The client can tell a name that does not exist from one without the type.
            self.rcode = None;
        }
        // CoreDNS answers a question for NSEC with the proof.
        self.proof_answers = qtype == RecordType::NSEC
            && denied.name == query.question.name
            && proofs.answers_nsec();
        self.proof_count = proofs.count;
        let section = match self.proof_answers {
            true => Section::Answer,
            false => Section::Authority,
        };
        for proof in &mut self.proofs[..self.proof_count] {
            (proof.section, proof.zone, proof.ttl) = (section, denied.zone, denied.ttl);
        }
        if self.proof_answers {
            self.sets.sign_nothing_of(Section::Authority);
        }
    }

    /// Looks up the signatures; `each` is told what is there for each part. Returns whether all are.
    pub(crate) fn look_up(
        &mut self,
        dnssec: &Dnssec,
        reply: &Reply,
        now: u32,
        mut each: impl FnMut(Part, Found),
    ) -> bool {
        let (cache, zones) = (&*dnssec.signer.cache, dnssec.zones.names());
        let (view, mut complete) = (reply.view(), true);
        let signatures = &mut self.signatures;
        signatures.clear();
        let mut find = |part, key: &Key| {
            let found = cache.copy(key, now, signatures);
            let later = now.wrapping_add(RENEWAL);
            each(
                part,
                match &found {
                    None => Found::Not,
                    Some((_, validity)) if validity.contains(later) => Found::Fresh,
                    Some(_) => Found::Old,
                },
            );
            complete &= found.is_some();
            found.map(|(place, _)| place)
        };
        for index in 0..self.sets.len() {
            if !self.sets.at(index).wanted {
                continue;
            }
            let set = self.sets.at(index);
            let mut sums = [0u64; 2];
            for at in self.sets.records_of(set) {
                self.scratch.clear();
                view.expanded_rdata(&view.records()[at], &mut self.scratch);
                lower_names(set.rtype, &mut self.scratch);
                for (sum, hasher) in sums.iter_mut().zip(&cache.hashers) {
                    // The records of an RRset have no order.
                    *sum = sum.wrapping_add(hasher.hash_one(&self.scratch[..]));
                }
            }
            let zone = &zones[set.zone.unwrap_or_default()];
            let key = key_of(cache, &set.owner, set.rtype, zone, sums);
            let signed = find(Part::Set(index), &key);
            let set = self.sets.at_mut(index);
            (set.key, set.signed) = (key, signed);
        }
        for (index, proof) in self.proofs[..self.proof_count].iter_mut().enumerate() {
            let hash = |hasher: &foldhash::quality::RandomState| hasher.hash_one(&proof.rdata[..]);
            let sums = cache.hashers.each_ref().map(hash);
            proof.key = key_of(cache, &proof.owner, proof.rtype, &zones[proof.zone], sums);
            proof.signed = find(Part::Proof(index), &proof.key);
        }
        complete
    }

    /// What the pool needs to sign a part.
    pub(crate) fn job(
        &self,
        dnssec: &Dnssec,
        reply: &Reply,
        part: Part,
        validity: Validity,
    ) -> Job {
        let zones = dnssec.zones.names();
        let (key, zone, rrset) = match part {
            Part::Set(index) => {
                let (set, view) = (self.sets.at(index), reply.view());
                let rdatas: Vec<Vec<u8>> = self
                    .sets
                    .records_of(set)
                    .map(|at| {
                        let mut rdata = Vec::new();
                        view.expanded_rdata(&view.records()[at], &mut rdata);
                        rdata
                    })
                    .collect();
                let rdatas = rdatas.iter().map(|rdata| &rdata[..]);
                let rrset = Rrset::new(&set.owner, set.rtype, rdatas);
                (set.key, set.zone.unwrap_or_default(), rrset)
            }
            Part::Proof(index) => {
                let proof = &self.proofs[index];
                let rrset = Rrset::new(&proof.owner, proof.rtype, [&proof.rdata[..]]);
                (proof.key, proof.zone, rrset)
            }
        };
        Job {
            key,
            rrset,
            zone: zones[zone].clone(),
            ttl: ORIGINAL_TTL,
            validity,
        }
    }

    /// Notes the signatures of a part.
    pub(crate) fn set_signed(&mut self, part: Part, signed: &Signed) {
        let place = Some(self.signatures.add(signed));
        match part {
            Part::Set(index) => self.sets.at_mut(index).signed = place,
            Part::Proof(index) => self.proofs[index].signed = place,
        }
    }

    /// Makes the reply anew with signatures behind their RRsets and proofs behind the others.
    pub(crate) fn write(&self, query: &Query, reply: &mut Reply) {
        if let Some(rcode) = self.rcode {
            reply.rcode = rcode;
        }
        let proofs = &self.proofs[..self.proof_count];
        reply.rebuild(query, |old, new| {
            for section in [Section::Answer, Section::Authority, Section::Additional] {
                let left_out = self.proof_answers && section == Section::Authority;
                let records = old.records().iter().enumerate();
                for (index, record) in records.filter(|(_, record)| record.section == section) {
                    if left_out {
                        continue;
                    }
                    new.copy(old, record);
                    let Some(set) = self.sets.ending_with(index) else {
                        continue;
                    };
                    for rdata in self.signatures.rdatas(set.signed) {
                        new.like(old, record, RecordType::RRSIG, set.ttl, |out| {
                            out.octets(rdata);
                        });
                    }
                }
                for proof in proofs.iter().filter(|proof| proof.section == section) {
                    new.push(section, &proof.owner, proof.rtype, proof.ttl, &proof.rdata);
                    for rdata in self.signatures.rdatas(proof.signed) {
                        new.push(section, &proof.owner, RecordType::RRSIG, proof.ttl, rdata);
                    }
                }
            }
        });
    }
}

/// What a signature over these records is found by. TTLs are no part of it: the one that is signed is
/// always the same.
fn key_of(cache: &Cache, owner: &Name, rtype: RecordType, zone: &Name, sums: [u64; 2]) -> Key {
    let mut key = sums;
    for (part, hasher) in key.iter_mut().zip(&cache.hashers) {
        let mut state = hasher.build_hasher();
        state.write_u64(*part);
        state.write_u16(rtype.0);
        state.write(owner.wire());
        state.write(zone.wire());
        *part = state.finish();
    }
    key
}
