//! Keys from the files that `dnssec-keygen` and `ldns-keygen` write: `K….key` and `K….private`. What
//! they say of times at which a key comes and goes is not looked at.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_wire::text::{self, TextError};
use corten_wire::{Class, Name, RecordType};

use crate::dnskey::Dnskey;
use crate::key::{KeyError, Numbers, SigningKey};

/// Octets of the longest key file that is read.
const FILE_OCTETS_MAX: u64 = 64 * 1024;
/// TTL of a key whose file has none, in seconds.
const TTL_DEFAULT: u32 = 3600;

/// Why two files are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyfileError {
    /// The public file is no record.
    #[error("the public key: {0}")]
    Text(#[from] TextError),
    /// The public file is another record than a DNSKEY one.
    #[error("no public key found")]
    NoDnskey,
    /// The public file's DNSKEY record is no key.
    #[error("the public key's RDATA is malformed")]
    MalformedDnskey,
    /// The private file is of a format that nobody knows.
    #[error("the private key: 'Private-key-format: v1.2' or 'v1.3' expected")]
    Format,
    /// A field of the private file is missing.
    #[error("the private key: field '{0}' is missing")]
    Missing(&'static str),
    /// A field of the private file cannot be read. Its value stays a secret.
    #[error("the private key: field '{0}' is malformed")]
    Malformed(&'static str),
    /// The private file is a key of another algorithm.
    #[error("the private key is of algorithm {private}, the public key of algorithm {public}")]
    OtherAlgorithm {
        /// Of the private file.
        private: u8,
        /// Of the public file.
        public: u8,
    },
    /// The halves make no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a key was not read from its files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("open {}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The files are no key.
    #[error("{}: {error}", stem.display())]
    Key {
        /// Name of the files without their last part.
        stem: PathBuf,
        /// Why not.
        error: KeyfileError,
    },
}

/// Reads a key from its two files; `.key` or `.private` behind the name is left out.
///
/// # Errors
/// With the file, and what is wrong.
pub fn load(name: &Path) -> Result<SigningKey, LoadError> {
    let text = name.to_string_lossy();
    let stem = text
        .strip_suffix(".key")
        .or_else(|| text.strip_suffix(".private"))
        .unwrap_or(&text);
    let read_text = |end: &str| {
        let file = PathBuf::from(format!("{stem}.{end}"));
        let mut octets = Vec::new();
        let read = File::open(&file).and_then(|opened| {
            opened.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
            let text = String::from_utf8(octets).map_err(io::Error::other)?;
            match text.len() as u64 > FILE_OCTETS_MAX {
                true => Err(io::Error::other("the file is too large for a key")),
                false => Ok(text),
            }
        });
        read.map_err(|error| LoadError::File { file, error })
    };
    let (public, private) = (read_text("key")?, read_text("private")?);
    read(&public, &private).map_err(|error| LoadError::Key {
        stem: PathBuf::from(stem),
        error,
    })
}

/// Reads a key from the texts of its two files.
///
/// # Errors
/// With what is wrong; never with a part of the private key.
pub fn read(public: &str, private: &str) -> Result<SigningKey, KeyfileError> {
    let record = text::record(public, &Name::root(), Some(TTL_DEFAULT))?;
    let owner = Name::from_wire(&record.owner).map_err(|_| KeyfileError::NoDnskey)?;
    if record.rtype != RecordType::DNSKEY || record.class != Class::IN {
        return Err(KeyfileError::NoDnskey);
    }
    let dnskey = Dnskey::from_rdata(&record.rdata).ok_or(KeyfileError::MalformedDnskey)?;
    let numbers = numbers(private, &dnskey)?;
    Ok(SigningKey::new(owner, record.ttl, dnskey, &numbers)?)
}

fn numbers(private: &str, public: &Dnskey) -> Result<Numbers, KeyfileError> {
    let field = |name: &'static str| {
        let value = private.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        });
        value.ok_or(KeyfileError::Missing(name))
    };
    let octets = |name: &'static str| {
        let text = field(name)?;
        STANDARD
            .decode(text)
            .map_err(|_| KeyfileError::Malformed(name))
    };
    let format = field("Private-key-format").map_err(|_| KeyfileError::Format)?;
    if !format.starts_with("v1.") {
        return Err(KeyfileError::Format);
    }
    let algorithm = field("Algorithm")?;
    let digits = algorithm.split_ascii_whitespace().next().unwrap_or("");
    let algorithm: u8 = digits
        .parse()
        .map_err(|_| KeyfileError::Malformed("Algorithm"))?;
    if algorithm != public.algorithm() {
        return Err(KeyfileError::OtherAlgorithm {
            private: algorithm,
            public: public.algorithm(),
        });
    }
    match algorithm {
        5 | 7 | 8 | 10 => Ok(Numbers::Rsa(Box::new([
            octets("Modulus")?,
            octets("PublicExponent")?,
            octets("PrivateExponent")?,
            octets("Prime1")?,
            octets("Prime2")?,
            octets("Exponent1")?,
            octets("Exponent2")?,
            octets("Coefficient")?,
        ]))),
        _ => Ok(Numbers::One(octets("PrivateKey")?)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::algorithm::Algorithm;
    use crate::rrsig;

    pub(crate) const P256: (&str, &str) = (
        "; a comment\nisle.example. IN DNSKEY 257 3 13 5FH4KREs5OvsiSGg9g8H9ylkcb3CYSCRAVn1XKgPfLS5mC6ZEFZt7NT8 m3MogOvZ0saJy/j2l4+QloStht+TSg==\n",
        "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: pUgsTAV2c6i8w8uT6/LfnAzpCfFTcDBvyMe/82/GPOA=\nCreated: 20250101000000\n",
    );
    const P384: (&str, &str) = (
        "fjord.test.\tIN\tDNSKEY\t257 3 14 y2cwEB+wma8JVWPvwv6mLeze92ZpvfLxBivpkiIeIfjQ8s4ci4VTwKQZKZNRbx4fu0slHg68X2pBO4VvbLtXDyvi98dSnP9VXxsMQZFDuIB00guyPhFf+RyntRB+TCyX ;{id = 24223 (ksk), size = 384b}\n",
        "Private-key-format: v1.2\nAlgorithm: 14 (ECDSAP384SHA384)\nPrivateKey: naBz3D4HihRUfe/ch9LPDxBVYYHvqfIFfBBcbHeISDzDLzrAMjkud1HnXCZv4dwM\n",
    );
    /// RFC 8080 section 6.1.
    const ED25519: (&str, &str) = (
        "example.com. 600 IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=\n",
        "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\nPrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\n",
    );

    #[test]
    fn keys_are_read_and_sign() {
        for ((public, private), algorithm, tag, ttl) in [
            (P256, Algorithm::EcdsaP256Sha256, 33831, 3600),
            (P384, Algorithm::EcdsaP384Sha384, 24223, 3600),
            (ED25519, Algorithm::Ed25519, 3613, 600),
        ] {
            let key = read(public, private).unwrap();
            assert_eq!(
                (key.algorithm(), key.public().tag(), key.ttl()),
                (algorithm, tag, ttl)
            );
            let mut signature = Vec::new();
            key.sign(b"data", &mut signature).unwrap();
            assert!(rrsig::check(key.public(), b"data", &signature));
            assert!(!rrsig::check(key.public(), b"date", &signature));
            let shown = format!("{key:?}");
            assert!(!shown.contains("secret") && shown.contains(&tag.to_string()));
        }
    }

    /// The signature of RFC 8080 section 6.1: EdDSA signatures are always the same.
    #[test]
    fn ed25519_signs_as_in_the_rfc() {
        let key = read(ED25519.0, ED25519.1).unwrap();
        let mut data = vec![0, 15, 15, 2, 0, 0, 0x0e, 0x10];
        data.extend(1_440_021_600u32.to_be_bytes());
        data.extend(1_438_207_200u32.to_be_bytes());
        data.extend(3613u16.to_be_bytes());
        data.extend(b"\x07example\x03com\0");
        data.extend(
            b"\x07example\x03com\0\0\x0f\0\x01\0\0\x0e\x10\0\x14\0\x0a\x04mail\x07example\x03com\0",
        );
        let mut signature = Vec::new();
        key.sign(&data, &mut signature).unwrap();
        assert_eq!(
            STANDARD.encode(signature),
            "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg=="
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (public, private) = P256;
        for (public, private, error) in [
            ("", private, "no record"),
            (
                "isle.example. IN A 192.0.2.1",
                private,
                "no public key found",
            ),
            (public, "", "Private-key-format"),
            (public, "Private-key-format: v2.0\n", "Private-key-format"),
            (
                public,
                "Private-key-format: v1.3\nAlgorithm: 13\n",
                "field 'PrivateKey' is missing",
            ),
            (
                public,
                "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: %\n",
                "field 'PrivateKey' is malformed",
            ),
            (
                public,
                P384.1,
                "of algorithm 14, the public key of algorithm 13",
            ),
            (
                public,
                "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: h4UJ1yiXX6pSpqwOg62HzhCCm918a4uOnTAkeznKYFQ=\n",
                "does not belong to",
            ),
            (
                "a. DNSKEY 257 3 7 AwEAAQ==",
                "Private-key-format: v1.3\nAlgorithm: 7\nModulus: AA==\nPublicExponent: AA==\nPrivateExponent: AA==\nPrime1: AA==\nPrime2: AA==\nExponent1: AA==\nExponent2: AA==\nCoefficient: AA==\n",
                "algorithm 7 cannot be signed with",
            ),
        ] {
            let refused = read(public, private).unwrap_err().to_string();
            assert!(refused.contains(error), "{refused}");
            assert!(!refused.contains("h4UJ1y"), "{refused}");
        }
    }
}
