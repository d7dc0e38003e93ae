//! What a listener shakes hands with, and the bounds of its connections.
use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use corten_corefile::Transport as Scheme;
use corten_plugin::TlsIdentity;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;

use crate::generation::{Listener, Table};
use crate::limits;

/// Protocol names of DNS over QUIC (RFC 9250 section 4.1.1) and of HTTP/3 (RFC 9114 section 3.1).
const DOQ: &[&[u8]] = &[b"doq"];
const HTTP3: &[&[u8]] = &[b"h3"];

/// Sessions of the process, so that they outlive reloads and new certificates. Each is given out
/// once: what came in 0-RTT cannot be replayed to this process (RFC 8446 section 8.1).
static SESSIONS: LazyLock<Arc<ServerSessionMemoryCache>> =
    LazyLock::new(|| ServerSessionMemoryCache::new(limits::QUIC_SESSIONS_KEPT));

/// What all endpoints of the process have in common, above all the key of stateless resets.
pub(super) fn endpoint() -> EndpointConfig {
    static SHARED: LazyLock<EndpointConfig> = LazyLock::new(EndpointConfig::default);
    SHARED.clone()
}

/// The settings of a listener.
pub(super) fn server(scheme: Scheme, table: &Table) -> Result<ServerConfig, String> {
    let alpn = match scheme {
        Scheme::Https3 => HTTP3,
        _ => DOQ,
    };
    let Some(first) = table.tls.first() else {
        return Err("no certificate".to_owned());
    };
    let mut tls = rustls::ServerConfig::clone(&first.config(alpn));
    if table.tls.len() > 1 {
        let identities = table.tls.iter().map(|identity| {
            let resolver = Arc::clone(&identity.config(alpn).cert_resolver);
            (Arc::clone(identity), resolver)
        });
        tls.cert_resolver = Arc::new(ByName(identities.collect()));
    }
    // rustls offers 0-RTT only for sessions that it keeps itself, because those can be used once.
    let sessions: Arc<dyn StoresServerSessions> = match first.verifies_clients() {
        // Whoever has to show a certificate shows it at each handshake.
        true => Arc::new(NoServerSessionStorage {}),
        false => {
            tls.max_early_data_size = u32::MAX;
            Arc::clone(&*SESSIONS) as _
        }
    };
    (tls.session_storage, tls.ticketer) = (sessions, Arc::new(NoTickets));
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut server = with_our_keys(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport(scheme, table)?))
        // quinn takes a new address for the client's before that is shown to be (RFC 9000 section 8.2):
        // whoever has a connection could ask in the name of any address.
        .migration(false)
        .max_incoming(limits::QUIC_HANDSHAKES_MAX)
        .incoming_buffer_size(limits::QUIC_INCOMING_OCTETS)
        .incoming_buffer_size_total(limits::QUIC_INCOMING_OCTETS_ALL);
    Ok(server)
}

/// Settings with the process's key for tokens: who has been told to show that he receives (Retry) may do
/// so after a reload.
fn with_our_keys(crypto: Arc<QuicServerConfig>) -> ServerConfig {
    static FIRST: OnceLock<ServerConfig> = OnceLock::new();
    let first = FIRST.get_or_init(|| ServerConfig::with_crypto(Arc::clone(&crypto) as _));
    let mut server = first.clone();
    server.crypto = crypto;
    server
}

fn transport(scheme: Scheme, table: &Table) -> Result<TransportConfig, String> {
    let tuning = &table.tuning;
    let idle = IdleTimeout::try_from(tuning.streams.idle).map_err(|error| error.to_string())?;
    let (streams, uni) = match scheme {
        // Control, QPACK encoder and decoder, and room for what may be added (RFC 9114 section 6.2).
        Scheme::Https3 => (tuning.https3.streams_max, 8),
        // RFC 9250 section 4.3.3: nobody opens unidirectional streams.
        _ => (tuning.quic.streams_max, 0),
    };
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(
            streams.unwrap_or(limits::QUIC_STREAMS_MAX),
        ))
        .max_concurrent_uni_streams(VarInt::from_u32(uni))
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(limits::QUIC_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(limits::QUIC_WINDOW))
        .send_window(limits::QUIC_SEND_WINDOW)
        .crypto_buffer_size(limits::QUIC_CRYPTO_OCTETS)
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

impl Table {
    /// Whether the identities of a QUIC listener go together; the error is for the operator.
    pub(crate) fn check_identities(&self, listener: Listener) -> Result<(), String> {
        let is_quic = matches!(listener.transport, Scheme::Quic | Scheme::Https3);
        if is_quic && self.tls.len() > 1 && self.tls.iter().any(|tls| tls.verifies_clients()) {
            return Err(format!(
                "{}: blocks that share a QUIC address with one that asks for client certificates must \
                not have a 'tls' of their own: give them another address or port",
                self.name
            ));
        }
        Ok(())
    }
}

/// Certificates of several blocks: the first that is made for the server's name, else the first.
struct ByName(Vec<(Arc<dyn TlsIdentity>, Arc<dyn ResolvesServerCert>)>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello
            .server_name()
            .and_then(|name| self.0.iter().find(|(identity, _)| identity.covers(name)));
        let (_, resolver) = named.or_else(|| self.0.first())?;
        resolver.resolve(hello)
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByName({})", self.0.len())
    }
}

/// Sessions are kept, not sealed and handed out.
#[derive(Debug)]
struct NoTickets;

impl rustls::server::ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
