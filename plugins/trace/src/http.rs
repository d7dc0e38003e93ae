//! Requests to the collector: one connection, kept as long as both sides like.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longest that one request may take, the connection included.
const DEADLINE: Duration = Duration::from_secs(5);
/// Octets of a response that are read, so that the connection can be used again.
const BODY_OCTETS_MAX: usize = 1 << 16;

/// What goes along with every body.
pub(crate) struct Form {
    pub(crate) method: Method,
    pub(crate) content_type: &'static str,
    pub(crate) headers: HeaderMap,
}

/// The way to one collector.
pub(crate) struct Client {
    endpoint: Uri,
    form: Form,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Connects when something is sent. Reads the system's roots for an `https` endpoint.
    pub(crate) fn new(endpoint: Uri, form: Form) -> Self {
        let tls = (endpoint.scheme_str() == Some("https")).then(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let config = ClientConfig::builder().with_root_certificates(roots);
            Arc::new(config.with_no_client_auth())
        });
        Self {
            endpoint,
            form,
            tls,
            connection: None,
        }
    }

    /// Sends a body; an error unless the collector took it.
    pub(crate) async fn send(&mut self, body: Vec<u8>) -> io::Result<()> {
        let sent = timeout(DEADLINE, self.exchange(body.into())).await;
        let status = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if status.is_err() {
            self.connection = None;
        }
        match status? {
            status if status.is_success() => Ok(()),
            status => Err(io::Error::other(format!("the collector answers {status}"))),
        }
    }

    async fn exchange(&mut self, body: Bytes) -> io::Result<StatusCode> {
        let request = self.request(body)?;
        let kept = self.connection.take();
        let mut connection = match kept.filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        connection.ready().await.map_err(io::Error::other)?;
        let response = connection.send_request(request).await;
        let (parts, body) = response.map_err(io::Error::other)?.into_parts();
        if Limited::new(body, BODY_OCTETS_MAX).collect().await.is_ok() {
            self.connection = Some(connection);
        }
        Ok(parts.status)
    }

    fn request(&self, body: Bytes) -> io::Result<Request<Full<Bytes>>> {
        let path = self
            .endpoint
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let host = self.endpoint.authority().map_or("", |host| host.as_str());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.form.method.clone();
        *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        let headers = request.headers_mut();
        headers.clone_from(&self.form.headers);
        headers.insert(HOST, HeaderValue::from_str(host).map_err(io::Error::other)?);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(self.form.content_type),
        );
        let agent = concat!("corten/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        Ok(request)
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let host = self.endpoint.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = self.endpoint.port_u16().unwrap_or(default);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => shake_hands(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(tls));
                shake_hands(connector.connect(name, stream).await?).await
            }
        }
    }
}

async fn shake_hands<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends with the sender; how is told to those who use that.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
