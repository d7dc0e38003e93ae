//! What a listener shakes hands with.
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use corten_acme::{Bundle, Entry};
use corten_plugin::{SetupError, TlsIdentity, async_trait};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::client::{KeyFile, verifier};
use crate::config::{ClientAuth, ClientOptions};

/// One block's TLS: settings made once, the certificate looked up at each handshake.
pub(crate) struct Identity {
    source: Source,
    base: ServerConfig,
    mode: ClientAuth,
    /// Settings by protocol list; there is one a transport.
    made: Mutex<Vec<(Protocols, Arc<ServerConfig>)>>,
}

type Protocols = &'static [&'static [u8]];

#[derive(Clone)]
enum Source {
    Files(Bundle),
    Entries(Entries),
}

/// Certificates that look after themselves; the first is for clients that name no server.
#[derive(Clone)]
struct Entries {
    all: Arc<[Arc<Entry>]>,
    /// Whether clients that name another server are turned away, as CoreDNS does.
    strict_names: bool,
}

impl Entries {
    /// The certificate for a client that names a server, or none.
    fn choose(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let first = self.all.first();
        let entry = match server_name {
            None => first,
            Some(name) => {
                let named = self.all.iter().find(|entry| entry.spec().covers(name));
                named.or_else(|| first.filter(|_| !self.strict_names))
            }
        };
        entry?.current()
    }
}

impl Identity {
    /// From PEM files; read again at each reload.
    pub(crate) fn from_files(
        certificate: &Path,
        key: &Path,
        client: &ClientOptions,
    ) -> Result<Self, SetupError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| {
                SetupError::new(format!(
                    "could not load TLS cert: {}: {error}",
                    path.display()
                ))
            })
        };
        let text = format!("{}\n{}", read(key)?, read(certificate)?);
        let bundle = Bundle::read(&text).map_err(|error| {
            SetupError::new(format!(
                "could not load TLS cert: {} and {}: {error}",
                certificate.display(),
                key.display()
            ))
        })?;
        Self::new(Source::Files(bundle), client)
    }

    /// From certificates that look after themselves.
    pub(crate) fn from_entries(
        entries: Vec<Arc<Entry>>,
        strict_names: bool,
        client: &ClientOptions,
    ) -> Result<Self, SetupError> {
        let all = entries.into();
        Self::new(Source::Entries(Entries { all, strict_names }), client)
    }

    fn new(source: Source, client: &ClientOptions) -> Result<Self, SetupError> {
        let provider = Arc::new(ring::default_provider());
        // TLS 1.2 and 1.3: rustls has no older versions.
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| SetupError::new(error.to_string()))?;
        let builder = match verifier(client, &provider).map_err(SetupError::new)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut base = builder.with_cert_resolver(Arc::new(Resolver(source.clone())));
        base.ticketer = tickets(client.mode)?;
        // One ticket a connection will do; each costs the client's first answer some time.
        base.send_tls13_tickets = 1;
        if let Some(file) = &client.keylog {
            base.key_log = Arc::new(KeyFile::open(file).map_err(SetupError::new)?);
        }
        Ok(Self {
            source,
            base,
            mode: client.mode,
            made: Mutex::default(),
        })
    }
}

/// Keys of session tickets: one set for the process, so that sessions outlive reloads and renewals.
///
/// Blocks that look at client certificates have a set of their own: a session begun where nothing
/// is asked must not be resumed where a certificate is required.
fn tickets(mode: ClientAuth) -> Result<Arc<dyn ProducesTickets>, SetupError> {
    static SHARED: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    let make = || {
        ring::Ticketer::new().map_err(|error| SetupError::new(format!("session tickets: {error}")))
    };
    if mode != ClientAuth::NoCert {
        return make();
    }
    match SHARED.get() {
        Some(shared) => Ok(Arc::clone(shared)),
        None => Ok(Arc::clone(SHARED.get_or_init({
            let made = make()?;
            || made
        }))),
    }
}

#[async_trait]
impl TlsIdentity for Identity {
    fn config(&self, alpn: Protocols) -> Arc<ServerConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.iter().find(|(protocols, _)| *protocols == alpn) {
            return Arc::clone(config);
        }
        let mut config = self.base.clone();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let config = Arc::new(config);
        made.push((alpn, Arc::clone(&config)));
        config
    }

    fn covers(&self, server_name: &str) -> bool {
        match &self.source {
            Source::Files(bundle) => bundle.covers(server_name),
            Source::Entries(entries) => entries
                .all
                .iter()
                .any(|entry| entry.spec().covers(server_name)),
        }
    }

    fn verifies_clients(&self) -> bool {
        self.mode != ClientAuth::NoCert
    }

    fn is_ready(&self) -> bool {
        match &self.source {
            Source::Files(_) => true,
            Source::Entries(entries) => entries.all.iter().any(|entry| entry.current().is_some()),
        }
    }

    async fn until_ready(&self) {
        if let Source::Entries(entries) = &self.source
            && let Some(first) = entries.all.first()
        {
            first.until_ready().await;
        }
    }
}

/// Hands out the certificate that is live; without one the client gets an alert.
struct Resolver(Source);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match &self.0 {
            Source::Files(bundle) => Some(Arc::clone(bundle.certified())),
            Source::Entries(entries) => entries.choose(hello.server_name()),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}
