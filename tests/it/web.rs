//! Queries over HTTPS and gRPC: `query +https [+get] [+http1]` and `query +grpc [+grpctls]`.
//!
//! HTTP/2 is that of the `h2` crate, which shares no code with the server.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{self, NoAnswer, Options, Query};
use crate::message::Message;

const MEDIA_TYPE: &str = "application/dns-message";
const METHOD: &str = "/coredns.dns.DnsService/Query";

/// Whether these options say HTTP.
pub(crate) fn is_for(opts: &Options) -> bool {
    ["https", "get", "http1", "grpc"]
        .iter()
        .any(|opt| opts.contains_key(*opt))
}

/// Sends a query and reads the reply.
pub(crate) fn send(
    query: &Query,
    opts: &Options,
    address: SocketAddr,
    timeout: Duration,
    folder: &Path,
) -> Result<Message, NoAnswer> {
    let reply = if opts.contains_key("grpc") {
        wait(timeout, grpc(query, opts, address, folder))
            .unwrap_or(Err("error grpc DEADLINE_EXCEEDED"))
    } else if opts.contains_key("http1") {
        over_http1(query, opts, address, folder)
    } else {
        wait(timeout, doh(query, opts, address, folder)).unwrap_or(Err("error Timeout"))
    };
    let octets = reply.map_err(NoAnswer)?;
    Message::read(&octets).ok_or(NoAnswer("error unreadable"))
}

/// Runs a client; nothing when it takes too long.
pub(crate) fn wait<T>(timeout: Duration, client: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(timeout, client).await.ok() })
}

/// A connection's requests; with TLS, `h2` is agreed upon and the certificate is for `name`.
pub(crate) async fn connect(
    address: SocketAddr,
    tls: Option<(&str, &Path)>,
) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let Some((name, folder)) = tls else {
        return shake_hands(stream).await;
    };
    let mut config = client::config(&Options::new(), folder);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    shake_hands(stream).await
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> io::Result<SendRequest<Bytes>> {
    let (requests, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    requests.ready().await.map_err(io::Error::other)
}

/// What came back: status and fields, body, trailers.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Sends one request and reads its response.
pub(crate) async fn exchange(
    requests: &mut SendRequest<Bytes>,
    request: Request<()>,
    body: Vec<u8>,
) -> Result<Answer, h2::Error> {
    let (response, mut sender) = requests.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        sender.send_data(Bytes::from(body), true)?;
    }
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer {
        head,
        body,
        trailers,
    })
}

async fn doh(
    query: &Query,
    opts: &Options,
    address: SocketAddr,
    folder: &Path,
) -> Result<Vec<u8>, &'static str> {
    let name = opts.get("sni").map_or("localhost", String::as_str);
    let mut requests = connect(address, Some((name, folder)))
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => "error ConnectionRefusedError",
            _ => "error TLS",
        })?;
    let uri = format!("https://{name}:{}/dns-query", address.port());
    let (request, body) = match opts.contains_key("get") {
        true => {
            let uri = format!("{uri}?dns={}", base64url(&query.wire));
            (Request::get(uri).header("accept", MEDIA_TYPE), Vec::new())
        }
        false => {
            let request = Request::post(uri)
                .header("content-type", MEDIA_TYPE)
                .header("content-length", query.wire.len());
            (request, query.wire.clone())
        }
    };
    let answer = exchange(&mut requests, request.body(()).unwrap(), body)
        .await
        .map_err(|_| "error HTTP")?;
    let media_type = answer.head.headers.get("content-type");
    match answer.head.status == 200 && media_type.is_some_and(|value| value == MEDIA_TYPE) {
        true => Ok(answer.body),
        false => Err("error HTTP status"),
    }
}

fn over_http1(
    query: &Query,
    opts: &Options,
    address: SocketAddr,
    folder: &Path,
) -> Result<Vec<u8>, &'static str> {
    let name = opts.get("sni").map_or("localhost", String::as_str);
    let mut url = format!("https://{name}:{}/dns-query", address.port());
    let mut opts = opts.clone();
    let method = match opts.contains_key("get") {
        true => {
            url.push_str(&format!("?dns={}", base64url(&query.wire)));
            "GET"
        }
        false => {
            let body = query
                .wire
                .iter()
                .map(|octet| format!("{octet:02x}"))
                .collect();
            opts.insert("body".to_owned(), body);
            "POST"
        }
    };
    let headers = [("Content-Type", MEDIA_TYPE)];
    let response =
        crate::http::request(method, &url, &headers, &opts, folder).map_err(|_| "error TLS")?;
    match response.status {
        200 => Ok(response.body),
        _ => Err("error HTTP status"),
    }
}

async fn grpc(
    query: &Query,
    opts: &Options,
    address: SocketAddr,
    folder: &Path,
) -> Result<Vec<u8>, &'static str> {
    const UNAVAILABLE: &str = "error grpc UNAVAILABLE";
    let tls = opts
        .contains_key("grpctls")
        .then_some(("dns.example.org", folder));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut requests = connect(address, tls).await.map_err(|_| UNAVAILABLE)?;
    let uri = format!("{scheme}://{address}{METHOD}");
    let answer = exchange(&mut requests, call(&uri), packet(&query.wire))
        .await
        .map_err(|_| UNAVAILABLE)?;
    let fields = answer.trailers.as_ref().unwrap_or(&answer.head.headers);
    match fields
        .get("grpc-status")
        .and_then(|value| value.to_str().ok())
    {
        Some("0") => message(&answer.body).ok_or("error grpc INTERNAL"),
        Some("2") => Err("error grpc UNKNOWN"),
        Some("12") => Err("error grpc UNIMPLEMENTED"),
        Some("13") => Err("error grpc INTERNAL"),
        _ => Err(UNAVAILABLE),
    }
}

/// The head of a call.
pub(crate) fn call(uri: &str) -> Request<()> {
    Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A call's body: `DnsPacket { msg }`.
pub(crate) fn packet(message: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x0a];
    let mut rest = message.len();
    while rest >= 0x80 {
        packet.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    packet.push(rest as u8);
    packet.extend_from_slice(message);
    let mut body = vec![0];
    body.extend_from_slice(&(packet.len() as u32).to_be_bytes());
    body.extend(packet);
    body
}

fn message(body: &[u8]) -> Option<Vec<u8>> {
    let packet = body.get(5..)?.strip_prefix(&[0x0a])?;
    let digits = packet.iter().position(|octet| octet & 0x80 == 0)? + 1;
    Some(packet[digits..].to_vec())
}

/// Base64 for URLs without padding.
pub(crate) fn base64url(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let mut bits = 0;
        for at in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}
