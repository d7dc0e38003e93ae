//! Key and chain in one text, verified before use.
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::problem::told;

/// Octets of the longest chain that a CA may have us serve: every handshake sends all of it, and clients
/// stop reading at 64 KiB.
const CHAIN_OCTETS_MAX: usize = 32 * 1024;
/// How far clocks may differ.
const CLOCKS: Duration = Duration::from_secs(600);

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// notBefore.
    pub from: SystemTime,
    /// notAfter.
    pub until: SystemTime,
}

/// A key with its certificate chain, known to belong together.
#[derive(Clone)]
pub struct Bundle {
    pem: Arc<str>,
    certified: Arc<CertifiedKey>,
    validity: Validity,
    names: Vec<String>,
    issuer: String,
}

/// Why a text is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no key, or none that is understood.
    #[error("no usable private key")]
    Key,
    /// There is no certificate, or one that cannot be read.
    #[error("no readable certificate")]
    Certificate,
    /// Key and certificate are not a pair.
    #[error("key and certificate do not belong together")]
    Mismatch,
    /// A wanted name is not in the certificate.
    #[error("the certificate is not for '{0}'")]
    Name(String),
    /// The chain would make every handshake long.
    #[error("the chain has {0} octets; {CHAIN_OCTETS_MAX} is the most")]
    Chain(usize),
    /// It is good from some time in the future on.
    #[error("the certificate is not good yet; is the clock right?")]
    Early,
    /// It was good once.
    #[error("it is expired already; is the clock right?")]
    Expired,
}

impl Bundle {
    /// Reads PEM text, key and chain in any order.
    pub fn read(pem: &str) -> Result<Self, BundleError> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BundleError::Key)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| BundleError::Certificate)?;
        let leaf = chain.first().ok_or(BundleError::Certificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| BundleError::Certificate)?;
        let time = |seconds: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        let validity = Validity {
            from: time(parsed.validity().not_before.timestamp()),
            until: time(parsed.validity().not_after.timestamp()),
        };
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => {
                let name = |name: &GeneralName<'_>| match name {
                    GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                    _ => None,
                };
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(name)
                    .collect()
            }
            _ => Vec::new(),
        };
        let issuer = told(&parsed.issuer().to_string());
        let certified = certify(chain, key)?;
        Ok(Self {
            pem: pem.into(),
            certified: Arc::new(certified),
            validity,
            names,
            issuer,
        })
    }

    /// Fails unless the certificate is for every one of `names`.
    pub fn check_names(&self, names: &[String]) -> Result<(), BundleError> {
        match names.iter().find(|name| !self.names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(BundleError::Name(name.clone())),
        }
    }

    /// Fails unless a CA's new certificate may take the place of the one that is served.
    pub(crate) fn check_new(&self, now: SystemTime) -> Result<(), BundleError> {
        let octets = self.certified.cert.iter().map(|one| one.len()).sum();
        match self.validity {
            _ if octets > CHAIN_OCTETS_MAX => Err(BundleError::Chain(octets)),
            Validity { from, .. } if from > now + CLOCKS => Err(BundleError::Early),
            Validity { until, .. } if until <= now => Err(BundleError::Expired),
            _ => Ok(()),
        }
    }

    /// Whether the certificate is good for a server name.
    pub fn covers(&self, server_name: &str) -> bool {
        crate::spec::covers(&self.names, server_name)
    }

    /// The text it was read from.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For rustls.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// From when to when it is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// A number between 0 and 1 that is the same wherever this certificate is used, and another for
    /// each certificate: servers that share one agree on when it is due.
    pub fn chance(&self) -> f64 {
        let digest = Sha256::digest(&self.certified.cert[0]);
        let first = digest
            .iter()
            .take(4)
            .fold(0, |sum, octet| sum << 8 | u32::from(*octet));
        f64::from(first) / f64::from(u32::MAX)
    }

    /// The names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Who signed it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, BundleError> {
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| BundleError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| BundleError::Mismatch)?;
    Ok(certified)
}

impl fmt::Debug for Bundle {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("names", &self.names)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A self-signed pair as PEM: key, certificate.
    pub(crate) fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.signing_key.serialize_pem(), made.cert.pem())
    }

    #[test]
    fn only_what_belongs_together_is_a_bundle() {
        let (key, certificate) = pair(&["a.example", "b.example"]);
        let (other, _) = pair(&["a.example"]);
        let bundle = Bundle::read(&format!("{key}{certificate}")).unwrap();
        assert_eq!(bundle.check_names(&["b.example".into()]), Ok(()));
        assert_eq!(
            bundle.check_names(&["c.example".into()]),
            Err(BundleError::Name("c.example".into()))
        );
        assert!(!format!("{bundle:?}").contains("PRIVATE"));
        for (text, error) in [
            (certificate.clone(), BundleError::Key),
            (key.clone(), BundleError::Certificate),
            (format!("{other}{certificate}"), BundleError::Mismatch),
            (String::new(), BundleError::Key),
        ] {
            assert_eq!(Bundle::read(&text).unwrap_err(), error);
        }
    }

    #[test]
    fn a_truncated_bundle_is_none_at_any_length() {
        let (key, certificate) = pair(&["a.example"]);
        let text = format!("{key}{certificate}");
        for length in 0..text.trim_end().len() {
            assert!(Bundle::read(&text[..length]).is_err(), "{length}");
        }
    }
}
