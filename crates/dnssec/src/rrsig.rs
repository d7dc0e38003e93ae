//! Signatures over RRsets (RFC 4034 section 3).
use corten_wire::{Class, Name, RecordType};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::algorithm::Algorithm;
use crate::canonical::Rrset;
use crate::dnskey::{Dnskey, REVOKE_FLAG, ZONE_FLAG};
use crate::key::{SignError, SigningKey, rsa_public};

/// Octets of RRSIG RDATA in front of the signer's name.
const FIXED_OCTETS: usize = 18;

/// Seconds since 1970 without their upper bits between which signatures are valid (RFC 4034 section
/// 3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first of them.
    pub inception: u32,
    /// The last.
    pub expiration: u32,
}

/// What a signature says beside its RRset.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The zone that signs.
    pub signer: &'a Name,
    /// Original TTL in seconds: the RRset's is never more.
    pub ttl: u32,
    /// When the signature is valid.
    pub validity: Validity,
}

/// RDATA of an RRSIG record, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rrsig<'a> {
    /// TYPE of the records that are signed.
    pub covered: RecordType,
    /// Number of the key's algorithm.
    pub algorithm: u8,
    /// Labels of the owner as it was signed; the root's and a leading `*` not counted.
    pub labels: u8,
    /// TTL of the records as they were signed, in seconds.
    pub ttl: u32,
    /// When it is valid.
    pub validity: Validity,
    /// Key tag of the key.
    pub tag: u16,
    /// Name of the zone that signed, in wire form.
    pub signer: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Why a signature does not count for a key and an RRset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The RDATA is no signature.
    #[error("the RRSIG record is malformed")]
    Malformed,
    /// It is over other records: another type, more labels, another zone's.
    #[error("the signature is over other records")]
    OtherRecords,
    /// It is another key's, or the key is no zone's.
    #[error("the signature is not this key's")]
    OtherKey,
    /// It is not valid now.
    #[error("the signature has expired or is not valid yet")]
    Time,
    /// The octets are wrong.
    #[error("the signature is wrong")]
    Wrong,
}

impl Validity {
    /// Whether signatures are valid at a moment in seconds since 1970 (serial number arithmetic,
    /// RFC 1982).
    pub fn contains(self, now: u32) -> bool {
        now.wrapping_sub(self.inception).cast_signed() >= 0
            && self.expiration.wrapping_sub(now).cast_signed() >= 0
    }
}

/// RDATA of the RRSIG record of a key over an RRset.
///
/// # Errors
/// When the key cannot sign now.
pub fn sign(key: &SigningKey, rrset: &Rrset, terms: &Terms<'_>) -> Result<Vec<u8>, SignError> {
    let mut rdata = Vec::with_capacity(128);
    rdata.extend_from_slice(&rrset.rtype().0.to_be_bytes());
    rdata.push(key.public().algorithm());
    rdata.push(labels(rrset.owner()));
    rdata.extend_from_slice(&terms.ttl.to_be_bytes());
    rdata.extend_from_slice(&terms.validity.expiration.to_be_bytes());
    rdata.extend_from_slice(&terms.validity.inception.to_be_bytes());
    rdata.extend_from_slice(&key.public().tag().to_be_bytes());
    rdata.extend_from_slice(terms.signer.wire());
    let mut data = rdata.clone();
    append_records(&mut data, rrset.owner().wire(), rrset, terms.ttl);
    key.sign(&data, &mut rdata)?;
    Ok(rdata)
}

/// Checks the signature of RRSIG RDATA over an RRset with a key, at a moment in seconds since 1970.
///
/// # Errors
/// Why it does not count.
pub fn verify(key: &Dnskey, rrset: &Rrset, rdata: &[u8], now: u32) -> Result<(), VerifyError> {
    let rrsig = Rrsig::read(rdata).ok_or(VerifyError::Malformed)?;
    let signer = Name::from_wire(rrsig.signer).map_err(|_| VerifyError::Malformed)?;
    let own = labels(rrset.owner());
    if rrsig.covered != rrset.rtype() || rrsig.labels > own || !rrset.owner().is_in(&signer) {
        return Err(VerifyError::OtherRecords);
    }
    if (rrsig.algorithm, rrsig.tag) != (key.algorithm(), key.tag())
        || key.flags() & (ZONE_FLAG | REVOKE_FLAG) != ZONE_FLAG
    {
        return Err(VerifyError::OtherKey);
    }
    if !rrsig.validity.contains(now) {
        return Err(VerifyError::Time);
    }
    let (fixed, _) = rdata
        .split_at_checked(FIXED_OCTETS)
        .ok_or(VerifyError::Malformed)?;
    let mut data = fixed.to_vec();
    data.extend_from_slice(signer.wire());
    // An answer from a wildcard is signed under the wildcard's name (RFC 4035 section 5.3.2).
    let mut owner = Vec::new();
    if rrsig.labels < own {
        owner.extend_from_slice(b"\x01*");
        owner.extend_from_slice(rrset.owner().suffix(usize::from(rrsig.labels)));
    } else {
        owner.extend_from_slice(rrset.owner().wire());
    }
    append_records(&mut data, &owner, rrset, rrsig.ttl);
    match check(key, &data, rrsig.signature) {
        true => Ok(()),
        false => Err(VerifyError::Wrong),
    }
}

/// Whether octets are a key's signature over data.
pub fn check(key: &Dnskey, data: &[u8], signature: &[u8]) -> bool {
    let public = key.public_key();
    let simple = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
        UnparsedPublicKey::new(algorithm, key).verify(data, signature)
    };
    let rsa = |parameters| match rsa_public(public) {
        Some((e, n)) => RsaPublicKeyComponents { n, e }.verify(parameters, data, signature),
        None => Err(ring::error::Unspecified),
    };
    let point = || {
        let mut point = vec![4];
        point.extend_from_slice(public);
        point
    };
    let checked = match Algorithm::of(key.algorithm()) {
        Some(Algorithm::RsaSha256) => rsa(&RSA_PKCS1_2048_8192_SHA256),
        Some(Algorithm::RsaSha512) => rsa(&RSA_PKCS1_2048_8192_SHA512),
        Some(Algorithm::EcdsaP256Sha256) => simple(&ECDSA_P256_SHA256_FIXED, &point()),
        Some(Algorithm::EcdsaP384Sha384) => simple(&ECDSA_P384_SHA384_FIXED, &point()),
        Some(Algorithm::Ed25519) => simple(&ED25519, public),
        None => Err(ring::error::Unspecified),
    };
    checked.is_ok()
}

/// Labels of a name as signatures count them: without the root's and a leading `*` (RFC 4034 section
/// 3.1.3).
pub fn labels(owner: &Name) -> u8 {
    let wildcard = owner.label(0) == Some(b"*");
    // A name has 127 labels at most.
    owner.label_count() as u8 - u8::from(wildcard)
}

/// RFC 4034 section 3.1.8.1: what stands behind the RDATA in what is signed.
fn append_records(data: &mut Vec<u8>, owner: &[u8], rrset: &Rrset, ttl: u32) {
    for rdata in rrset.rdatas() {
        // Comes from a message or a zone, where RDATA have a length of 16 bits.
        let length = rdata.len() as u16;
        data.extend_from_slice(owner);
        data.extend_from_slice(&rrset.rtype().0.to_be_bytes());
        data.extend_from_slice(&Class::IN.0.to_be_bytes());
        data.extend_from_slice(&ttl.to_be_bytes());
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(rdata);
    }
}

impl<'a> Rrsig<'a> {
    /// Reads RDATA; nothing if it is malformed.
    pub fn read(rdata: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = rdata.split_first_chunk::<FIXED_OCTETS>()?;
        let u16_at = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let mut end = 0;
        loop {
            let length = usize::from(*rest.get(end)?);
            end += 1 + length;
            match length {
                0 => break,
                1..=63 => (),
                _ => return None,
            }
        }
        let (signer, signature) = rest.split_at_checked(end)?;
        Some(Self {
            covered: RecordType(u16_at(0)),
            algorithm: fixed[2],
            labels: fixed[3],
            ttl: u32_at(4),
            validity: Validity {
                expiration: u32_at(8),
                inception: u32_at(12),
            },
            tag: u16_at(16),
            signer,
            signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile;

    const VALIDITY: Validity = Validity {
        inception: 1000,
        expiration: 2000,
    };

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn key() -> SigningKey {
        let (public, private) = keyfile::tests::P256;
        keyfile::read(public, private).unwrap()
    }

    fn addresses(owner: &str) -> Rrset {
        let rdatas: [&[u8]; 2] = [&[192, 0, 2, 2], &[192, 0, 2, 1]];
        Rrset::new(&name(owner), RecordType::A, rdatas)
    }

    fn signature(owner: &str) -> Vec<u8> {
        let signer = name("isle.example");
        let terms = Terms {
            signer: &signer,
            ttl: 3600,
            validity: VALIDITY,
        };
        sign(&key(), &addresses(owner), &terms).unwrap()
    }

    #[test]
    fn signatures_are_made_and_checked() {
        let rdata = signature("www.isle.example");
        let key = key();
        let read = Rrsig::read(&rdata).unwrap();
        assert_eq!(
            (
                read.covered,
                read.algorithm,
                read.labels,
                read.ttl,
                read.tag
            ),
            (RecordType::A, 13, 3, 3600, 33831)
        );
        assert_eq!(read.validity, VALIDITY);
        let set = addresses("WWW.Isle.example");
        assert_eq!(verify(key.public(), &set, &rdata, 1500), Ok(()));
        for now in [999, 2001] {
            assert_eq!(
                verify(key.public(), &set, &rdata, now),
                Err(VerifyError::Time)
            );
        }
        let other = addresses("ftp.isle.example");
        assert_eq!(
            verify(key.public(), &other, &rdata, 1500),
            Err(VerifyError::Wrong)
        );
        let other = addresses("www.other.example");
        assert_eq!(
            verify(key.public(), &other, &rdata, 1500),
            Err(VerifyError::OtherRecords)
        );
        let mut broken = rdata.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(
            verify(key.public(), &set, &broken, 1500),
            Err(VerifyError::Wrong)
        );
        for length in 0..FIXED_OCTETS + 10 {
            assert_eq!(
                verify(key.public(), &set, &rdata[..length], 1500),
                Err(VerifyError::Malformed)
            );
        }
    }

    #[test]
    fn a_wildcards_signature_counts_for_names_below() {
        let rdata = signature("*.isle.example");
        assert_eq!(Rrsig::read(&rdata).unwrap().labels, 2);
        let key = key();
        for owner in ["a.isle.example", "a.b.isle.example", "*.isle.example"] {
            let set = addresses(owner);
            assert_eq!(verify(key.public(), &set, &rdata, 1500), Ok(()), "{owner}");
        }
    }

    #[test]
    fn times_go_round() {
        let validity = Validity {
            inception: u32::MAX - 10,
            expiration: 10,
        };
        for (now, valid) in [
            (u32::MAX, true),
            (0, true),
            (10, true),
            (11, false),
            (u32::MAX - 11, false),
        ] {
            assert_eq!(validity.contains(now), valid, "{now}");
        }
    }
}
