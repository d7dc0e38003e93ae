//! DNS over HTTPS (RFC 8484) over HTTP/2: one connection of a worker carries all its queries.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use corten_wire::{MESSAGE_OCTETS_MAX, same_question};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::error::Phase;
use crate::grpc;
use crate::lane::{Kept, Lane};
use crate::settings::DohMethod;
use crate::stream::{Route, connect};

const MEDIA_TYPE: &str = "application/dns-message";

/// An open connection's requests.
#[derive(Clone)]
pub(crate) struct Sender {
    requests: SendRequest<Full<Bytes>>,
    local: Option<SocketAddr>,
    opened: Instant,
}

/// What went wrong, and whether the connection had been kept.
pub(crate) struct Failed {
    pub(crate) phase: Phase,
    pub(crate) error: io::Error,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) kept: Kept,
}

/// A reply, our address, and whether the connection had been kept.
pub(crate) type Reply = (Vec<u8>, Option<SocketAddr>, Kept);

/// What of a server an HTTPS request needs.
pub(crate) struct Endpoint<'a> {
    /// Nothing for gRPC in the clear.
    pub(crate) tls: Option<(&'a Arc<ClientConfig>, &'a ServerName<'static>)>,
    pub(crate) uri: &'a str,
    pub(crate) form: Form,
    pub(crate) age: Option<std::time::Duration>,
}

/// What a request looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Doh(DohMethod),
    Grpc,
}

/// Asks one query.
pub(crate) async fn ask(
    lane: &Lane,
    route: &Route,
    endpoint: &Endpoint<'_>,
    query: &[u8],
    until: Instant,
    fresh: bool,
) -> Result<Reply, Failed> {
    let (sender, kept) =
        sender(lane, route, endpoint, until, fresh)
            .await
            .map_err(|(phase, error)| Failed {
                phase,
                error,
                local: None,
                kept: Kept::No,
            })?;
    let (local, opened) = (sender.local, sender.opened);
    // Nobody else shall use this connection; one that has been opened since stays.
    let forget = || {
        if let Ok(mut own) = lane.https.try_lock()
            && own.as_ref().is_some_and(|other| other.opened == opened)
        {
            *own = None;
        }
    };
    let failed = |error| Failed {
        phase: Phase::Read,
        error,
        local,
        kept,
    };
    let asked = async {
        match endpoint.form {
            Form::Doh(method) => request(sender.requests, endpoint.uri, method, query).await,
            Form::Grpc => grpc::request(sender.requests, endpoint.uri, query).await,
        }
    };
    match timeout_at(until, asked).await {
        Ok(Ok(octets)) => Ok((octets, local, kept)),
        Ok(Err(error)) => {
            // What the server answers says nothing about the connection.
            if error.kind() != io::ErrorKind::InvalidData {
                forget();
            }
            Err(failed(error))
        }
        Err(_) => {
            forget();
            Err(failed(io::ErrorKind::TimedOut.into()))
        }
    }
}

/// The worker's connection; those who come while it is being opened wait for it.
async fn sender(
    lane: &Lane,
    route: &Route,
    endpoint: &Endpoint<'_>,
    until: Instant,
    fresh: bool,
) -> Result<(Sender, Kept), (Phase, io::Error)> {
    let late = || (Phase::Dial, io::ErrorKind::TimedOut.into());
    let mut own = timeout_at(until, lane.https.lock())
        .await
        .map_err(|_| late())?;
    let young = |sender: &&Sender| endpoint.age.is_none_or(|age| sender.opened.elapsed() < age);
    if !fresh
        && let Some(sender) = own
            .as_ref()
            .filter(|sender| !sender.requests.is_closed())
            .filter(young)
    {
        return Ok((sender.clone(), Kept::Yes));
    }
    let began = Instant::now();
    let limit = until.min(began + route.dial.limit());
    let opened = timeout_at(limit, open(route, endpoint)).await;
    route.dial.took(began.elapsed());
    let sender = opened.map_err(|_| late())??;
    *own = Some(sender.clone());
    Ok((sender, Kept::No))
}

async fn open(route: &Route, endpoint: &Endpoint<'_>) -> Result<Sender, (Phase, io::Error)> {
    let stream = connect(route).await.map_err(|error| (Phase::Dial, error))?;
    let local = stream.local_addr().ok();
    let requests = match endpoint.tls {
        None => shake_hands(stream).await,
        Some((config, name)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector
                .connect(name.clone(), stream)
                .await
                .map_err(|error| (Phase::Handshake, error))?;
            shake_hands(stream).await
        }
    }
    .map_err(|error| (Phase::Handshake, io::Error::other(error)))?;
    Ok(Sender {
        requests,
        local,
        opened: Instant::now(),
    })
}

/// Begins HTTP/2.
async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> hyper::Result<SendRequest<Full<Bytes>>> {
    let (requests, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Ends with the last request handle, or with the connection.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(requests)
}

async fn request(
    mut requests: SendRequest<Full<Bytes>>,
    uri: &str,
    method: DohMethod,
    query: &[u8],
) -> io::Result<Vec<u8>> {
    // RFC 8484 section 4.1: the same query is the same request, for HTTP's caches.
    let mut message = query.to_vec();
    if let Some(id) = message.get_mut(..2) {
        id.fill(0);
    }
    let builder = Request::builder().header(ACCEPT, MEDIA_TYPE);
    let request = match method {
        DohMethod::Post => builder
            .method("POST")
            .uri(uri)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .body(Full::new(Bytes::from(message))),
        DohMethod::Get => builder
            .method("GET")
            .uri(format!("{uri}?dns={}", base64url(&message)))
            .body(Full::default()),
    }
    .map_err(io::Error::other)?;
    requests.ready().await.map_err(closed)?;
    let response = requests.send_request(request).await.map_err(closed)?;
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if response.status() != StatusCode::OK {
        return Err(invalid(format!("HTTP status {}", response.status())));
    }
    let media_type = response.headers().get(CONTENT_TYPE);
    if !media_type.is_some_and(|value| is_message(value.as_bytes())) {
        return Err(invalid(format!("the reply is no {MEDIA_TYPE}")));
    }
    let body = Limited::new(response.into_body(), MESSAGE_OCTETS_MAX)
        .collect()
        .await
        .map_err(io::Error::other)?;
    let octets = body.to_bytes().to_vec();
    let is_response = octets.get(2).is_some_and(|flags| flags & 0x80 != 0);
    match is_response && same_question(&octets, query) {
        true => Ok(octets),
        false => Err(invalid("the reply answers another question".to_owned())),
    }
}

/// Whether a content type is that of DNS messages; neither case nor parameters count (RFC 9110
/// section 8.3.1).
fn is_message(content_type: &[u8]) -> bool {
    let essence = content_type.split(|octet| *octet == b';').next();
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(MEDIA_TYPE.as_bytes())
    })
}

/// A connection that the server has closed looks the same, however that came.
pub(crate) fn closed(error: hyper::Error) -> io::Error {
    match error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
        true => io::ErrorKind::UnexpectedEof.into(),
        false => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}

/// Base64 for URLs without padding (RFC 4648 section 5).
fn base64url(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let mut bits = 0;
        for at in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            let letter = bits >> (18 - 6 * at) & 63;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_a_content_type_do_not_count() {
        for (text, expected) in [
            ("application/dns-message", true),
            ("Application/DNS-Message; charset=utf-8", true),
            ("application/dns-messages", false),
            ("application/dns-json", false),
            ("", false),
        ] {
            assert_eq!(is_message(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        // RFC 4648 section 10.
        for (octets, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (&[0xfb, 0xff], "-_8"),
        ] {
            assert_eq!(base64url(octets), text);
        }
    }
}
