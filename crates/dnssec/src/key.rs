//! A key that can sign.
use std::fmt;

use corten_wire::Name;
use ring::rand::SystemRandom;
use ring::rsa::{self, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding,
};

use crate::algorithm::Algorithm;
use crate::dnskey::Dnskey;

/// Both halves of a zone's key.
pub struct SigningKey {
    owner: Name,
    ttl: u32,
    public: Dnskey,
    algorithm: Algorithm,
    secret: Secret,
}

enum Secret {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<rsa::KeyPair>, &'static dyn RsaEncoding),
}

/// The numbers of a private key, as they are written down.
pub(crate) enum Numbers {
    /// Of ECDSA and EdDSA.
    One(Vec<u8>),
    /// Of RSA: modulus, public and private exponent, two primes, two exponents, coefficient.
    Rsa(Box<[Vec<u8>; 8]>),
}

/// Why two halves make no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An algorithm that the server does not sign with.
    #[error(
        "algorithm {0} cannot be signed with; use 8 (RSASHA256), 10 (RSASHA512), 13 (ECDSAP256SHA256), \
         14 (ECDSAP384SHA384) or 15 (ED25519)"
    )]
    Algorithm(u8),
    /// The private half does not belong to the public one, or is none.
    #[error("the private key is malformed or does not belong to the public key")]
    Mismatch,
    /// RSA with a modulus outside of what is safe and quick.
    #[error("an RSA key must have 2048 to 4096 bits")]
    RsaSize,
}

/// The signature could not be made: the system has no randomness, or is out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be made")]
pub struct SignError;

impl SigningKey {
    /// A key from its halves.
    pub(crate) fn new(
        owner: Name,
        ttl: u32,
        public: Dnskey,
        numbers: &Numbers,
    ) -> Result<Self, KeyError> {
        let number = public.algorithm();
        let algorithm = Algorithm::of(number).ok_or(KeyError::Algorithm(number))?;
        let secret = match (algorithm, numbers) {
            (Algorithm::EcdsaP256Sha256, Numbers::One(private)) => {
                ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, 32, private, &public)?
            }
            (Algorithm::EcdsaP384Sha384, Numbers::One(private)) => {
                ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, 48, private, &public)?
            }
            (Algorithm::Ed25519, Numbers::One(private)) => Secret::Ed25519(
                Ed25519KeyPair::from_seed_and_public_key(private, public.public_key())
                    .map_err(|_| KeyError::Mismatch)?,
            ),
            (Algorithm::RsaSha256, Numbers::Rsa(numbers)) => {
                rsa(&RSA_PKCS1_SHA256, numbers, &public)?
            }
            (Algorithm::RsaSha512, Numbers::Rsa(numbers)) => {
                rsa(&RSA_PKCS1_SHA512, numbers, &public)?
            }
            _ => return Err(KeyError::Mismatch),
        };
        Ok(Self {
            owner,
            ttl,
            public,
            algorithm,
            secret,
        })
    }

    /// Name of the zone that the key was made for.
    pub fn owner(&self) -> &Name {
        &self.owner
    }

    /// TTL of the key's record in its file, in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The public half.
    pub fn public(&self) -> &Dnskey {
        &self.public
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Appends the signature over `data`, in the form of RRSIG records.
    ///
    /// # Errors
    /// When the system has no randomness; never for what `data` is.
    pub fn sign(&self, data: &[u8], out: &mut Vec<u8>) -> Result<(), SignError> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Ecdsa(pair) => {
                let signature = pair.sign(&random, data).map_err(|_| SignError)?;
                out.extend_from_slice(signature.as_ref());
            }
            Secret::Ed25519(pair) => out.extend_from_slice(pair.sign(data).as_ref()),
            Secret::Rsa(pair, padding) => {
                let start = out.len();
                out.resize(start + pair.public().modulus_len(), 0);
                let signed = pair.sign(*padding, &random, data, &mut out[start..]);
                if signed.is_err() {
                    out.truncate(start);
                    return Err(SignError);
                }
            }
        }
        Ok(())
    }
}

fn ecdsa(
    algorithm: &'static ring::signature::EcdsaSigningAlgorithm,
    octets: usize,
    private: &[u8],
    public: &Dnskey,
) -> Result<Secret, KeyError> {
    // Some tools leave leading zeros out.
    let short = octets
        .checked_sub(private.len())
        .ok_or(KeyError::Mismatch)?;
    let mut padded = vec![0; short];
    padded.extend_from_slice(private);
    // RFC 6605 section 4 leaves out the octet that says how a point is written.
    let mut point = vec![4];
    point.extend_from_slice(public.public_key());
    let pair = EcdsaKeyPair::from_private_key_and_public_key(
        algorithm,
        &padded,
        &point,
        &SystemRandom::new(),
    );
    Ok(Secret::Ecdsa(pair.map_err(|_| KeyError::Mismatch)?))
}

fn rsa(
    padding: &'static dyn RsaEncoding,
    numbers: &[Vec<u8>; 8],
    public: &Dnskey,
) -> Result<Secret, KeyError> {
    let [n, e, d, p, q, dp, dq, qinv] = numbers.each_ref().map(|number| {
        let zeros = number.iter().take_while(|octet| **octet == 0).count();
        &number[zeros..]
    });
    let (exponent, modulus) = rsa_public(public.public_key()).ok_or(KeyError::Mismatch)?;
    if (exponent, modulus) != (e, n) {
        return Err(KeyError::Mismatch);
    }
    if !(256..=512).contains(&n.len()) {
        return Err(KeyError::RsaSize);
    }
    let components = rsa::KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: dp,
        dQ: dq,
        qInv: qinv,
    };
    let pair = rsa::KeyPair::from_components(&components).map_err(|_| KeyError::Mismatch)?;
    Ok(Secret::Rsa(Box::new(pair), padding))
}

/// Exponent and modulus of an RSA key (RFC 3110 section 2).
pub(crate) fn rsa_public(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match key {
        [0, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [length, rest @ ..] => (usize::from(*length), rest),
        [] => return None,
    };
    rest.split_at_checked(length)
}

impl fmt::Debug for SigningKey {
    /// Never the private half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("owner", &self.owner)
            .field("tag", &self.public.tag())
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
