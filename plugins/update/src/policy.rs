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
    /// Names of challenges that are deleted as a whole.
    deleted: Vec<Vec<u8>>,
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
    /// Whether a change may be done, and whether it is one of a challenge.
    fn permits(&self, change: &Change) -> Option<bool> {
        let owner = change.owner();
        match self {
            Self::Names { names, types } => {
                let named = names
                    .iter()
                    .any(|name| corten_zone::is_in(owner, name.wire()));
                let typed =
                    types.is_empty() || change.rtype().is_some_and(|rtype| types.contains(&rtype));
                (named && typed).then_some(false)
            }
            Self::Challenges(wanted) => {
                let name = owner.strip_prefix(CHALLENGE)?;
                let txt = match change.rtype() {
                    Some(rtype) => rtype == RecordType::TXT,
                    // Everything of the name; it must be challenges.
                    None => true,
                };
                (txt && wanted.iter().any(|wanted| wanted.is(name))).then_some(true)
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
        for change in changes {
            // Who signs the zone makes these.
            let of_signer = matches!(
                change.rtype(),
                Some(
                    RecordType::RRSIG
                        | RecordType::NSEC
                        | RecordType::NSEC3
                        | RecordType::NSEC3PARAM
                )
            );
            let own = self.grants.iter().filter(|grant| grant.key == *key);
            let mut kinds = own.filter_map(|grant| grant.what.permits(&change));
            let kind = match change {
                // Who may delete all of it need not have challenges there.
                Change::DeleteName(_) => kinds.min(),
                _ => kinds.next(),
            };
            match kind.filter(|_| !of_signer) {
                Some(false) => permitted.changes.push(change),
                Some(true) => permitted.challenge(change)?,
                None => return Err(Denied::Change(shown(&change))),
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
            Change::DeleteName(owner) => {
                self.deleted.push(owner.clone());
                change = Change::DeleteSet(std::mem::take(owner), RecordType::TXT);
            }
            Change::DeleteSet(..) | Change::DeleteRecord(..) => {}
        }
        self.changes.push(change);
        Ok(())
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
        for owner in &self.deleted {
            let records = work.records(owner);
            if records.iter().any(|entry| entry.0 != RecordType::TXT) {
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
