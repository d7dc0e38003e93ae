//! One request to etcd, over a connection of its own.
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription as Alert, ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Octets of a response; Base64 makes values longer by a third, and there may be many keys.
const RESPONSE_OCTETS_MAX: usize = 8 << 20;

/// Certificates of the connection to etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EtcdTls {
    /// PEM file of the roots; nothing for the system's.
    pub roots: Option<PathBuf>,
    /// PEM files of our own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Sends a request to a member, HOST:PORT. The caller bounds the time.
pub(super) async fn ask(
    endpoint: &str,
    tls: Option<&EtcdTls>,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        let answer = exchange(stream, request).await;
        let hint = "if it speaks TLS, write etcds:// or etcd_tls";
        return answer.map_err(|error| io::Error::new(error.kind(), format!("{error}; {hint}")));
    };
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(client_config(tls)?));
    let answer = match connector.connect(name, stream).await {
        Ok(stream) => exchange(stream, request).await,
        Err(error) => Err(error),
    };
    // Some servers refuse a client's certificate behind the handshake.
    answer.map_err(|error| of_tls(error, tls))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(of_http)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(of_http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), RESPONSE_OCTETS_MAX);
        let body = body.collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        ended = connection => {
            exchange.await.map_err(|cut| ended.err().map_or(cut, of_http))
        }
    }
}

/// Read anew for each connection: whoever renews these files need not tell us.
fn client_config(tls: &EtcdTls) -> io::Result<ClientConfig> {
    let named = |path: &Path, error: &dyn fmt::Display| {
        io::Error::other(format!("{}: {error}", path.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    match &tls.roots {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => {
            for root in CertificateDer::pem_file_iter(file).map_err(|error| named(file, &error))? {
                let root = root.map_err(|error| named(file, &error))?;
                roots.add(root).map_err(|error| named(file, &error))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
        .map_err(|error| named(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(io::Error::other)
}

/// An error of an encrypted connection, with what may be wrong with our side of it.
fn of_tls(error: io::Error, tls: &EtcdTls) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let hint = match inner {
        Some(Error::InvalidCertificate(_)) => "the roots of etcd_tls do not fit its certificate",
        Some(Error::AlertReceived(Alert::CertificateRequired | Alert::BadCertificate))
            if tls.identity.is_none() =>
        {
            "it wants a client's certificate: etcd_tls CERT KEY CA"
        }
        Some(Error::AlertReceived(_)) if tls.identity.is_some() => {
            "it may not know the CA of the certificate of etcd_tls"
        }
        Some(Error::InvalidMessage(_)) => "it does not speak TLS: write etcd://, without etcd_tls",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {hint}"))
}

/// An error of the HTTP library: what counts is the I/O error behind it.
fn of_http(error: hyper::Error) -> io::Error {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            let tls = inner.get_ref().and_then(|tls| tls.downcast_ref::<Error>());
            return match tls {
                Some(tls) => io::Error::new(inner.kind(), tls.clone()),
                None => io::Error::new(inner.kind(), format!("{error}: {inner}")),
            };
        }
        source = inner.source();
    }
    io::Error::other(error)
}
