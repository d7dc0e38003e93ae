//! Algorithms of keys and of digests, by the numbers of IANA's registries.
use std::fmt;

/// An algorithm that the server can sign with and check.
///
/// | algorithm | number | RFC |
/// |---|---|---|
/// | RSASHA256 | 8 | 5702 |
/// | RSASHA512 | 10 | 5702 |
/// | ECDSAP256SHA256 | 13 | 6605 |
/// | ECDSAP384SHA384 | 14 | 6605 |
/// | ED25519 | 15 | 8080 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA with SHA-256.
    RsaSha256,
    /// RSA with SHA-512.
    RsaSha512,
    /// ECDSA with curve P-256 and SHA-256.
    EcdsaP256Sha256,
    /// ECDSA with curve P-384 and SHA-384.
    EcdsaP384Sha384,
    /// EdDSA with curve 25519.
    Ed25519,
}

impl Algorithm {
    /// The algorithm of a number; nothing for those that are not made any more (RFC 8624 section
    /// 3.1, RFC 9905) or that the server does not know.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            8 => Self::RsaSha256,
            10 => Self::RsaSha512,
            13 => Self::EcdsaP256Sha256,
            14 => Self::EcdsaP384Sha384,
            15 => Self::Ed25519,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::RsaSha256 => 8,
            Self::RsaSha512 => 10,
            Self::EcdsaP256Sha256 => 13,
            Self::EcdsaP384Sha384 => 14,
            Self::Ed25519 => 15,
        }
    }
}

impl fmt::Display for Algorithm {
    /// The mnemonic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaSha256 => "RSASHA256",
            Self::RsaSha512 => "RSASHA512",
            Self::EcdsaP256Sha256 => "ECDSAP256SHA256",
            Self::EcdsaP384Sha384 => "ECDSAP384SHA384",
            Self::Ed25519 => "ED25519",
        })
    }
}

/// How a DS record digests a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestType {
    /// SHA-1; not for new DS records (RFC 8624 section 3.3).
    Sha1,
    /// SHA-256 (RFC 4509).
    Sha256,
    /// SHA-384 (RFC 6605).
    Sha384,
}

impl DigestType {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Sha1 => 1,
            Self::Sha256 => 2,
            Self::Sha384 => 4,
        }
    }

    pub(crate) fn ring(self) -> &'static ring::digest::Algorithm {
        match self {
            Self::Sha1 => &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha384 => &ring::digest::SHA384,
        }
    }
}
