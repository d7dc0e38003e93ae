//! Who may change what.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use corten_plugin::wire::{Name, RecordType};
use corten_zone::RecordBuf;

use crate::apply::Work;
use crate::commit::{Judge, Refusal};
use crate::message::Change;

/// The label in front of names that certificates are wanted for (RFC 8555 section 8.4).
const CHALLENGE: &[u8] = b"\x0f_acme-challenge";

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) key: Name,
    pub(crate) what: What,
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Everything at and below these names; of these types, or of all if none is named.
    Names {
        names: Vec<Name>,
        types: Vec<RecordType>,
    },
    /// TXT records of challenges for these names.
    Challenges(Vec<Wanted>),
}

/// A name that certificates are wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: Name,
    /// Names below it, and not itself: it was written with `*.` in front.
    pub(crate) below: bool,
}

/// What challenges may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Seconds that a challenge lives; 0 for ever.
    pub(crate) expire_seconds: u64,
    pub(crate) ttl_min: u32,
    pub(crate) ttl_max: u32,
    /// Values at one name.
    pub(crate) values_max: usize,
    /// Octets of a value.
    pub(crate) value_octets_max: usize,
    /// Updates of one key a minute; 0 for any number.
    pub(crate) rate: u32,
}

/// The rules of a directive.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) grants: Vec<Grant>,
    pub(crate) limits: Limits,
    /// What is left to each key, by its name in wire form.
    left: Mutex<HashMap<Box<[u8]>, Left>>,
}

/// How many updates a key may make now, as of when.
#[derive(Debug)]
struct Left {
    updates: f64,
    since: Instant,
}

/// Why an update is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("more than {0} updates a minute")]
    Rate(u32),
    #[error("the key may not change {0}")]
    Change(String),
    #[error("a value has {0} octets")]
    Length(usize),
}

/// The changes of an update as they may be done.
#[derive(Debug)]
pub(crate) struct Permitted {
    limits: Limits,
    pub(crate) changes: Vec<Change>,
    /// Names that get challenges.
    challenges: Vec<Vec<u8>>,
    /// Names that are deleted as a whole, with the types that may go.
    deleted: Vec<(Vec<u8>, Vec<RecordType>)>,
    now: u64,
}

impl Wanted {
    /// Whether it is this name, in wire form.
    fn is(&self, name: &[u8]) -> bool {
        match self.below {
            true => corten_zone::is_in(name, self.name.wire()) && name != self.name.wire(),
            false => name == self.name.wire(),
        }
    }
}

impl What {
    /// Whether a change of records of a type may be done, and whether it is one of a challenge.
    fn permits(&self, owner: &[u8], rtype: RecordType) -> Option<bool> {
        let types = self.types_at(owner)?;
        let typed = types.is_empty() || types.contains(&rtype);
        typed.then_some(matches!(self, Self::Challenges(_)))
    }

    /// The types that may be changed at a name, empty for all; nothing where it is none of its names.
    fn types_at(&self, owner: &[u8]) -> Option<&[RecordType]> {
        match self {
            Self::Names { names, types } => {
                let mut names = names.iter();
                let named = names.any(|name| corten_zone::is_in(owner, name.wire()));
                named.then_some(types)
            }
            Self::Challenges(wanted) => {
                let name = owner.strip_prefix(CHALLENGE)?;
                let wanted = wanted.iter().any(|wanted| wanted.is(name));
                wanted.then_some(&[RecordType::TXT])
            }
        }
    }
}

impl Policy {
    pub(crate) fn new(grants: Vec<Grant>, limits: Limits) -> Self {
        Self {
            grants,
            limits,
            left: Mutex::default(),
        }
    }

    /// What may be done of an update; all or nothing.
    pub(crate) fn permit(
        &self,
        key: &Name,
        changes: Vec<Change>,
        now: u64,
    ) -> Result<Permitted, Denied> {
        self.count(key, Instant::now())?;
        let mut permitted = Permitted {
            limits: self.limits.clone(),
            changes: Vec::with_capacity(changes.len()),
            challenges: Vec::new(),
            deleted: Vec::new(),
            now,
        };
        let own: Vec<_> = self
            .grants
            .iter()
            .filter(|grant| grant.key == *key)
            .collect();
        for change in changes {
            let denied = || Denied::Change(shown(&change));
            let Some(rtype) = change.rtype() else {
                let types = own
                    .iter()
                    .filter_map(|own| own.what.types_at(change.owner()));
                permitted
                    .delete_name(change.owner(), types)
                    .ok_or_else(denied)?;
                continue;
            };
            // Who signs the zone, or digests it, makes these.
            let of_signer = matches!(
                rtype,
                RecordType::RRSIG
                    | RecordType::NSEC
                    | RecordType::NSEC3
                    | RecordType::NSEC3PARAM
                    | RecordType::ZONEMD
            );
            let kind = own
                .iter()
                .find_map(|own| own.what.permits(change.owner(), rtype));
            match kind.filter(|_| !of_signer) {
                Some(false) => permitted.changes.push(change),
                Some(true) => permitted.challenge(change)?,
                None => return Err(denied()),
            }
        }
        Ok(permitted)
    }

    /// Counts an update of a key.
    fn count(&self, key: &Name, now: Instant) -> Result<(), Denied> {
        let rate = self.limits.rate;
        if rate == 0 {
            return Ok(());
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // As many keys as the configuration has.
        let most = f64::from(rate);
        let left = left.entry(key.wire().into()).or_insert(Left {
            updates: most,
            since: now,
        });
        let seconds = now.saturating_duration_since(left.since).as_secs_f64();
        left.updates = (left.updates + seconds * most / 60.0).min(most);
        left.since = now;
        if left.updates < 1.0 {
            return Err(Denied::Rate(rate));
        }
        left.updates -= 1.0;
        Ok(())
    }
}

impl Permitted {
    /// Takes a change of a challenge within its limits.
    fn challenge(&mut self, mut change: Change) -> Result<(), Denied> {
        match &mut change {
            Change::Add {
                owner, ttl, rdata, ..
            } => {
                *ttl = (*ttl).clamp(self.limits.ttl_min, self.limits.ttl_max);
                if rdata.len().saturating_sub(1) > self.limits.value_octets_max {
                    return Err(Denied::Length(rdata.len() - 1));
                }
                self.challenges.push(owner.clone());
            }
            Change::DeleteName(_) | Change::DeleteSet(..) | Change::DeleteRecord(..) => {}
        }
        self.changes.push(change);
        Ok(())
    }

    /// Takes everything of a name away, as DHCP servers and clients of ACME do when they are done: of a key
    /// that may change only some types those, and then there must be no others. Nothing where it may change
    /// none.
    fn delete_name<'t>(
        &mut self,
        owner: &[u8],
        granted: impl Iterator<Item = &'t [RecordType]>,
    ) -> Option<()> {
        let granted: Vec<_> = granted.collect();
        if granted.iter().any(|types| types.is_empty()) {
            self.changes.push(Change::DeleteName(owner.to_vec()));
            return Some(());
        }
        let types = granted.concat();
        let sets = types
            .iter()
            .map(|rtype| Change::DeleteSet(owner.to_vec(), *rtype));
        self.changes.extend(sets);
        let some = !types.is_empty();
        self.deleted.push((owner.to_vec(), types));
        some.then_some(())
    }
}

impl Judge for Permitted {
    fn allows(&self, work: &Work<'_>) -> Result<(), Refusal> {
        for owner in &self.challenges {
            let records = work.records(owner);
            let values = records.iter().filter(|entry| entry.0 == RecordType::TXT);
            if values.count() > self.limits.values_max {
                return Err(Refusal::Challenges);
            }
        }
        for (owner, types) in &self.deleted {
            let records = work.records(owner);
            // RFC 2136 section 3.4.2.3: those of the apex are not for deletion.
            let stays =
                |rtype| matches!(rtype, RecordType::SOA | RecordType::NS) && work.is_apex(owner);
            let mut others = records.iter().filter(|entry| !types.contains(&entry.0));
            if others.any(|entry| !stays(entry.0)) {
                return Err(Refusal::Others);
            }
        }
        Ok(())
    }

    fn expires(&self, record: &RecordBuf) -> u64 {
        let challenge = self.challenges.iter().any(|owner| **owner == *record.owner);
        match (challenge, self.limits.expire_seconds) {
            (true, seconds @ 1..) => self.now.saturating_add(seconds),
            _ => 0,
        }
    }
}

/// A change in a log line.
pub(crate) fn shown(change: &Change) -> String {
    let name = Name::from_wire(change.owner()).unwrap_or_default();
    match change {
        Change::Add { rtype, .. } => format!("add {name} {rtype}"),
        Change::DeleteName(_) => format!("delete {name}"),
        Change::DeleteSet(_, rtype) => format!("delete {name} {rtype}"),
        Change::DeleteRecord(_, rtype, _) => format!("delete one {name} {rtype}"),
    }
}
