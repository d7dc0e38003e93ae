//! Answers to DNS-01 challenges that are pending (RFC 8555 section 8.4).
//!
//! Read on every query's path: while nothing is pending a look is one load of an atomic flag.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;

/// What stands in front of a name whose control is to be shown.
const PREFIX: &str = "_acme-challenge";

/// What is known about a queried name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not the name of a pending challenge.
    NotOurs,
    /// TXT values, all of which are to be served.
    Values(Arc<[String]>),
}

/// Names and TXT values of pending challenges.
#[derive(Default)]
pub struct Challenges {
    pending: AtomicBool,
    /// By name in wire form, lower-cased.
    values: ArcSwap<HashMap<Vec<u8>, Arc<[String]>>>,
    /// Held while `values` is exchanged.
    change: Mutex<()>,
    responder: Mutex<Option<Arc<dyn Responder>>>,
}

/// Sees to it that the CA reaches somebody who serves the challenges.
#[async_trait]
pub trait Responder: Send + Sync {
    /// Called before an order is placed: returns once queries can be answered, and what keeps it so
    /// until it is dropped. An error says what is in the way, and whom to stop.
    async fn open(&self) -> Result<Box<dyn Send + Sync>, String>;
}

/// A value that is served until this is dropped.
pub struct Pending {
    challenges: Arc<Challenges>,
    name: Vec<u8>,
    value: String,
}

impl Challenges {
    /// What to answer for a name in wire form, lower-cased.
    pub fn lookup(&self, name: &[u8]) -> Answer {
        if !self.pending.load(Acquire) {
            return Answer::NotOurs;
        }
        match self.values.load().get(name) {
            Some(values) => Answer::Values(Arc::clone(values)),
            None => Answer::NotOurs,
        }
    }

    /// Serves a value for the challenge name of `domain`, beside others of the same name.
    pub fn publish(self: &Arc<Self>, domain: &str, value: String) -> Pending {
        let domain = domain.strip_prefix("*.").unwrap_or(domain);
        self.publish_name(&format!("{PREFIX}.{domain}"), value)
    }

    /// Serves a value for a name, beside others of the same name.
    pub fn publish_name(self: &Arc<Self>, name: &str, value: String) -> Pending {
        let name = wire_name(name);
        let added = value.clone();
        self.change(|values| {
            let mut all = values
                .get(&name)
                .map_or_else(Vec::new, |values| values.to_vec());
            all.push(added);
            values.insert(name.clone(), all.into());
        });
        Pending {
            challenges: Arc::clone(self),
            name,
            value,
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

    fn change(&self, change: impl FnOnce(&mut HashMap<Vec<u8>, Arc<[String]>>)) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut values = HashMap::clone(&self.values.load());
        change(&mut values);
        let pending = !values.is_empty();
        self.values.store(Arc::new(values));
        self.pending.store(pending, Release);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.challenges.change(|values| {
            let Some(mut all) = values.remove(&self.name).map(|values| values.to_vec()) else {
                return;
            };
            if let Some(at) = all.iter().position(|value| *value == self.value) {
                all.remove(at);
            }
            if !all.is_empty() {
                values.insert(self.name.clone(), all.into());
            }
        });
    }
}

/// A name in wire form, lower-cased.
fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // Specifications have no label of more than 63 octets.
        wire.push(label.len() as u8);
        wire.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
    }
    wire.push(0);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_served_as_long_as_somebody_keeps_them() {
        let challenges = Arc::new(Challenges::default());
        let name = b"\x0f_acme-challenge\x07example\0";
        assert_eq!(challenges.lookup(name), Answer::NotOurs);
        let one = challenges.publish("Example", "one".into());
        let other = challenges.publish("*.example", "other".into());
        assert_eq!(
            challenges.lookup(name),
            Answer::Values(["one".into(), "other".into()].into())
        );
        assert_eq!(
            challenges.lookup(b"\x0f_acme-challenge\x05other\0"),
            Answer::NotOurs
        );
        assert_eq!(challenges.lookup(b"\x07example\0"), Answer::NotOurs);
        drop(one);
        assert_eq!(
            challenges.lookup(name),
            Answer::Values(["other".into()].into())
        );
        drop(other);
        assert_eq!(challenges.lookup(name), Answer::NotOurs);
        assert!(!challenges.pending.load(Acquire));
    }
}
