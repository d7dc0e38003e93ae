//! Requests to the CA: a connection each, deadlines, roots, and what a status line says.
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Octets of the largest response; a certificate chain has some 5,000.
const BODY_OCTETS_MAX: usize = 1 << 20;
/// Longest pause that a CA can ask for: a mistake there must not end renewals for good.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The way to one CA.
#[derive(Clone)]
pub(crate) struct Transport {
    tls: Arc<ClientConfig>,
    deadline: Duration,
    /// What the last refusal said about the time to try again.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

/// A response that is none of ACME's, such as a proxy's page.
#[derive(Debug, thiserror::Error)]
#[error("the CA answered {status} without an ACME problem document")]
pub(crate) struct Unavailable {
    pub(crate) status: StatusCode,
}

/// The request did not reach the CA, or its response did not reach us.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {source}")]
pub(crate) struct Unreachable {
    host: String,
    source: io::Error,
}

impl Transport {
    /// `roots`: a PEM file; every certificate in it counts. Without one the system's.
    pub(crate) fn new(roots: Option<&Path>, deadline: Duration) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        match roots {
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if store.is_empty() {
                    return Err("the system has no root certificates (Debian: install ca-certificates, or name a file with 'cacert')".into());
                }
            }
            Some(file) => {
                let explain =
                    |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
                for root in CertificateDer::pem_file_iter(file).map_err(|error| explain(&error))? {
                    let root = root.map_err(|error| explain(&error))?;
                    store.add(root).map_err(|error| explain(&error))?;
                }
                if store.is_empty() {
                    return Err(format!("{}: no certificate in the file", file.display()));
                }
            }
        }
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(store)
                .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            deadline,
            retry_after: Arc::default(),
        })
    }

    /// What the CA said last about the time to try again; asked once.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn send(self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let host = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let failed = |source: io::Error| {
            Error::Other(Box::new(Unreachable {
                host: host.clone(),
                source,
            }))
        };
        let exchange = async {
            let stream = connect(request.uri(), &self.tls).await?;
            let uri = request.uri().clone();
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse().map_err(io::Error::other)?;
            let headers = request.headers_mut();
            headers.insert(
                HOST,
                HeaderValue::from_str(&host).map_err(io::Error::other)?,
            );
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("corten/", env!("CARGO_PKG_VERSION"))),
            );
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
            let exchange = async {
                let (parts, body) = sender
                    .send_request(request)
                    .await
                    .map_err(io::Error::other)?
                    .into_parts();
                let body = Limited::new(body, BODY_OCTETS_MAX)
                    .collect()
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>((parts, body.to_bytes()))
            };
            // Driven side by side. A connection that ends first may have brought the whole
            // response; else its reason tells more than the request that was cut off.
            let mut exchange = pin!(exchange);
            tokio::select! {
                done = &mut exchange => done,
                ended = connection => {
                    exchange.await.map_err(|cut| ended.err().map_or(cut, io::Error::other))
                }
            }
        };
        let timed = timeout(self.deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (parts, body) = timed.map_err(failed)?;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let seconds = parts
                .headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let wish = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            *self
                .retry_after
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = wish;
            let kind = parts
                .headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if !kind.starts_with("application/problem+json") {
                return Err(Error::Other(Box::new(Unavailable {
                    status: parts.status,
                })));
            }
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(body),
        })
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// Connects to the first address of the host that answers.
async fn connect(
    uri: &Uri,
    tls: &Arc<ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    if uri.scheme_str() != Some("https") {
        return Err(io::Error::other(format!("'{uri}' is not an https URL")));
    }
    let host = uri
        .host()
        .ok_or_else(|| io::Error::other("the URL has no host"))?
        .trim_start_matches('[')
        .trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
}
