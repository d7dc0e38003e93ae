//! A local CA: root, intermediate, leaf, all kept in the certificate folder.
//!
//! The root is good for ten years and written as `root.pem`, for clients to trust; the intermediate
//! for seven days, a leaf for one. A leaf is only signed by an intermediate that outlives it.
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::bundle::Bundle;
use crate::storage::Storage;

const ROOT_DAYS: i64 = 3650;
const INTERMEDIATE_DAYS: i64 = 7;
const LEAF_HOURS: i64 = 24;
/// Clocks of clients may be slow by this much.
const BACKDATE: Duration = Duration::minutes(5);

/// Makes key and chain for these names as PEM text. The caller has the lease of the folder.
pub(crate) async fn issue(
    storage: &dyn Storage,
    folder: &str,
    names: &[String],
) -> Result<String, String> {
    let (root_certificate, root_key) = authority(storage, folder, "root", None).await?;
    let root = Issuer::from_ca_cert_pem(&root_certificate, root_key)
        .map_err(|error| format!("root.pem: {error}"))?;
    let (intermediate_certificate, intermediate_key) =
        authority(storage, folder, "intermediate", Some(&root)).await?;
    let intermediate = Issuer::from_ca_cert_pem(&intermediate_certificate, intermediate_key)
        .map_err(|error| format!("intermediate.pem: {error}"))?;
    let leaf = || {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names.to_vec())?;
        // Resolvers are often configured by address.
        parameters.subject_alt_names.extend(
            [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()].map(SanType::IpAddress),
        );
        parameters.distinguished_name = name(names.first().map_or("corten", String::as_str));
        (parameters.not_before, parameters.not_after) = validity(Duration::hours(LEAF_HOURS));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &intermediate)?;
        Ok::<_, rcgen::Error>(format!(
            "{}{}{intermediate_certificate}",
            key.serialize_pem(),
            certificate.pem()
        ))
    };
    leaf().map_err(|error| format!("local CA: {error}"))
}

/// A CA's certificate and key: those that are kept, or new ones when they are missing or do not
/// live long enough.
async fn authority(
    storage: &dyn Storage,
    folder: &str,
    which: &str,
    parent: Option<&Issuer<'_, KeyPair>>,
) -> Result<(String, KeyPair), String> {
    let (certificate_path, key_path) = (
        format!("{folder}/{which}.pem"),
        format!("{folder}/{which}-key.pem"),
    );
    let explain = |error: std::io::Error| error.to_string();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    let certificate = storage.get(&certificate_path).await.map_err(explain)?;
    let key = storage.get(&key_path).await.map_err(explain)?;
    if let (Some(certificate), Some(key)) = (certificate.map(text), key.map(text)) {
        match (
            Bundle::read(&format!("{key}{certificate}")),
            KeyPair::from_pem(&key),
        ) {
            (Ok(bundle), Ok(key)) if outlives_a_leaf(&bundle) => return Ok((certificate, key)),
            (Ok(_), Ok(_)) => (),
            // A root that clients trust is not replaced because a file is damaged.
            _ if parent.is_none() => {
                return Err(format!(
                    "{} and {}: not a usable pair; put them right, or remove both for a new root",
                    storage.place(&certificate_path),
                    storage.place(&key_path)
                ));
            }
            _ => (),
        }
    }
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
        let days = if parent.is_some() {
            INTERMEDIATE_DAYS
        } else {
            ROOT_DAYS
        };
        (parameters.not_before, parameters.not_after) = validity(Duration::days(days));
        let certificate = match parent {
            Some(parent) => parameters.signed_by(&key, parent)?,
            None => parameters.self_signed(&key)?,
        };
        Ok::<_, rcgen::Error>((certificate.pem(), key))
    };
    let (certificate, key) = make().map_err(|error| format!("local CA: {error}"))?;
    storage
        .put(&key_path, key.serialize_pem().as_bytes())
        .await
        .map_err(explain)?;
    storage
        .put(&certificate_path, certificate.as_bytes())
        .await
        .map_err(explain)?;
    Ok((certificate, key))
}

fn outlives_a_leaf(bundle: &Bundle) -> bool {
    let leaf = std::time::Duration::from_secs(LEAF_HOURS.unsigned_abs() * 3600);
    bundle.validity().until > SystemTime::now() + leaf
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
    use crate::storage::Folder;
    use crate::tests::Scratch;

    #[tokio::test]
    async fn a_leaf_comes_from_one_root_that_stays() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let names = vec!["dns.example".to_owned()];
        let one = Bundle::read(&issue(&folder, "internal", &names).await.unwrap()).unwrap();
        let root = folder.get("internal/root.pem").await.unwrap();
        let other = Bundle::read(&issue(&folder, "internal", &names).await.unwrap()).unwrap();
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
        let error = issue(&folder, "internal", &names).await.unwrap_err();
        assert!(
            error.contains("root.pem") && error.contains("not a usable pair"),
            "{error}"
        );
    }
}
