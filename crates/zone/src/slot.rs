//! The place where the newest version of a zone stands.
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use corten_wire::RecordType;

use crate::node::Node;
use crate::order::{canonical, serial_newer};
use crate::record::{Record, RecordBuf};
use crate::zone::{Soa, Zone};

/// Changes that are kept for incremental transfers, at most.
const DELTAS_MAX: usize = 64;
/// Records of all changes that are kept, at most.
const DELTA_RECORDS_MAX: usize = 100_000;

/// A zone over time. Readers take the version that stands here and never wait; versions are
/// exchanged whole.
pub struct Slot {
    apex: Box<[u8]>,
    zone: ArcSwapOption<Zone>,
    /// Held while the zone is exchanged, and by whoever reads what changed.
    past: Mutex<Past>,
    keeper: Mutex<Option<Weak<dyn Keeper>>>,
}

#[derive(Default)]
struct Past {
    /// Oldest first; each begins where the one before it ends.
    deltas: VecDeque<Arc<Delta>>,
    listeners: Vec<Weak<dyn Listener>>,
}

/// What changed from one version of a zone to the next (RFC 1995 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// SOA record of the version before.
    pub before: RecordBuf,
    /// SOA record of the version behind.
    pub after: RecordBuf,
    /// Records that went, SOA records not included.
    pub removed: Vec<RecordBuf>,
    /// Records that came, SOA records not included.
    pub added: Vec<RecordBuf>,
}

/// What is known of a zone's past from a serial on.
#[derive(Clone, Debug)]
pub enum History {
    /// The serial is the zone's, or newer.
    Current,
    /// The changes from that serial to the zone, oldest first.
    Deltas(Vec<Arc<Delta>>),
    /// The serial is too old or was never the zone's: only the whole zone helps.
    Unknown,
}

/// Has a part in every version of a zone: what *update* keeps beside the file that the zone comes
/// from.
pub trait Keeper: Send + Sync {
    /// Takes a version from whoever the zone comes from, and puts in what comes of it with
    /// [`Slot::set_kept`]. Called on the thread that brought the version.
    fn take(&self, slot: &Slot, zone: Arc<Zone>);

    /// The version that a slot's zone came with last: what [`Keeper::take`] took. Nothing if none has
    /// come.
    fn brought(&self, slot: &Slot) -> Option<Arc<Zone>>;
}

/// Hears that a zone has a new version.
pub trait Listener: Send + Sync {
    /// Called after the exchange, on the thread that made it; must not wait.
    fn changed(&self, slot: &Slot);

    /// Zones of a catalogue have come or gone. As above.
    fn listed(&self) {}
}

/// Zones that a plugin serves. A service: *transfer* finds those of its block by it.
pub trait Catalogue: Send + Sync {
    /// Every zone that the plugin is responsible for, also those that have no version yet.
    fn slots(&self) -> Vec<Arc<Slot>>;

    /// Whether the zones are made here. Others are copies, which only their primary changes.
    fn is_primary(&self) -> bool {
        true
    }

    /// The apexes of all zones that there are to be, in wire form, lower-cased: also of those that nothing
    /// can be served of yet. Nothing while that is not known, as where a folder cannot be read: what is
    /// missing then is not gone.
    fn apexes(&self) -> Option<Vec<Box<[u8]>>> {
        Some(self.slots().iter().map(|slot| slot.apex().into()).collect())
    }

    /// The zone of this apex, in wire form, lower-cased.
    fn slot(&self, apex: &[u8]) -> Option<Arc<Slot>> {
        self.slots().into_iter().find(|slot| slot.apex() == apex)
    }

    /// Tells the listener of later versions of every zone. Where zones come and go while the plugin
    /// runs, of those that come later, too, and that they did.
    fn listen(&self, listener: &Arc<dyn Listener>) {
        for slot in self.slots() {
            slot.listen(listener);
        }
    }
}

impl Slot {
    /// A place for the zone of this name in wire form; no version stands there yet.
    pub fn new(apex: &[u8]) -> Self {
        Self {
            apex: apex.to_ascii_lowercase().into(),
            zone: ArcSwapOption::empty(),
            past: Mutex::default(),
            keeper: Mutex::default(),
        }
    }

    /// Has every later version of [`Slot::set`] go through the keeper, for as long as it lives.
    pub fn keep_with(&self, keeper: &Arc<dyn Keeper>) {
        let mut place = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::downgrade(keeper));
    }

    /// Who has a part in every version, if somebody has.
    pub fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        let place = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().and_then(Weak::upgrade)
    }

    /// The version that [`Slot::set`] was called with last, whatever a keeper made of it: what a file
    /// is compared with.
    pub fn brought(&self) -> Option<Arc<Zone>> {
        let kept = self.keeper().and_then(|keeper| keeper.brought(self));
        kept.or_else(|| self.zone())
    }

    /// Name of the zone's apex in wire form, lower-cased.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// The newest version, to keep; nothing before there is one, or after it was taken away.
    pub fn zone(&self) -> Option<Arc<Zone>> {
        self.zone.load_full()
    }

    /// The newest version, for a moment: cheaper, for queries.
    pub fn load(&self) -> arc_swap::Guard<Option<Arc<Zone>>> {
        self.zone.load()
    }

    /// Exchanges the version. What changed is kept for incremental transfers if the serial went up,
    /// else forgotten. Listeners are called where the serial changed or there was no version.
    pub fn set(&self, zone: Arc<Zone>) {
        match self.keeper() {
            Some(keeper) => keeper.take(self, zone),
            None => self.set_kept(zone),
        }
    }

    /// The same past the keeper: for the keeper.
    pub fn set_kept(&self, zone: Arc<Zone>) {
        let delta = |before: &Zone| Delta::bounded(before, &zone, DELTA_RECORDS_MAX);
        self.exchange(Arc::clone(&zone), delta);
    }

    /// The same where the caller knows what changed.
    pub fn set_with(&self, zone: Arc<Zone>, delta: Delta) {
        self.exchange(zone, |_| Some(delta));
    }

    /// Takes the zone away: it has expired.
    pub fn clear(&self) {
        let mut past = self.past();
        past.deltas.clear();
        self.zone.store(None);
    }

    /// What changed since a serial.
    pub fn since(&self, serial: u32) -> History {
        let past = self.past();
        let Some(zone) = self.zone.load_full() else {
            return History::Unknown;
        };
        let current = zone.soa().serial;
        if serial == current || serial_newer(serial, current) {
            return History::Current;
        }
        let from = past
            .deltas
            .iter()
            .position(|delta| delta.serials().is_some_and(|(before, _)| before == serial));
        match from {
            Some(from) => History::Deltas(past.deltas.range(from..).cloned().collect()),
            None => History::Unknown,
        }
    }

    /// Tells the listener of later versions for as long as it lives.
    pub fn listen(&self, listener: &Arc<dyn Listener>) {
        let mut past = self.past();
        past.listeners.retain(|known| known.strong_count() > 0);
        past.listeners.push(Arc::downgrade(listener));
    }

    fn exchange(&self, zone: Arc<Zone>, delta: impl FnOnce(&Zone) -> Option<Delta>) {
        // Versions of a large zone take their time to compare: not while somebody waits for the past.
        let before = self.zone.load_full();
        let newer = |before: &&Arc<Zone>| serial_newer(zone.soa().serial, before.soa().serial);
        let delta = before
            .as_ref()
            .filter(newer)
            .and_then(|before| delta(before));
        let listeners = {
            let mut past = self.past();
            let now = self.zone.load_full();
            let serials = now
                .as_ref()
                .map(|now| (now.soa().serial, zone.soa().serial));
            let changed = serials.is_none_or(|(before, after)| before != after);
            let same = now.as_ref().map(Arc::as_ptr) == before.as_ref().map(Arc::as_ptr);
            match delta.filter(|delta| same && delta.serials() == serials) {
                Some(delta) => past.keep(delta),
                // Whoever has the old version could not be told how it became the new one.
                None => past.deltas.clear(),
            }
            self.zone.store(Some(zone));
            match changed {
                true => past.listeners.iter().filter_map(Weak::upgrade).collect(),
                false => Vec::new(),
            }
        };
        for listener in listeners {
            listener.changed(self);
        }
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn keep(&mut self, delta: Delta) {
        self.deltas.push_back(Arc::new(delta));
        let mut records: usize = self.deltas.iter().map(|delta| delta.len()).sum();
        while self.deltas.len() > DELTAS_MAX || records > DELTA_RECORDS_MAX {
            let Some(oldest) = self.deltas.pop_front() else {
                return;
            };
            records -= oldest.len();
        }
    }
}

impl Zone {
    /// Whether both versions have the same records.
    pub fn has_same_records(&self, other: &Self) -> bool {
        let delta = Delta::bounded(self, other, 0);
        delta.is_some_and(|delta| delta.before == delta.after)
    }

    /// Whether every record of the other version is here as well, the SOA record aside: as where the
    /// other one was read from the beginning of a file.
    pub fn has_records_of(&self, other: &Self) -> bool {
        let (mut here, mut delta) = (self.nodes().peekable(), Delta::of(other, self));
        other.nodes().all(|node| {
            let is_before = |found: &Node<'_>| canonical(found.name(), node.name()).is_lt();
            while here.next_if(is_before).is_some() {}
            let same = here.peek().filter(|found| found.name() == node.name());
            delta.compare(Some(node), same.copied());
            delta.added.clear();
            delta.removed.is_empty()
        })
    }
}

impl Delta {
    /// What changed between two versions. A changed TTL removes the record and adds another.
    pub fn between(before: &Zone, after: &Zone) -> Self {
        Self::bounded(before, after, usize::MAX).unwrap_or_else(|| Self::of(before, after))
    }

    /// The same, unless more than `most` records changed.
    fn bounded(before: &Zone, after: &Zone, most: usize) -> Option<Self> {
        let mut delta = Self::of(before, after);
        let (mut old, mut new) = (before.nodes().peekable(), after.nodes().peekable());
        while delta.len() <= most {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Some(delta),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => canonical(one.name(), other.name()),
            };
            let one = old.next_if(|_| order.is_le());
            let other = new.next_if(|_| order.is_ge());
            delta.compare(one, other);
        }
        None
    }

    /// Nothing but the SOA records.
    fn of(before: &Zone, after: &Zone) -> Self {
        let soa = |zone: &Zone| RecordBuf {
            owner: zone.apex().into(),
            rtype: RecordType::SOA,
            ttl: zone.soa().ttl,
            rdata: zone
                .apex_node()
                .set(RecordType::SOA)
                .map_or_else(Box::default, |set| set.first().into()),
        };
        Self {
            before: soa(before),
            after: soa(after),
            removed: Vec::new(),
            added: Vec::new(),
        }
    }

    /// What changed at one name.
    fn compare(&mut self, before: Option<Node<'_>>, after: Option<Node<'_>>) {
        let octets = |node: Option<Node<'_>>| node.map(Node::set_octets).unwrap_or_default().len();
        let same = |(one, other): (Node<'_>, Node<'_>)| one.set_octets() == other.set_octets();
        if octets(before) + octets(after) == 0 || before.zip(after).is_some_and(same) {
            return;
        }
        let (old, new) = (sorted(before), sorted(after));
        let (mut one, mut other) = (old.iter().peekable(), new.iter().peekable());
        loop {
            match (one.peek(), other.peek()) {
                (None, None) => return,
                (Some(a), Some(b)) if a == b => (_, _) = (one.next(), other.next()),
                (Some(a), b) if b.is_none_or(|b| a < b) => {
                    self.removed
                        .extend(one.next().map(|record| record.to_owned()));
                }
                _ => self
                    .added
                    .extend(other.next().map(|record| record.to_owned())),
            }
        }
    }

    /// Serial before and behind.
    pub fn serials(&self) -> Option<(u32, u32)> {
        let serial = |record: &RecordBuf| Soa::read(record.as_record()).map(|soa| soa.serial);
        Some((serial(&self.before)?, serial(&self.after)?))
    }

    /// Records that went or came.
    pub fn len(&self) -> usize {
        self.removed.len() + self.added.len()
    }

    /// Whether only the SOA record is another.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Records of a name but for the SOA record, in an order that is the same in every zone.
fn sorted(node: Option<Node<'_>>) -> Vec<Record<'_>> {
    let records = node.into_iter().flat_map(Node::records);
    let mut records: Vec<_> = records
        .filter(|record| record.rtype != RecordType::SOA)
        .collect();
    records.sort_unstable();
    records
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("zone", &self.zone.load().as_ref().map(|zone| zone.soa()))
            .finish_non_exhaustive()
    }
}
