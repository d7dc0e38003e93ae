//! What a TLS listener asks of whoever looks after certificates.
use std::sync::Arc;

use async_trait::async_trait;
use rustls::ServerConfig;

/// Certificates and settings of one server block's TLS listeners.
#[async_trait]
pub trait TlsIdentity: Send + Sync {
    /// The settings to shake hands with; certificates behind them may be exchanged at any time.
    ///
    /// `alpn` is the transport's protocol list, such as `dot`.
    fn config(&self, alpn: &'static [&'static [u8]]) -> Arc<ServerConfig>;

    /// Whether the certificate is made for this server name; several blocks may share a listener.
    fn covers(&self, server_name: &str) -> bool;

    /// Whether clients are asked for certificates. A QUIC listener cannot choose between blocks that
    /// ask and others, and answers nobody before the handshake is over.
    fn verifies_clients(&self) -> bool {
        false
    }

    /// Whether there is a certificate.
    fn is_ready(&self) -> bool;

    /// Returns once there is a certificate; the listener bounds the wait.
    async fn until_ready(&self);
}
