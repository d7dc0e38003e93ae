//! Where CertMagic, and so CoreDNS and its plugins, keep certificates and accounts: read, never
//! written.
//!
//! ```text
//! CERTPATH/certificates/ISSUER/NAME/NAME.{crt,key}
//! CERTPATH/acme/ISSUER/users/MAIL/USER.{json,key}
//! ```
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Value, json};

/// DER of the algorithm of a P-256 key: id-ecPublicKey, prime256v1 (RFC 5480 section 2.1.1).
const P256_ALGORITHM: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// Names of a CA's folder, the newer form first: host and path of its directory, slashes as
/// hyphens. Releases before 2020 left the port's colon out.
pub(crate) fn issuers(directory: &str) -> [String; 2] {
    let rest = directory
        .split_once("://")
        .map_or(directory, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.replace(['/', '\\'], "-");
    let path = path.trim_matches('-');
    let whole = match path.is_empty() {
        true => host.to_owned(),
        false => format!("{host}-{path}"),
    };
    [safe(&whole), safe(&whole.replace(':', ""))]
}

/// A text as CertMagic makes it fit for a file's name.
pub(crate) fn safe(text: &str) -> String {
    text.trim()
        .to_lowercase()
        .replace(' ', "_")
        .replace('+', "_plus_")
        .replace('*', "wildcard_")
        .replace(':', "-")
        .replace("..", "")
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_@.-".contains(*c))
        .collect()
}

/// Paths of an account below the folder, without their extensions.
pub(crate) fn accounts(directory: &str, email: Option<&str>) -> Vec<String> {
    let email = email.unwrap_or("default").to_lowercase();
    let user = match email.split_once('@') {
        None => email.as_str(),
        Some(("", host)) => host,
        Some((user, _)) => user,
    };
    issuers(directory)
        .iter()
        .map(|issuer| format!("acme/{issuer}/users/{}/{}", safe(&email), safe(user)))
        .collect()
}

/// What is of use in an account's JSON.
#[derive(Deserialize)]
struct Registration {
    location: String,
}

/// The account as the ACME library keeps it. The key must be one of P-256, which CertMagic makes.
pub(crate) fn account(directory: &str, registration: &str, key: &str) -> Result<Value, String> {
    let registration: Registration = serde_json::from_str(registration)
        .map_err(|error| format!("no registration in the account's file: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| format!("no key in the account's file: {error}"))?;
    let pkcs8 = match &key {
        PrivateKeyDer::Pkcs8(key) => key.secret_pkcs8_der().to_vec(),
        PrivateKeyDer::Sec1(key) => wrap(key.secret_sec1_der()),
        _ => return Err("the account's key is none of P-256".to_owned()),
    };
    Ok(json!({
        "id": registration.location,
        "key_pkcs8": URL_SAFE_NO_PAD.encode(pkcs8),
        "directory": directory,
    }))
}

/// PKCS #8 around a key of RFC 5915, as RFC 5958 has it.
fn wrap(sec1: &[u8]) -> Vec<u8> {
    let mut inner = vec![0x02, 0x01, 0x00];
    inner.extend_from_slice(P256_ALGORITHM);
    element(0x04, sec1, &mut inner);
    let mut pkcs8 = Vec::with_capacity(inner.len() + 4);
    element(0x30, &inner, &mut pkcs8);
    pkcs8
}

/// One DER element of at most 65,535 octets.
fn element(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        medium @ 0x80..0x100 => out.extend_from_slice(&[0x81, medium as u8]),
        long => {
            let [high, low] = (long as u16).to_be_bytes();
            out.extend_from_slice(&[0x82, high, low]);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_certmagic_makes_them() {
        assert_eq!(
            issuers("https://127.0.0.1:14000/dir"),
            ["127.0.0.1-14000-dir", "127.0.0.114000-dir"]
        );
        assert_eq!(
            issuers("https://acme-v02.api.letsencrypt.org/directory")[0],
            "acme-v02.api.letsencrypt.org-directory"
        );
        assert_eq!(safe("*.Example.org"), "wildcard_.example.org");
        assert_eq!(
            accounts("https://ca.example/dir", Some("Admin+dns@Example.org"))[0],
            "acme/ca.example-dir/users/admin_plus_dns@example.org/admin_plus_dns"
        );
        assert_eq!(
            accounts("https://ca.example/dir", None)[0],
            "acme/ca.example-dir/users/default/default"
        );
    }

    #[test]
    fn an_account_is_taken_over_with_its_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let registration = r#"{"status": "valid", "contact": ["mailto:a@example.org"], "location": "https://ca.example/acct/1"}"#;
        let pem = key.serialize_pem();
        let account = account("https://ca.example/dir", registration, &pem).unwrap();
        assert_eq!(account["id"], "https://ca.example/acct/1");
        let kept = URL_SAFE_NO_PAD
            .decode(account["key_pkcs8"].as_str().unwrap())
            .unwrap();
        assert_eq!(kept, key.serialize_der());
    }

    #[test]
    fn an_older_form_of_key_is_wrapped() {
        let key = rcgen::KeyPair::generate().unwrap();
        let whole = key.serialize_der();
        // ring writes PKCS #8 with the same inner key, so that its octets can be cut out.
        let at = whole
            .windows(2)
            .position(|pair| pair == [0x04, 0x6d])
            .unwrap();
        let wrapped = wrap(&whole[at + 2..]);
        assert_eq!(wrapped, whole);
        assert!(account("https://ca.example/dir", "{}", &key.serialize_pem()).is_err());
    }
}
