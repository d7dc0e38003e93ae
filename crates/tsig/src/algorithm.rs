//! How a message authentication code is made.
use std::fmt;
use std::str::FromStr;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};

/// A keyed hash (RFC 8945 section 6). MD5 is not here: RFC 8945 no longer wants it, and nobody needs
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `hmac-sha1`.
    Sha1,
    /// `hmac-sha224`.
    Sha224,
    /// `hmac-sha256`.
    Sha256,
    /// `hmac-sha384`.
    Sha384,
    /// `hmac-sha512`.
    Sha512,
}

/// A word that names no algorithm that is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// MD5 in one of its spellings.
    #[error("hmac-md5 is not secure and not served (RFC 8945 section 6); use hmac-sha256")]
    Md5,
    /// Anything else.
    #[error("unknown algorithm '{0}'")]
    Unknown(String),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha224 => "hmac-sha224",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    /// Its name in wire form.
    pub const fn wire(self) -> &'static [u8] {
        match self {
            Self::Sha1 => b"\x09hmac-sha1\0",
            Self::Sha224 => b"\x0bhmac-sha224\0",
            Self::Sha256 => b"\x0bhmac-sha256\0",
            Self::Sha384 => b"\x0bhmac-sha384\0",
            Self::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    /// The algorithm of this name in wire form, letter case ignored.
    pub fn from_wire(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.wire().eq_ignore_ascii_case(name))
    }

    /// Octets of a whole code.
    pub const fn octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Octets of the shortest code that may stand for a whole one: half of it, and ten at least
    /// (RFC 8945 section 5.2.2.1).
    pub const fn octets_min(self) -> usize {
        match self.octets() / 2 {
            half @ 10.. => half,
            _ => 10,
        }
    }

    /// Begins a code with this secret.
    pub(crate) fn start(self, secret: &[u8]) -> Code {
        match self {
            Self::Sha1 => Code::Sha1(begun(secret)),
            Self::Sha224 => Code::Sha224(begun(secret)),
            Self::Sha256 => Code::Sha256(begun(secret)),
            Self::Sha384 => Code::Sha384(begun(secret)),
            Self::Sha512 => Code::Sha512(begun(secret)),
        }
    }
}

fn begun<M: KeyInit>(secret: &[u8]) -> M {
    // RFC 2104 section 2: a key of any length.
    M::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes a key of any length"))
}

/// A code under way.
pub(crate) enum Code {
    Sha1(Hmac<sha1::Sha1>),
    Sha224(Hmac<sha2::Sha224>),
    Sha256(Hmac<sha2::Sha256>),
    Sha384(Hmac<sha2::Sha384>),
    Sha512(Hmac<sha2::Sha512>),
}

macro_rules! each {
    ($code:expr, $inner:ident => $do:expr) => {
        match $code {
            Code::Sha1($inner) => $do,
            Code::Sha224($inner) => $do,
            Code::Sha256($inner) => $do,
            Code::Sha384($inner) => $do,
            Code::Sha512($inner) => $do,
        }
    };
}

impl Code {
    pub(crate) fn add(&mut self, octets: &[u8]) {
        each!(self, inner => inner.update(octets));
    }

    pub(crate) fn finish(self) -> Mac {
        let mut mac = Mac::default();
        each!(self, inner => mac.set(&inner.finalize().into_bytes()));
        mac
    }

    /// Whether this is the code, or its first octets, in a time that does not depend on where they
    /// differ.
    pub(crate) fn is(self, mac: &[u8]) -> bool {
        each!(self, inner => inner.verify_truncated_left(mac).is_ok())
    }
}

/// A message authentication code.
#[derive(Clone, Copy)]
pub struct Mac {
    octets: [u8; 64],
    length: u8,
}

impl Default for Mac {
    fn default() -> Self {
        Self {
            octets: [0; 64],
            length: 0,
        }
    }
}

impl Mac {
    fn set(&mut self, octets: &[u8]) {
        if let Some(place) = self.octets.get_mut(..octets.len()) {
            place.copy_from_slice(octets);
            self.length = octets.len() as u8;
        }
    }

    /// One that was received; at most 64 octets of it.
    pub(crate) fn received(octets: &[u8]) -> Self {
        let mut mac = Self::default();
        mac.set(octets);
        mac
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({} octets)", self.length)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(text: &str) -> Result<Self, AlgorithmError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match name.as_str() {
            "hmac-md5" | "md5" | "hmac-md5.sig-alg.reg.int" => Err(AlgorithmError::Md5),
            _ => Self::ALL
                .into_iter()
                .find(|algorithm| algorithm.name() == name)
                .ok_or_else(|| AlgorithmError::Unknown(text.to_owned())),
        }
    }
}
