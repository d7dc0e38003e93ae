//! A local CA: root, intermediate, leaf, all kept beside the certificates.
//!
//! The root is good for ten years and written as `root.pem`, for clients to trust; the intermediate
//! for seven days, a leaf for one. A leaf never outlives its intermediate, and an intermediate with
//! less than a leaf's life left is replaced first.
//!
//! A year before the root expires its successor is made, `next-root.pem`, for clients to trust as
//! well; two months before, it takes over. An operator's own root takes the place of ours when its
//! files are there first; without its key there must be an intermediate with a key, which the
//! operator renews.
use std::io;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::bundle::Bundle;
use crate::spec::{self, Spec};
use crate::storage::{Lease, Storage};
use crate::store::{Store, short_hash};

/// Where it is kept.
pub(crate) const FOLDER: &str = "corten/internal";
/// What whoever works with it holds.
pub(crate) const LOCK: &str = "corten/internal/lock";
/// The root that clients are to trust.
pub(crate) const ROOT: &str = "corten/internal/root.pem";

const ROOT_DAYS: i64 = 3650;
const INTERMEDIATE_DAYS: i64 = 7;
const LEAF_HOURS: i64 = 24;
/// A root with less than this left has a successor, which clients learn to trust.
const SUCCESSOR_DAYS: i64 = 365;
/// A root with less than this left is replaced by its successor.
const TAKEOVER_DAYS: i64 = 60;
/// Clocks of clients may be slow by this much.
const BACKDATE: Duration = Duration::minutes(5);
/// A leaf ends before its intermediate by this much.
const MARGIN: Duration = Duration::minutes(1);

/// The roots of a local CA, as they are stored: the one in use, its successor, and the one before.
/// None where the specification does without it.
pub async fn roots(spec: &Spec) -> io::Result<Vec<String>> {
    let mut roots = Vec::new();
    if spec.issuer == spec::Issuer::Internal || spec.options.fallback_internal {
        let store = Store::new(spec);
        for which in ["root", "next-root", "old-root"] {
            let key = format!("{FOLDER}/{which}.pem");
            if let Some(octets) = store.storage().get(&key).await? {
                roots.push(String::from_utf8_lossy(&octets).into_owned());
            }
        }
    }
    Ok(roots)
}

/// Eight digits that tell a root from others.
pub fn root_hash(root: &str) -> String {
    short_hash(root)
}

/// Makes key and chain for these names as PEM text. The caller has the lease, which is the folder's.
pub(crate) async fn issue(
    storage: &dyn Storage,
    folder: &str,
    names: &[String],
    lease: &dyn Lease,
) -> Result<String, String> {
    let ca = Authorities {
        storage,
        folder,
        lease,
    };
    let root = ca.root(SystemTime::now()).await?;
    let intermediate = ca.intermediate(root.as_ref()).await?;
    let issuer = Issuer::from_ca_cert_pem(&intermediate.certificate, intermediate.key)
        .map_err(|error| format!("intermediate.pem: {error}"))?;
    let last = OffsetDateTime::from(intermediate.until) - MARGIN;
    let leaf = || {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names.to_vec())?;
        // Resolvers are often configured by address.
        parameters.subject_alt_names.extend(
            [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()].map(SanType::IpAddress),
        );
        parameters.distinguished_name = name(names.first().map_or("corten", String::as_str));
        let (from, until) = validity(Duration::hours(LEAF_HOURS));
        (parameters.not_before, parameters.not_after) = (from, until.min(last));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &issuer)?;
        Ok::<_, rcgen::Error>(format!("{}{}", key.serialize_pem(), certificate.pem()))
    };
    let leaf = leaf().map_err(|error| format!("local CA: {error}"))?;
    Ok(format!("{leaf}{}", intermediate.certificate))
}

/// A CA's certificate and key.
struct Authority {
    certificate: String,
    key: KeyPair,
    until: SystemTime,
}

/// What is stored under an authority's name.
enum Kept {
    Nothing,
    /// Its key is elsewhere.
    CertificateOnly,
    Pair(Box<Authority>),
    /// Not a usable pair.
    Damaged,
}

/// The local CA's files.
struct Authorities<'a> {
    storage: &'a dyn Storage,
    folder: &'a str,
    lease: &'a dyn Lease,
}

impl Authorities<'_> {
    fn certificate_key(&self, which: &str) -> String {
        format!("{}/{which}.pem", self.folder)
    }

    fn private_key(&self, which: &str) -> String {
        format!("{}/{which}-key.pem", self.folder)
    }

    async fn text(&self, key: &str) -> Result<Option<String>, String> {
        let octets = self.storage.get(key).await;
        let octets = octets.map_err(|error| error.to_string())?;
        Ok(octets.map(|octets| String::from_utf8_lossy(&octets).into_owned()))
    }

    async fn put(&self, key: &str, text: &str) -> Result<(), String> {
        let put = self.storage.put(key, text.as_bytes()).await;
        put.map_err(|error| error.to_string())
    }

    async fn read(&self, which: &str) -> Result<Kept, String> {
        let certificate = self.text(&self.certificate_key(which)).await?;
        let key = self.text(&self.private_key(which)).await?;
        let (certificate, key) = match (certificate, key) {
            (None, None) => return Ok(Kept::Nothing),
            (Some(_), None) => return Ok(Kept::CertificateOnly),
            (None, Some(_)) => return Ok(Kept::Damaged),
            (Some(certificate), Some(key)) => (certificate, key),
        };
        let bundle = Bundle::read(&format!("{key}{certificate}"));
        Ok(match (bundle, KeyPair::from_pem(&key)) {
            (Ok(bundle), Ok(key)) => Kept::Pair(Box::new(Authority {
                certificate,
                key,
                until: bundle.validity().until,
            })),
            _ => Kept::Damaged,
        })
    }

    async fn keep(&self, which: &str, authority: &Authority) -> Result<(), String> {
        // Whoever has slept must not take away the root that another server has made meanwhile.
        let check = self.lease.check().await;
        check.map_err(|error| error.to_string())?;
        let key = authority.key.serialize_pem();
        self.put(&self.private_key(which), &key).await?;
        let certificate = &authority.certificate;
        self.put(&self.certificate_key(which), certificate).await
    }

    /// The root; nothing if its key is elsewhere.
    async fn root(&self, now: SystemTime) -> Result<Option<Authority>, String> {
        let left = |days: i64| now + std::time::Duration::from_secs(days.unsigned_abs() * 86_400);
        let root = match self.read("root").await? {
            Kept::CertificateOnly => return Ok(None),
            Kept::Nothing => {
                let root = make("root", None)?;
                self.keep("root", &root).await?;
                return Ok(Some(root));
            }
            Kept::Pair(root) if root.until > left(SUCCESSOR_DAYS) => return Ok(Some(*root)),
            Kept::Pair(root) => Some(*root),
            Kept::Damaged => None,
        };
        let next = match (self.read("next-root").await?, &root) {
            (Kept::Pair(next), _) => *next,
            (_, Some(_)) => {
                let next = make("root", None)?;
                self.keep("next-root", &next).await?;
                let place = self.storage.place(&self.certificate_key("next-root"));
                tracing::warn!(target: "plugin/tls", "The root of the local CA expires within a year; have clients trust {place} as well, which takes its place");
                next
            }
            // A root that clients trust is not replaced because a file is damaged.
            (_, None) => return Err(self.unusable("root")),
        };
        match root {
            Some(root) if root.until > left(TAKEOVER_DAYS) => Ok(Some(root)),
            Some(root) => {
                let old = self.certificate_key("old-root");
                self.put(&old, &root.certificate).await?;
                self.take_over(next).await.map(Some)
            }
            // The take-over was cut off between the two files.
            None if self.text(&self.private_key("root")).await?
                == Some(next.key.serialize_pem()) =>
            {
                self.take_over(next).await.map(Some)
            }
            None => Err(self.unusable("root")),
        }
    }

    async fn take_over(&self, next: Authority) -> Result<Authority, String> {
        self.keep("root", &next).await?;
        for which in ["intermediate", "next-root"] {
            let _ = self.storage.delete(&self.certificate_key(which)).await;
            let _ = self.storage.delete(&self.private_key(which)).await;
        }
        tracing::warn!(target: "plugin/tls", "The root of the local CA has been replaced by its successor");
        Ok(next)
    }

    fn unusable(&self, which: &str) -> String {
        format!(
            "{} and {}: not a usable pair; put them right, or remove both for a new root",
            self.storage.place(&self.certificate_key(which)),
            self.storage.place(&self.private_key(which))
        )
    }

    /// The intermediate that is kept, or a new one when it is missing or does not outlive a leaf.
    async fn intermediate(&self, root: Option<&Authority>) -> Result<Authority, String> {
        let leaf = std::time::Duration::from_secs(LEAF_HOURS.unsigned_abs() * 3600);
        let now = SystemTime::now();
        match (self.read("intermediate").await?, root) {
            (Kept::Pair(kept), _) if kept.until > now + leaf => Ok(*kept),
            // The operator's: what is left of it is made use of.
            (Kept::Pair(kept), None) if kept.until > now + leaf / 24 => Ok(*kept),
            (_, None) => Err(format!(
                "{}: the local CA has no key for its root, and needs an intermediate with a key that is good for more than an hour",
                self.storage.place(&self.certificate_key("intermediate"))
            )),
            (_, Some(root)) => {
                let made = make("intermediate", Some(root))?;
                self.keep("intermediate", &made).await?;
                Ok(made)
            }
        }
    }
}

/// A new authority.
fn make(which: &str, parent: Option<&Authority>) -> Result<Authority, String> {
    let make = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = name(&format!("Corten Local Authority - {which}"));
        parameters.is_ca = IsCa::Ca(if parent.is_some() {
            BasicConstraints::Constrained(0)
        } else {
            BasicConstraints::Unconstrained
        });
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.use_authority_key_identifier_extension = parent.is_some();
        let days = match parent {
            Some(_) => INTERMEDIATE_DAYS,
            None => ROOT_DAYS,
        };
        (parameters.not_before, parameters.not_after) = validity(Duration::days(days));
        let certificate = match parent {
            Some(parent) => {
                parameters.not_after = parameters.not_after.min(parent.until.into());
                let signer = Issuer::from_ca_cert_pem(&parent.certificate, &parent.key)?;
                parameters.signed_by(&key, &signer)?
            }
            None => parameters.self_signed(&key)?,
        };
        Ok::<_, rcgen::Error>(Authority {
            certificate: certificate.pem(),
            key,
            until: parameters.not_after.into(),
        })
    };
    make().map_err(|error| format!("local CA: {error}"))
}

fn validity(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATE, now + life)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Alone;
    use crate::storage::{Folder, lost};
    use crate::tests::Scratch;

    #[tokio::test]
    async fn a_leaf_comes_from_one_root_that_stays() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let names = vec!["dns.example".to_owned()];
        let one = Bundle::read(&issue(&folder, "internal", &names, &Alone).await.unwrap()).unwrap();
        let root = folder.get("internal/root.pem").await.unwrap();
        let other =
            Bundle::read(&issue(&folder, "internal", &names, &Alone).await.unwrap()).unwrap();
        assert!(root.is_some());
        assert_eq!(folder.get("internal/root.pem").await.unwrap(), root);
        assert_eq!(one.check_names(&names), Ok(()));
        assert_ne!(one.pem(), other.pem());
        assert_eq!(one.certified().cert.len(), 2, "leaf and intermediate");
        let life = one
            .validity()
            .until
            .duration_since(one.validity().from)
            .unwrap();
        assert_eq!(life.as_secs(), 24 * 3600 + 300);

        folder.put("internal/root.pem", b"damaged").await.unwrap();
        let error = issue(&folder, "internal", &names, &Alone)
            .await
            .unwrap_err();
        assert!(
            error.contains("root.pem") && error.contains("not a usable pair"),
            "{error}"
        );
    }

    /// A lease that somebody else has.
    struct Lost;

    #[async_trait::async_trait]
    impl Lease for Lost {
        async fn check(&self) -> io::Result<()> {
            Err(lost())
        }

        async fn release(&self) {}
    }

    #[tokio::test]
    async fn who_has_lost_the_lease_makes_no_root() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let names = vec!["dns.example".to_owned()];
        let error = issue(&folder, "internal", &names, &Lost).await.unwrap_err();
        assert_eq!(error, lost().to_string());
        assert!(folder.list("internal").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_root_has_a_successor_and_is_replaced_by_it() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let ca = Authorities {
            storage: &folder,
            folder: "internal",
            lease: &Alone,
        };
        let now = SystemTime::now();
        let later = |days: u64| now + std::time::Duration::from_secs(days * 86_400);
        let first = ca.root(now).await.unwrap().unwrap();
        ca.intermediate(Some(&first)).await.unwrap();
        let same = ca.root(later(3200)).await.unwrap().unwrap();
        assert_eq!(same.certificate, first.certificate);
        assert!(
            folder
                .get("internal/next-root.pem")
                .await
                .unwrap()
                .is_none()
        );
        let same = ca.root(later(3300)).await.unwrap().unwrap();
        assert_eq!(same.certificate, first.certificate);
        let next = folder.get("internal/next-root.pem").await.unwrap().unwrap();
        let new = ca.root(later(3600)).await.unwrap().unwrap();
        assert_eq!(new.certificate.as_bytes(), next);
        let old = folder.get("internal/old-root.pem").await.unwrap().unwrap();
        assert_eq!(old, first.certificate.as_bytes());
        assert!(
            folder
                .get("internal/intermediate.pem")
                .await
                .unwrap()
                .is_none()
        );

        // A take-over that was cut off goes on.
        ca.keep("next-root", &new).await.unwrap();
        folder.put("internal/root.pem", &old).await.unwrap();
        let again = ca.root(now).await.unwrap().unwrap();
        assert_eq!(again.certificate, new.certificate);
    }

    #[tokio::test]
    async fn an_operator_may_keep_the_roots_key_elsewhere() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let names = vec!["dns.example".to_owned()];
        issue(&folder, "internal", &names, &Alone).await.unwrap();
        folder.delete("internal/root-key.pem").await.unwrap();
        let leaf =
            Bundle::read(&issue(&folder, "internal", &names, &Alone).await.unwrap()).unwrap();
        assert_eq!(leaf.certified().cert.len(), 2);
        folder
            .delete("internal/intermediate-key.pem")
            .await
            .unwrap();
        let error = issue(&folder, "internal", &names, &Alone)
            .await
            .unwrap_err();
        assert!(error.contains("no key for its root"), "{error}");
    }

    #[tokio::test]
    async fn a_leaf_ends_before_its_intermediate() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let ca = Authorities {
            storage: &folder,
            folder: "internal",
            lease: &Alone,
        };
        let mut root = ca.root(SystemTime::now()).await.unwrap().unwrap();
        // An intermediate never outlives its root; with three hours left it is the operator's.
        root.until = SystemTime::now() + std::time::Duration::from_secs(3 * 3600);
        let short = make("intermediate", Some(&root)).unwrap();
        ca.keep("intermediate", &short).await.unwrap();
        folder.delete("internal/root-key.pem").await.unwrap();
        let names = vec!["dns.example".to_owned()];
        let leaf =
            Bundle::read(&issue(&folder, "internal", &names, &Alone).await.unwrap()).unwrap();
        let rest = short.until.duration_since(leaf.validity().until).unwrap();
        assert!((55..=65).contains(&rest.as_secs()), "{rest:?}");
    }
}
