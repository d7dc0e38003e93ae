//! TLS towards upstreams: roots and a client certificate.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Settings for `tls [CERT KEY] [CA]`: no files mean the system's roots, one a root file, two a
/// client certificate, three both. An empty `alpn` offers no protocol.
///
/// # Errors
/// A file that cannot be read, or has nothing of what it should have; the text names it.
pub fn config(files: &[PathBuf], alpn: &'static [u8]) -> Result<Arc<ClientConfig>, String> {
    let (identity, ca) = match files {
        [] => (None, None),
        [ca] => (None, Some(ca)),
        [certificate, key] => (Some((certificate, key)), None),
        [certificate, key, ca, ..] => (Some((certificate, key)), Some(ca)),
    };
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            for root in certificates(file)? {
                roots
                    .add(root)
                    .map_err(|error| format!("{}: {error}", file.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let explain =
                |error: rustls::pki_types::pem::Error| format!("{}: {error}", key.display());
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(explain)?;
            let pair = builder.with_client_auth_cert(certificates(certificate)?, key_der);
            pair.map_err(|error| {
                format!("{} and {}: {error}", certificate.display(), key.display())
            })?
        }
    };
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(format!("{}: no certificate in the file", file.display())),
        Ok(all) => Ok(all),
        Err(error) => Err(format!(
            "could not load TLS cert: {}: {error}",
            file.display()
        )),
    }
}
