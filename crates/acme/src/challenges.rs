//! Answers to DNS-01 challenges that are pending (RFC 8555 section 8.4), here or at another server
//! that shares the certificate.
//!
//! Read on every query's path: a name that is no challenge's costs a look at its first octets.
//!
//! | module | what it is |
//! |---|---|
//! | [`elsewhere`] | values that other servers serve: in the storage, and asked of peers |
//! | [`ends`] | names that aliases of challenges' names lead to |
//! | [`peers`] | the question to a peer |
//! | [`pending`] | a value that is served, and taken away |
mod elsewhere;
mod ends;
mod peers;
mod pending;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::RwLock;

use crate::spec::Spec;
use crate::storage::Storage;
use elsewhere::Elsewhere;
pub(crate) use elsewhere::SETTLE;
pub(crate) use ends::Published;
pub use peers::PEER_OPTION;
pub use pending::Pending;

/// What stands in front of a name whose control is to be shown, alone or behind a label of an
/// account's own.
const CHALLENGE: &[u8] = b"_acme-challenge";
/// The same for records that persist.
const PERSIST: &[u8] = b"_validation-persist";

/// Parts of the table of names.
const PLACES: usize = 64;

/// What is known about a queried name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not the name of a pending challenge.
    NotOurs,
    /// TXT values, all of which are to be served. None: there is no TXT record, but the name exists,
    /// because a pending challenge is below it.
    Values(Arc<[String]>),
    /// The same at a name that the alias of a challenge's name leads to: what it has of other types is
    /// its zone's.
    Beside(Arc<[String]>),
    /// Another server may know: [`Challenges::find`] asks.
    Elsewhere,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Anybody.
    Client,
    /// Another server of the same certificate, on behalf of a client: it is told what is known here.
    Peer,
}

/// Names and TXT values of pending challenges.
pub struct Challenges {
    any: AtomicBool,
    /// A bit for each length of a name that an alias leads to: any other name costs no more than that.
    ends: AtomicU64,
    /// By a name's hash: a change copies one of them, not thousands of names.
    places: [ArcSwap<Places>; PLACES],
    /// Held while one of `places` is exchanged.
    change: Mutex<Counts>,
    responder: Mutex<Option<Arc<dyn Responder>>>,
    /// Held, for reading, while a value is taken away from where other servers look.
    leaving: Arc<RwLock<()>>,
}

/// Sees to it that the CA reaches somebody who serves the challenges.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Called before an order is placed: returns once queries can be answered, and what keeps it so
    /// until it is dropped. An error says what is in the way, and whom to stop.
    async fn open(&self) -> Result<Box<dyn Send + Sync>, String>;
}

/// How a name comes to have values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is a challenge's.
    Challenge,
    /// An alias of a challenge's name leads to it.
    End,
}

/// How many names there are.
#[derive(Default)]
struct Counts {
    names: usize,
    /// Those that aliases lead to, by the bit of their length.
    ends: BTreeMap<u32, usize>,
}

/// The names of a certificate that this process looks after.
pub(crate) struct Managed {
    challenges: Arc<Challenges>,
    places: Vec<(Vec<u8>, Arc<Elsewhere>)>,
}

/// A TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its owner, in wire form, lower-cased.
    name: Vec<u8>,
    value: String,
}

#[derive(Clone, Default)]
struct Places {
    /// By the name that a certificate is for, in wire form; a wildcard's is that of its parent.
    bases: HashMap<Vec<u8>, Base>,
    /// By the name that an alias of a challenge's name leads to.
    ends: HashMap<Vec<u8>, Base>,
    /// Those names, and all above them but the root: they exist, because of so many.
    parents: HashMap<Vec<u8>, usize>,
}

#[derive(Clone, Default)]
struct Base {
    /// What this process serves.
    tokens: Vec<Token>,
    /// Where others' values are found; one for each certificate with the name.
    elsewhere: Vec<Arc<Elsewhere>>,
}

impl Default for Challenges {
    fn default() -> Self {
        Self {
            any: AtomicBool::new(false),
            ends: AtomicU64::new(0),
            places: std::array::from_fn(|_| ArcSwap::default()),
            change: Mutex::default(),
            responder: Mutex::default(),
            leaving: Arc::default(),
        }
    }
}

impl Challenges {
    /// What to answer for a name in wire form, lower-cased.
    pub fn lookup(&self, name: &[u8]) -> Answer {
        let mut answer = Answer::NotOurs;
        for (kind, key) in self.keys(name) {
            let places = self.place(key).load();
            let Some(base) = places.of(kind).get(key) else {
                continue;
            };
            if base.elsewhere.iter().any(|place| !place.is_fresh(name)) {
                return Answer::Elsewhere;
            }
            answer = answer.and(base.answer(kind, name));
        }
        answer
    }

    /// The same, with what other servers say; never [`Answer::Elsewhere`].
    pub async fn find(&self, name: &[u8], asker: Asker) -> Answer {
        let mut answer = Answer::NotOurs;
        for (kind, key) in self.keys(name) {
            let Some(base) = self.place(key).load().of(kind).get(key).cloned() else {
                continue;
            };
            for place in &base.elsewhere {
                place.look(name, asker).await;
            }
            answer = answer.and(base.answer(kind, name));
        }
        answer
    }

    /// Whether the process looks after a certificate whose challenges have this name, pending or
    /// not.
    pub fn is_managed(&self, name: &[u8]) -> bool {
        self.base(name)
            .is_some_and(|base| self.place(base).load().bases.contains_key(base))
    }

    /// Whether an alias of such a name leads to this one, whose TXT records are then ours.
    pub fn is_end(&self, name: &[u8]) -> bool {
        self.end(name)
            .is_some_and(|end| self.place(end).load().ends.contains_key(end))
    }

    /// Whether a name exists because a challenge's name is below it, whatever a zone's data say
    /// (RFC 8020).
    pub fn exists(&self, name: &[u8]) -> bool {
        self.any.load(Acquire) && self.place(name).load().parents.contains_key(name)
    }

    /// Whether there is anything that is not answered with [`Answer::NotOurs`].
    pub fn any(&self) -> bool {
        self.any.load(Acquire)
    }

    /// Serves a value at a challenge's name, beside others of the same name, by this process:
    /// [`Pending::share`] has others do it, too.
    pub fn publish_name(self: &Arc<Self>, name: &str, value: String) -> Pending {
        let name = wire(name);
        let base = base_of(&name).unwrap_or(&name).to_vec();
        self.serve(Kind::Challenge, base.clone(), base, Token { name, value })
    }

    fn serve(self: &Arc<Self>, kind: Kind, key: Vec<u8>, base: Vec<u8>, token: Token) -> Pending {
        self.change(kind, &key, |base| base.tokens.push(token.clone()));
        Pending {
            challenges: Arc::clone(self),
            kind,
            key,
            base,
            token,
        }
    }

    /// From now on challenges of the certificate's names are looked for wherever a server that
    /// shares it may have left them, until the result is dropped.
    pub(crate) fn manage(self: &Arc<Self>, spec: &Spec, storage: &Arc<dyn Storage>) -> Managed {
        let mut places: Vec<(Vec<u8>, Arc<Elsewhere>)> = Vec::new();
        for name in &spec.names {
            let domain = name.strip_prefix("*.").unwrap_or(name);
            let base = wire(domain);
            if places.iter().all(|(other, _)| *other != base) {
                let place = Elsewhere::new(Arc::clone(storage), domain, spec.peers());
                places.push((base, Arc::new(place)));
            }
        }
        for (base, place) in &places {
            let place = Arc::clone(place);
            self.change(Kind::Challenge, base, |base| base.elsewhere.push(place));
        }
        Managed {
            challenges: Arc::clone(self),
            places,
        }
    }

    /// Who opens a way to the challenges; the last one set counts.
    pub fn set_responder(&self, responder: Arc<dyn Responder>) {
        *self
            .responder
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(responder);
    }

    /// Who opens a way to the challenges.
    pub(crate) fn responder(&self) -> Option<Arc<dyn Responder>> {
        self.responder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The name that a challenge's name is about; nothing for other names, or while there is
    /// nothing at all.
    fn base<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        // Most names begin with a letter.
        (name.get(1) == Some(&b'_') && self.any.load(Acquire))
            .then(|| base_of(name))
            .flatten()
    }

    /// The name itself, if an alias may lead to it.
    fn end<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        (self.ends.load(Acquire) & 1 << length_bit(name) != 0).then_some(name)
    }

    /// Under which names there may be values for one.
    fn keys<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = (Kind, &'n [u8])> + use<'n> {
        let base = self.base(name).map(|base| (Kind::Challenge, base));
        let end = self.end(name).map(|end| (Kind::End, end));
        base.into_iter().chain(end)
    }

    /// Where a name is noted.
    fn place(&self, name: &[u8]) -> &ArcSwap<Places> {
        // FNV-1a.
        let hash = name.iter().fold(0x811c_9dc5_u32, |hash, octet| {
            (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193)
        });
        &self.places[hash as usize % PLACES]
    }

    /// Changes what there is of a name; nothing is left of one without values.
    fn change(&self, kind: Kind, name: &[u8], change: impl FnOnce(&mut Base)) {
        let mut counts = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let exchange = |name: &[u8], change: &mut dyn FnMut(&mut Places)| {
            let place = self.place(name);
            let mut places = Places::clone(&place.load());
            change(&mut places);
            place.store(Arc::new(places));
        };
        let (mut change, mut was, mut is) = (Some(change), false, false);
        exchange(name, &mut |places| {
            let bases = places.of_mut(kind);
            was = bases.contains_key(name);
            let base = bases.entry(name.to_vec()).or_default();
            if let Some(change) = change.take() {
                change(base);
            }
            is = !base.tokens.is_empty() || !base.elsewhere.is_empty();
            if !is {
                bases.remove(name);
            }
        });
        if was == is {
            return;
        }
        let step = |count: &mut usize| {
            *count = match is {
                true => *count + 1,
                false => count.saturating_sub(1),
            };
            *count
        };
        let mut above = name;
        while let Some((_, parent)) = split(above) {
            exchange(above, &mut |places| {
                let names = places.parents.entry(above.to_vec()).or_default();
                if step(names) == 0 {
                    places.parents.remove(above);
                }
            });
            above = parent;
        }
        self.any.store(step(&mut counts.names) > 0, Release);
        if kind == Kind::End {
            step(counts.ends.entry(length_bit(name)).or_default());
            let lengths = counts.ends.iter().filter(|(_, count)| **count > 0);
            let bits = lengths.fold(0, |bits, (bit, _)| bits | 1 << bit);
            self.ends.store(bits, Release);
        }
    }
}

impl Places {
    fn of(&self, kind: Kind) -> &HashMap<Vec<u8>, Base> {
        match kind {
            Kind::Challenge => &self.bases,
            Kind::End => &self.ends,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashMap<Vec<u8>, Base> {
        match kind {
            Kind::Challenge => &mut self.bases,
            Kind::End => &mut self.ends,
        }
    }
}

impl Answer {
    /// Both: a name may be a challenge's, and the end of another one's alias.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotOurs, answer) | (answer, Self::NotOurs) => answer,
            (Self::Values(own), Self::Beside(others)) => {
                let others = others.iter().filter(|value| !own.contains(value));
                Self::Values(own.iter().chain(others).cloned().collect())
            }
            (answer, _) => answer,
        }
    }
}

impl Base {
    /// All values of the name, wherever they are.
    fn answer(&self, kind: Kind, name: &[u8]) -> Answer {
        let memos: Vec<_> = self.elsewhere.iter().map(|place| place.memo()).collect();
        let others = memos.iter().flatten().flat_map(|memo| memo.tokens());
        let (mut values, mut exists) = (Vec::<String>::new(), false);
        for token in self.tokens.iter().chain(others) {
            if token.name == name {
                if !values.contains(&token.value) {
                    values.push(token.value.clone());
                }
            } else {
                exists |= is_below(&token.name, name);
            }
        }
        match kind {
            Kind::Challenge if !values.is_empty() || exists => Answer::Values(values.into()),
            Kind::End if !values.is_empty() => Answer::Beside(values.into()),
            _ => Answer::NotOurs,
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        for (base, place) in &self.places {
            self.challenges.take_up(place, BTreeMap::new());
            self.challenges.change(Kind::Challenge, base, |base| {
                base.elsewhere.retain(|other| !Arc::ptr_eq(other, place));
            });
        }
    }
}

/// What is behind the labels of a challenge; nothing for any other name.
fn base_of(name: &[u8]) -> Option<&[u8]> {
    let (first, rest) = split(name)?;
    if first == CHALLENGE || first == PERSIST {
        return Some(rest);
    }
    let (second, behind) = split(rest)?;
    (first.first() == Some(&b'_') && second == CHALLENGE).then_some(behind)
}

/// The bit of a name's length.
fn length_bit(name: &[u8]) -> u32 {
    name.len() as u32 % u64::BITS
}

/// The first label, and the name behind it; nothing for the root.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = name.split_first()?;
    (*length != 0)
        .then(|| rest.split_at_checked(usize::from(*length)))
        .flatten()
}

/// Whether a name is below another one.
fn is_below(mut name: &[u8], other: &[u8]) -> bool {
    while let Some((_, parent)) = split(name) {
        if parent == other {
            return true;
        }
        name = parent;
    }
    false
}

/// A name in wire form, lower-cased. Specifications have no label of more than 63 octets.
fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        wire.push(label.len() as u8);
        wire.extend(label.to_ascii_lowercase());
    }
    wire.push(0);
    wire
}

#[cfg(test)]
mod tests;
