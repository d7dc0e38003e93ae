//! Updates of a zone, done together: those that wait while a version is made are in the next one.
//!
//! Each sees what those before it did, and is done as a whole or not at all. All that are done are on disk
//! with one write before any is answered, and served with one version.
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use corten_plugin::wire::{Rcode, RecordType};
use corten_zone::{Delta, RecordBuf, Slot, Soa, Zone, ZoneError};

use crate::apply::Work;
use crate::journal::Entry;
use crate::message::Update;
use crate::overlay::with_serial;
use crate::store::{EXPIRING_MAX, State, next};

/// Updates that are done together, at most.
const TOGETHER_MAX: usize = 256;

/// Why an update was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A prerequisite does not hold, or the SOA is none.
    Rcode(Rcode),
    /// There would be too many challenges at a name, or altogether.
    Challenges,
    /// A key would delete a name that has records of types which it may not change.
    Others,
    /// The zone is signed by its file: nobody here could sign the change.
    Signed,
    /// There is no version of the zone.
    NoZone,
    /// Nothing would be left that is a zone.
    Zone(ZoneError),
    /// The journal cannot be written.
    Journal(io::Error),
}

/// Whether an update may be what it came to, and until when records live.
pub(crate) trait Judge: Send + Sync {
    /// Looks at what would be there.
    fn allows(&self, work: &Work<'_>) -> Result<(), Refusal>;

    /// When a record expires, in seconds since 1970; 0 for never.
    fn expires(&self, record: &RecordBuf) -> u64;
}

/// The serial of the version, if anything changed.
pub(crate) type Outcome = Result<Option<u32>, Refusal>;

/// An update, and what became of it.
pub(crate) struct Wish {
    update: Update,
    judge: Box<dyn Judge>,
    outcome: Mutex<Option<Outcome>>,
}

impl Wish {
    pub(crate) fn new(update: Update, judge: Box<dyn Judge>) -> Arc<Self> {
        Arc::new(Self {
            update,
            judge,
            outcome: Mutex::new(None),
        })
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// What became of it, once.
    pub(crate) fn take_outcome(&self) -> Option<Outcome> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }
}

/// Updates that wait. One of those who brought them does all that are there; the others wait for that,
/// and then one of those who came meanwhile goes on.
#[derive(Default)]
pub(crate) struct Waiting {
    queue: Mutex<Queue>,
    /// A turn is over.
    over: Condvar,
}

#[derive(Default)]
struct Queue {
    wishes: VecDeque<Arc<Wish>>,
    /// Somebody has a turn.
    busy: bool,
}

/// A turn; it is over whatever happens in it.
struct Turn<'w>(&'w Waiting);

impl Waiting {
    /// Has an update done, with others that wait: `work` does them. Blocks.
    pub(crate) fn run(&self, wish: &Arc<Wish>, work: impl Fn(&[Arc<Wish>])) -> Outcome {
        let mut queue = self.queue();
        queue.wishes.push_back(Arc::clone(wish));
        loop {
            if let Some(outcome) = wish.take_outcome() {
                return outcome;
            }
            if queue.busy {
                queue = self
                    .over
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let count = queue.wishes.len().min(TOGETHER_MAX);
            let wishes: Vec<_> = queue.wishes.drain(..count).collect();
            if wishes.is_empty() {
                // Whoever took it along did not come to an end.
                return Err(Refusal::Rcode(Rcode::SERVFAIL));
            }
            queue.busy = true;
            drop(queue);
            let turn = Turn(self);
            work(&wishes);
            drop(turn);
            queue = self.queue();
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.queue().wishes.len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue().busy = false;
        self.0.over.notify_all();
    }
}

/// What an update comes to.
struct Step<'w> {
    wish: &'w Wish,
    entry: Entry,
    /// It brought a SOA record of its own.
    has_soa: bool,
}

impl State {
    /// Does updates, each as a whole or not at all, and says of each what became of it; those that were
    /// done are on disk and served then.
    pub(crate) fn commit(&mut self, wishes: &[Arc<Wish>]) {
        let (Some(zone), Some(base), Some(slot)) =
            (self.served.clone(), self.base.clone(), self.slot.clone())
        else {
            return wishes
                .iter()
                .for_each(|wish| wish.end(Err(Refusal::NoZone)));
        };
        let signed = [RecordType::RRSIG, RecordType::NSEC, RecordType::NSEC3PARAM];
        let mut signed = signed.iter();
        if signed.any(|rtype| zone.rrset(zone.apex(), *rtype).is_some()) {
            return wishes
                .iter()
                .for_each(|wish| wish.end(Err(Refusal::Signed)));
        }
        let mut work = Work::new(&zone);
        let (steps, others) = self.steps(wishes, &mut work, base.soa().serial);
        if !steps.is_empty() {
            match self.serve(steps, work, &zone, &base, &slot) {
                Ok(()) => self.compact(zone.apex()),
                Err(error) => match wishes {
                    [wish] => return wish.end(Err(Refusal::Zone(error))),
                    // One of them is in the way of the others.
                    _ => return wishes.chunks(1).for_each(|wish| self.commit(wish)),
                },
            }
        }
        for (wish, outcome) in others {
            wish.end(outcome);
        }
    }

    /// Has each update change what those before it made of the zone, unless something is in its way; those
    /// that change nothing come with what becomes of them.
    fn steps<'w>(
        &self,
        wishes: &'w [Arc<Wish>],
        work: &mut Work<'_>,
        base: u32,
    ) -> (Vec<Step<'w>>, Vec<(&'w Wish, Outcome)>) {
        let known = self.overlay.added.values();
        let mut expiring = known.filter(|(_, expires)| *expires != 0).count();
        let (mut steps, mut others) = (Vec::with_capacity(wishes.len()), Vec::new());
        for wish in wishes {
            work.begin();
            match step(wish, work, &mut expiring, base) {
                Ok(Some(step)) => steps.push(step),
                Ok(None) => others.push((&**wish, Ok(None))),
                Err(refusal) => {
                    work.undo();
                    others.push((&**wish, Err(refusal)));
                }
            }
        }
        (steps, others)
    }

    /// Puts on disk and serves what updates made of a zone.
    fn serve(
        &mut self,
        mut steps: Vec<Step<'_>>,
        mut work: Work<'_>,
        zone: &Zone,
        base: &Zone,
        slot: &Slot,
    ) -> Result<(), ZoneError> {
        let before = zone.records().next().ok_or(ZoneError::NoSoa)?.to_owned();
        let after = match steps.iter().any(|step| step.has_soa) {
            true => work.soa().ok_or(ZoneError::NoSoa)?,
            // RFC 2136 section 3.6.
            false => with_serial(&before, next(zone.soa().serial)),
        };
        let soa = Soa::read(after.as_record()).ok_or(ZoneError::MalformedSoa)?;
        work.drop_digest();
        let (mut removed, mut added) = work.difference();
        for records in [&mut removed, &mut added] {
            records.retain(|record| record.rtype != RecordType::SOA);
        }
        let changed = Arc::new(zone.with(&work.into_names(&after))?);
        for step in &mut steps {
            step.entry.serial = soa.serial;
        }
        let entries: Vec<_> = steps.iter().map(|step| &step.entry).collect();
        if let Err(error) = self.journal.append(&entries) {
            for step in &steps {
                let error = io::Error::new(error.kind(), error.to_string());
                step.wish.end(Err(Refusal::Journal(error)));
            }
            return Ok(());
        }
        for entry in entries {
            self.overlay.apply(entry, Some(base));
        }
        self.serials = Some((base.soa().serial, soa.serial));
        self.served = Some(Arc::clone(&changed));
        let delta = Delta {
            before,
            after,
            removed,
            added,
        };
        slot.set_with(changed, delta);
        for step in &steps {
            step.wish.end(Ok(Some(soa.serial)));
        }
        Ok(())
    }
}

/// One update on top of others; nothing if it changes nothing.
fn step<'w>(
    wish: &'w Wish,
    work: &mut Work<'_>,
    expiring: &mut usize,
    base: u32,
) -> Result<Option<Step<'w>>, Refusal> {
    work.check(&wish.update).map_err(Refusal::Rcode)?;
    for change in &wish.update.changes {
        work.change(change);
    }
    wish.judge.allows(work)?;
    let (mut removed, added) = work.step();
    if removed.is_empty() && added.is_empty() {
        return Ok(None);
    }
    removed.retain(|record| record.rtype != RecordType::SOA);
    let added: Vec<_> = added
        .into_iter()
        .map(|record| {
            let expires = match record.rtype {
                RecordType::SOA => 0,
                _ => wish.judge.expires(&record),
            };
            (record, expires)
        })
        .collect();
    let own = added.iter().filter(|(_, expires)| *expires != 0).count();
    if own > 0 && *expiring + own > EXPIRING_MAX {
        return Err(Refusal::Challenges);
    }
    *expiring += own;
    let has_soa = added
        .iter()
        .any(|(record, _)| record.rtype == RecordType::SOA);
    let entry = Entry {
        base,
        removed,
        added,
        ..Entry::default()
    };
    Ok(Some(Step {
        wish,
        entry,
        has_soa,
    }))
}
