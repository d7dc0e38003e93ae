//! A throw-away CA with a server's certificate, clients' with and without a common name, and one that
//! it has not signed.
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};

/// Writes `ca.pem`, `cert.pem`, `key.pem`, `client-*.pem`, `nameless-*.pem` and `stray-*.pem`.
pub(crate) fn write(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    std::fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for (base, name, signed) in [
        ("", "dns.example.org", true),
        ("client-", "client.example.org", true),
        ("nameless-", "", true),
        ("stray-", "stray.example.org", false),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        leaf.subject_alt_names
            .push(SanType::IpAddress([127, 0, 0, 1].into()));
        leaf.distinguished_name = DistinguishedName::new();
        if !name.is_empty() {
            leaf.subject_alt_names
                .push(SanType::DnsName(name.try_into().unwrap()));
            leaf.distinguished_name.push(DnType::CommonName, name);
        }
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = if signed {
            leaf.signed_by(&key, &issuer)
        } else {
            leaf.self_signed(&key)
        }
        .unwrap();
        std::fs::write(folder.join(format!("{base}cert.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{base}key.pem")), key.serialize_pem()).unwrap();
    }
}
