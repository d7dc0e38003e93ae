//! The keys of a directive, and which of them sign what.
use corten_dnssec::canonical::Rrset;
use corten_dnssec::dnskey::KeyRole;
use corten_dnssec::key::{SignError, SigningKey};
use corten_dnssec::rrsig::{self, Terms};
use corten_plugin::wire::RecordType;

/// Keys, none twice.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    keys: Vec<SigningKey>,
    /// There are key signing and zone signing keys: each kind does its own work.
    split: bool,
}

impl Keyring {
    /// Takes a key; returns false if it is there already.
    pub(crate) fn add(&mut self, key: SigningKey) -> bool {
        if self.keys.iter().any(|known| known.public() == key.public()) {
            return false;
        }
        self.keys.push(key);
        let has = |role| self.keys.iter().any(|key| key.public().role() == role);
        self.split = has(KeyRole::KeySigning) && has(KeyRole::ZoneSigning);
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// RDATA of the DNSKEY records.
    pub(crate) fn rdatas(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| key.public().rdata())
    }

    /// TTL of the DNSKEY records in seconds: an RRset has one.
    pub(crate) fn ttl(&self) -> u32 {
        self.keys.iter().map(SigningKey::ttl).min().unwrap_or(0)
    }

    /// RDATA of the RRSIG records over an RRset.
    pub(crate) fn sign(&self, rrset: &Rrset, terms: &Terms<'_>) -> Result<Vec<Vec<u8>>, SignError> {
        let wanted = match rrset.rtype() {
            RecordType::DNSKEY => KeyRole::KeySigning,
            _ => KeyRole::ZoneSigning,
        };
        self.keys
            .iter()
            .filter(|key| !self.split || key.public().role() == wanted)
            .map(|key| rrsig::sign(key, rrset, terms))
            .collect()
    }

    /// Whether other keys would sign the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self
                .keys
                .iter()
                .zip(&other.keys)
                .all(|(one, other)| one.public() == other.public())
    }
}
