//! TLS settings from a web configuration.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::file::{ClientAuth, Pem, Tls, Version};

/// Makes settings of what the file says; notes in `files` what else was read. Relative names begin
/// at the file's folder.
pub(super) fn config(
    tls: &Tls,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<Arc<ServerConfig>, String> {
    let mut read = |pem: &Option<Pem>, name: &str| match pem {
        None => Err(format!("missing {name}")),
        Some(Pem::Text(text)) => Ok(text.clone().into_bytes()),
        Some(Pem::File(file)) => {
            let path = folder.join(file);
            let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
            files.push(path);
            text
        }
    };
    let certificates = certificates(&read(&tls.certificate, "cert_file")?)
        .map_err(|error| format!("cert_file: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key, "key_file")?)
        .map_err(|error| format!("key_file: {error}"))?;
    let provider = provider(&tls.cipher_suites)?;
    let versions: Vec<_> = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)]
        .into_iter()
        .filter(|(version, _)| tls.min_version.is_none_or(|min| min <= *version))
        .filter(|(version, _)| tls.max_version.is_none_or(|max| *version <= max))
        .map(|(_, version)| version)
        .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let builder = match tls.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::IfGiven | ClientAuth::Required => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(&read(&tls.client_ca, "client_ca_file")?)
                .map_err(|error| format!("client_ca_file: {error}"))?
            {
                roots
                    .add(certificate)
                    .map_err(|error| format!("client_ca_file: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match tls.client_auth {
                ClientAuth::IfGiven => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if all.is_empty() => Err("no certificate".into()),
        all => all.map_err(|error| error.to_string()),
    }
}

/// ring, with the suites of TLS 1.2 that are named; those of TLS 1.3 cannot be chosen, as in Go.
fn provider(suites: &[String]) -> Result<Arc<CryptoProvider>, String> {
    let mut provider = ring::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = format!("{:?}", suite.suite());
            name.starts_with("TLS13_") || suites.contains(&name)
        });
        let named =
            |suite: &&String| !suite.starts_with("TLS_AES_") && !suite.starts_with("TLS_CHACHA20_");
        let left = provider
            .cipher_suites
            .iter()
            .any(|suite| suite.tls13().is_none());
        if suites.iter().any(|suite| named(&suite)) && !left {
            return Err(format!(
                "cipher_suites: none of {} is spoken here",
                suites.join(", ")
            ));
        }
    }
    Ok(Arc::new(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_their_names() {
        let count = |suites: &[&str]| {
            let suites: Vec<_> = suites.iter().map(|&suite| suite.to_owned()).collect();
            provider(&suites).map(|provider| provider.cipher_suites.len())
        };
        let all = count(&[]).unwrap();
        let of_tls13 = count(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert!(of_tls13 < all);
        assert_eq!(
            count(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
            Ok(of_tls13 + 1)
        );
        assert!(count(&["TLS_RSA_WITH_3DES_EDE_CBC_SHA"]).is_err());
    }
}
