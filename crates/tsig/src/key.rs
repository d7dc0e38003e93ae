//! Secrets with their names.
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_wire::{Name, NameError};
use zeroize::Zeroizing;

use crate::algorithm::{Algorithm, Code};

/// Octets of the longest secret: four blocks of the largest hash.
const SECRET_OCTETS_MAX: usize = 512;

/// Why there is no key of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKey {
    /// It is no name.
    #[error("key '{0}': {1}")]
    NoName(String, NameError),
    /// No keyring has it.
    #[error("key \"{0}\" is not known")]
    NotThere(Box<Name>),
}

impl UnknownKey {
    /// What would be right, if that is not clear.
    pub const fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoName(..) => None,
            Self::NotThere(_) => Some(
                "keys are those of the block's tsig directive: 'secret NAME KEY' or 'secrets FILE'",
            ),
        }
    }
}

/// What two servers know and nobody else. It is wiped from memory when it is dropped, and never
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

/// A secret with its name (RFC 8945 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name; letter case does not count.
    pub name: Name,
    /// The one algorithm that it is for; nothing for all of them, as CoreDNS has it.
    pub algorithm: Option<Algorithm>,
    secret: Secret,
}

/// Why a text is no secret. Never tells the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not in base64.
    #[error("the secret is not in base64")]
    Base64,
    /// Nothing, or more than [`SECRET_OCTETS_MAX`].
    #[error("the secret is empty or longer than {SECRET_OCTETS_MAX} octets")]
    Length,
}

/// Keys by name. A service: *tsig* offers those of its block to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring(HashMap<Box<[u8]>, Arc<Key>>);

impl Secret {
    /// Reads a secret in base64.
    ///
    /// # Errors
    /// Anything else, and a secret that is empty or very long.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let octets = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::Base64)?);
        match octets.len() {
            1..=SECRET_OCTETS_MAX => Ok(Self(Arc::new(octets))),
            _ => Err(KeyError::Length),
        }
    }
}

impl Key {
    /// A key of this name.
    pub fn new(name: Name, algorithm: Option<Algorithm>, secret: Secret) -> Self {
        Self {
            name,
            algorithm,
            secret,
        }
    }

    /// The algorithm that messages of our own are signed with.
    pub fn own_algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::Sha256)
    }

    /// The same for keys with the same secret, and for hardly any others. It is another in every process,
    /// and nothing of the secret can be learned from it.
    pub fn mark(&self) -> u64 {
        static SEED: OnceLock<RandomState> = OnceLock::new();
        SEED.get_or_init(RandomState::new)
            .hash_one(&self.secret.0[..])
    }

    pub(crate) fn start(&self, algorithm: Algorithm) -> Code {
        algorithm.start(&self.secret.0)
    }
}

impl Keyring {
    /// Adds a key; false, and nothing changed, when there is one of its name.
    pub fn add(&mut self, key: Key) -> bool {
        let name = Box::from(key.name.wire());
        if self.0.contains_key(&name) {
            return false;
        }
        self.0.insert(name, Arc::new(key));
        true
    }

    /// The key of this name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Key>> {
        self.0.get(name.wire())
    }

    /// The key of this name, in presentation form, in the first keyring that has it.
    ///
    /// # Errors
    /// It is no name, or no keyring has it.
    pub fn find<'k>(
        keyrings: impl IntoIterator<Item = &'k Arc<Self>>,
        name: &str,
    ) -> Result<Arc<Key>, UnknownKey> {
        let name: Name = name
            .parse()
            .map_err(|error| UnknownKey::NoName(name.to_owned(), error))?;
        let mut keyrings = keyrings.into_iter();
        let key = keyrings.find_map(|keys| keys.get(&name)).cloned();
        key.ok_or_else(|| UnknownKey::NotThere(Box::new(name)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
