//! What updates have made of a zone: kept beside the file that the zone comes from, and put into every
//! version of it.
//!
//! The lock is held from the prerequisites to the exchange of the version: updates of a zone come one
//! after the other, all of each or nothing. Those that wait for it are done together.
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use corten_plugin::wire::{Name, text};
use corten_zone::{Delta, Keeper, RecordBuf, Slot, Zone, serial_newer};

use crate::apply::Work;
use crate::commit::{Judge, Refusal, Waiting, Wish};
use crate::journal::{Entry, Journal, replace};
use crate::message::{Change, Update};
use crate::overlay::Overlay;
use crate::owner::Owner;

/// A journal of more octets than this is replaced by what it comes to.
const COMPACT_OCTETS: u64 = 1 << 20;
/// Records of a zone that expire, at most: a key may write challenges at any number of names.
pub(crate) const EXPIRING_MAX: usize = 10_000;

/// A zone that takes updates.
pub(crate) struct Store {
    apex: Name,
    waiting: Waiting,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) journal: Journal,
    /// Octets of the journal when it was compacted last.
    compacted: u64,
    pub(crate) overlay: Overlay,
    /// Serials of the file's version and of the one that came of it.
    pub(crate) serials: Option<(u32, u32)>,
    /// Where the versions go, and whose it is.
    pub(crate) slot: Option<Arc<Slot>>,
    owner: Weak<Owner>,
    /// Every slot that came here, with the zone as its file has it: the one that is served has the
    /// updates in it.
    brought: Vec<(Weak<Slot>, Option<Arc<Zone>>)>,
    /// The zone as the slot's file has it.
    pub(crate) base: Option<Arc<Zone>>,
    pub(crate) served: Option<Arc<Zone>>,
    /// The version that was written back.
    written: Option<u32>,
}

/// Nobody's wish but the clock's.
struct Clock;

impl Judge for Clock {
    fn allows(&self, _: &Work<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn expires(&self, _: &RecordBuf) -> u64 {
        0
    }
}

/// The serial behind one (RFC 1982); 0 is left out, as some take it for none.
pub(crate) fn next(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

impl Store {
    /// Opens the journal of a zone.
    pub(crate) fn open(path: &Path, apex: &Name) -> io::Result<Self> {
        let opened = Journal::open(path, apex.wire())?;
        let (damaged, shown) = (opened.damaged, path.display());
        match opened.is_cut {
            _ if damaged == 0 => (),
            true => tracing::warn!(
                target: "plugin/update",
                "{shown}: the last {damaged} octets are no whole update and were never acknowledged; they are put aside in '*.damaged'"
            ),
            false => tracing::error!(
                target: "plugin/update",
                "{shown}: the last {damaged} octets have been changed by somebody else; the updates in them are lost, and put aside in '*.damaged'"
            ),
        }
        let mut overlay = Overlay::default();
        opened
            .entries
            .iter()
            .for_each(|entry| overlay.apply(entry, None));
        let last = opened.entries.last();
        Ok(Self {
            apex: apex.clone(),
            waiting: Waiting::default(),
            state: Mutex::new(State {
                compacted: 0,
                overlay,
                serials: last.map(|entry| (entry.base, entry.serial)),
                journal: opened.journal,
                slot: None,
                owner: Weak::new(),
                brought: Vec::new(),
                base: None,
                served: None,
                written: None,
            }),
        })
    }

    /// The zone that it is for.
    pub(crate) fn apex(&self) -> &Name {
        &self.apex
    }

    /// Has a part in the versions of a slot from now on. False, and nothing is changed, when the slot
    /// of another block is served, or of a newer generation.
    pub(crate) fn attach(self: &Arc<Self>, slot: &Arc<Slot>, owner: &Arc<Owner>) -> bool {
        let mut state = self.state();
        let may = state
            .owner
            .upgrade()
            .is_none_or(|known| owner.follows(&known));
        if state.is_served_from(slot) {
            if may {
                state.owner = Arc::downgrade(owner);
            }
            return true;
        }
        if !may {
            return false;
        }
        state.owner = Arc::downgrade(owner);
        (state.base, state.served) = (None, None);
        state.slot = Some(Arc::clone(slot));
        state.brought.retain(|(known, _)| known.strong_count() > 0);
        let known = state.brought_by(slot).map(Option::take);
        if known.is_none() {
            state.brought.push((Arc::downgrade(slot), None));
        }
        slot.keep_with(&(Arc::clone(self) as Arc<dyn Keeper>));
        // A slot that was served from before has updates in it already.
        if let Some(zone) = known.flatten().or_else(|| slot.zone()) {
            state.take(slot, zone, &self.apex);
        }
        true
    }

    /// Does an update, all of it or nothing; it is on disk and served when this returns. The serial,
    /// if anything changed. Those that come meanwhile are done together. Blocks.
    pub(crate) fn commit(
        &self,
        update: Update,
        judge: impl Judge + 'static,
    ) -> Result<Option<u32>, Refusal> {
        let wish = Wish::new(update, Box::new(judge));
        self.waiting
            .run(&wish, |wishes| self.state().commit(wishes))
    }

    /// The same for several that came at once.
    #[cfg(test)]
    pub(crate) fn commit_all(&self, updates: Vec<Update>) -> Vec<Result<Option<u32>, Refusal>> {
        let wishes: Vec<_> = updates
            .into_iter()
            .map(|update| Wish::new(update, Box::new(Clock)))
            .collect();
        self.state().commit(&wishes);
        wishes
            .iter()
            .filter_map(|wish| wish.take_outcome())
            .collect()
    }

    /// Takes away what has expired.
    pub(crate) fn expire(&self, now: u64) {
        let mut state = self.state();
        let gone = state.overlay.added.iter();
        let gone = gone.filter(|(_, (_, expires))| *expires != 0 && *expires <= now);
        let changes: Vec<_> = gone
            .map(|((owner, rtype, rdata), _)| {
                Change::DeleteRecord(owner.to_vec(), *rtype, rdata.to_vec())
            })
            .collect();
        if changes.is_empty() || state.served.is_none() {
            return;
        }
        let count = changes.len();
        let update = Update {
            changes,
            ..Update::default()
        };
        let wish = Wish::new(update, Box::new(Clock));
        state.commit(&[Arc::clone(&wish)]);
        match wish.take_outcome().unwrap_or(Ok(None)) {
            Ok(_) => tracing::info!(
                target: "plugin/update",
                "{count} records of zone \"{}\" have expired", self.apex
            ),
            Err(error) => tracing::error!(
                target: "plugin/update",
                "records of zone \"{}\" have expired and stay: {error:?}", self.apex
            ),
        }
    }

    /// Writes the zone down as it is served, if it is another version than was written last.
    pub(crate) fn write_back(&self, folder: &Path) {
        let mut state = self.state();
        let Some(zone) = state.served.clone() else {
            return;
        };
        let serial = zone.soa().serial;
        if state.overlay.is_empty() || state.written == Some(serial) {
            return;
        }
        let mut out = String::new();
        for record in zone.records() {
            text::write::write(
                record.owner,
                record.rtype,
                record.ttl,
                record.rdata,
                &mut out,
            );
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
        let path = folder.join(format!("db.{}", file_name(&self.apex)));
        match replace(&path, out.as_bytes()) {
            Ok(_) => state.written = Some(serial),
            Err(error) => {
                tracing::error!(target: "plugin/update", "{}: {error}", path.display());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The zone's name as part of a file's, another one for every zone: what is no letter, digit, dot,
/// hyphen or underscore becomes `%XX`.
fn file_name(apex: &Name) -> String {
    let text = apex.to_string();
    let name = text.strip_suffix('.').filter(|name| !name.is_empty());
    let mut file = String::new();
    for octet in name.unwrap_or(&text).bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => file.push(char::from(octet)),
            // The root is a dot, and `.journal` would be hidden.
            b'.' if name.is_some() => file.push('.'),
            _ => file.push_str(&format!("%{octet:02x}")),
        }
    }
    file
}

/// Where the journal of a zone lies.
pub(crate) fn journal_path(folder: &Path, apex: &Name) -> PathBuf {
    folder.join(format!("{}.journal", file_name(apex)))
}

impl State {
    fn is_served_from(&self, slot: &Slot) -> bool {
        let served = self.slot.as_ref();
        served.is_some_and(|served| std::ptr::eq(&raw const **served, slot))
    }

    /// The place of a slot's own version.
    fn brought_by(&mut self, slot: &Slot) -> Option<&mut Option<Arc<Zone>>> {
        let mut all = self.brought.iter_mut();
        all.find_map(|(known, zone)| std::ptr::eq(known.as_ptr(), slot).then_some(zone))
    }

    /// Replaces a long journal by what it comes to.
    pub(crate) fn compact(&mut self, apex: &[u8]) {
        let octets = self.journal.octets();
        if octets < COMPACT_OCTETS || octets < self.compacted * 4 {
            return;
        }
        if let Err(error) = self.rewrite(apex) {
            // It is whole as it is.
            tracing::error!(
                target: "plugin/update",
                "a journal of {octets} octets cannot be compacted: {error}"
            );
        }
    }

    /// Replaces the journal by what it comes to.
    fn rewrite(&mut self, apex: &[u8]) -> io::Result<()> {
        let Some(serials) = self.serials else {
            return Ok(());
        };
        let entry = self.overlay.entry(serials);
        self.journal.compact(apex, &entry)?;
        self.compacted = self.journal.octets();
        Ok(())
    }
}

impl Keeper for Store {
    fn take(&self, slot: &Slot, zone: Arc<Zone>) {
        let mut state = self.state();
        match state.is_served_from(slot) {
            true => state.take(slot, zone, &self.apex),
            // Of a generation that is on its way out.
            false => {
                if let Some(brought) = state.brought_by(slot) {
                    *brought = Some(Arc::clone(&zone));
                }
                slot.set_kept(zone);
            }
        }
    }

    fn brought(&self, slot: &Slot) -> Option<Arc<Zone>> {
        self.state().brought_by(slot)?.clone()
    }
}

impl State {
    /// The file has a new version: what updates changed is changed in it, too. Its serial is newer than
    /// any that was served.
    fn take(&mut self, slot: &Slot, zone: Arc<Zone>, apex: &Name) {
        if let Some(brought) = self.brought_by(slot) {
            *brought = Some(Arc::clone(&zone));
        }
        let own = zone.soa().serial;
        let (forgot, lost) = self.overlay.fit(&zone);
        for owner in lost {
            let owner = Name::from_wire(&owner).unwrap_or_default();
            tracing::warn!(
                target: "plugin/update",
                "zone \"{apex}\": the zone's file has other records at \"{owner}\" now, beside which a CNAME record \
                 cannot stand; what updates added there is gone"
            );
        }
        let unchanged = self.overlay.is_empty();
        let serial = match self.serials {
            None => own,
            Some((base, served)) if base == own || served == own => served,
            Some((_, served)) if serial_newer(own, served) => match unchanged {
                true => own,
                false => next(own),
            },
            Some((_, served)) => next(served),
        };
        let mut merged = self.overlay.over(&zone, serial);
        let mut serial = serial;
        if let (Ok(new), Some(before)) = (&merged, &self.served) {
            let same = Delta::between(before, new).is_empty();
            let known = before.soa().serial;
            if !same && serial == known {
                serial = next(known);
                merged = self.overlay.over(&zone, serial);
            }
        }
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                tracing::error!(
                    target: "plugin/update",
                    "zone \"{apex}\" cannot be updated as before, the version before is served on: {error}"
                );
                return;
            }
        };
        let serials = (own, serial);
        if forgot || self.serials.is_some_and(|known| known != serials) {
            self.serials = Some(serials);
            let entry = Entry {
                base: own,
                serial,
                ..Entry::default()
            };
            let noted = match forgot {
                // Otherwise what was forgotten would be back after a restart.
                true => self.rewrite(apex.wire()),
                false => self.journal.append(&[&entry]),
            };
            if let Err(error) = noted {
                tracing::error!(target: "plugin/update", "journal of zone \"{apex}\": {error}");
            }
        }
        self.base = Some(zone);
        self.served = Some(Arc::clone(&merged));
        slot.set_kept(merged);
    }
}
