//! Which client certificates are taken, and where session keys are written down.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, KeyLog, RootCertStore, SignatureScheme,
};

use crate::config::{ClientAuth, ClientOptions};

/// The verifier for a mode; nothing when clients are not asked.
pub(crate) fn verifier(
    options: &ClientOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let anyone = |mandatory| {
        Arc::new(Anyone {
            mandatory,
            provider: Arc::clone(provider),
        }) as Arc<dyn ClientCertVerifier>
    };
    let checked = |optional: bool| {
        let builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots(options.ca.as_deref())?),
            Arc::clone(provider),
        );
        let builder = if optional {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        builder.build().map_err(|error| error.to_string())
    };
    // A CA file that cannot be read is a mistake in any mode.
    if let Some(ca) = &options.ca {
        roots(Some(ca))?;
    }
    Ok(match options.mode {
        ClientAuth::NoCert => None,
        ClientAuth::Request => Some(anyone(false)),
        ClientAuth::Require => Some(anyone(true)),
        ClientAuth::VerifyIfGiven => Some(checked(true)?),
        ClientAuth::RequireAndVerify => Some(checked(false)?),
    })
}

/// Roots of client certificates: the file's, or the system's as in Go.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let explain = |error: &dyn std::fmt::Display| {
        format!("could not load TLS CA: {}: {error}", file.display())
    };
    for root in CertificateDer::pem_file_iter(file).map_err(|error| explain(&error))? {
        roots
            .add(root.map_err(|error| explain(&error))?)
            .map_err(|error| explain(&error))?;
    }
    if roots.is_empty() {
        return Err(explain(&"no certificate in the file"));
    }
    Ok(roots)
}

/// Takes any certificate whose key the client has: for logs and rules, not for trust.
#[derive(Debug)]
struct Anyone {
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anyone {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Session keys in NSS's format, for Wireshark.
#[derive(Debug)]
pub(crate) struct KeyFile(Mutex<File>);

impl KeyFile {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path);
        file.map(|file| Self(Mutex::new(file)))
            .map_err(|error| format!("keylog {}: {error}", path.display()))
    }
}

impl KeyLog for KeyFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |octets: &[u8]| {
            octets
                .iter()
                .map(|octet| format!("{octet:02x}"))
                .collect::<String>()
        };
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        // Debugging must not end a handshake.
        let _ = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(line.as_bytes());
    }
}
