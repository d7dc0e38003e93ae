//! A client of DNS over QUIC and over HTTP/3, on quinn; HTTP/3 by hand.
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime,
    TransportConfig,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::client::{self, NoAnswer, Options, Query};
use crate::message::Message;
use crate::server::PATIENCE;

/// A runtime and an endpoint in it.
pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    endpoint: Endpoint,
    config: ClientConfig,
    /// The endpoint's own, to look at.
    socket: UdpSocket,
}

impl Client {
    /// A client that speaks this protocol, `doq` or `h3`, and trusts `ca.pem` of the folder.
    pub(crate) fn new(protocol: &str, folder: &Path) -> Self {
        Self::with(protocol, folder, TransportConfig::default())
    }

    pub(crate) fn with(protocol: &str, folder: &Path, transport: TransportConfig) -> Self {
        let mut tls = client::config(&Options::new(), folder);
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        tls.enable_early_data = true;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Arc::new(transport));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = socket.try_clone().unwrap();
        let endpoint = {
            let _inside = runtime.enter();
            let runtime = Arc::new(TokioRuntime);
            Endpoint::new(EndpointConfig::default(), None, socket, runtime).unwrap()
        };
        Self {
            runtime,
            endpoint,
            config,
            socket: own,
        }
    }

    /// Returns when the server has said something, which nobody reads.
    pub(crate) fn until_it_hears(&self) {
        let until = Instant::now() + PATIENCE;
        while self.socket.peek(&mut [0]).is_err() {
            assert!(Instant::now() < until, "the server is silent");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Begins a connection.
    pub(crate) fn connecting(&self, port: u16) -> quinn::Connecting {
        let _inside = self.runtime.enter();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = self.config.clone();
        let connecting = self.endpoint.connect_with(config, address, "localhost");
        connecting.unwrap()
    }

    /// Shakes hands.
    pub(crate) fn connect(&self, port: u16) -> Option<Connection> {
        let connecting = self.connecting(port);
        self.run(connecting).and_then(Result::ok)
    }

    /// Goes on from another address, with the connections that there are.
    pub(crate) fn rebind(&self, address: Ipv4Addr) {
        let _inside = self.runtime.enter();
        let socket = UdpSocket::bind((address, 0)).unwrap();
        self.endpoint.rebind(socket).unwrap();
    }

    /// Waits for something, ten seconds at most.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let bounded = async { timeout(Duration::from_secs(10), future).await.ok() };
        self.runtime.block_on(bounded)
    }
}

/// With which code the server ended a connection.
pub(crate) fn code(end: &ConnectionError) -> Option<u64> {
    match end {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// A query as DoQ wants it: the length in front, the ID 0.
pub(crate) fn framed(query: &Query) -> Vec<u8> {
    let mut framed = (query.wire.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query.wire);
    framed[2..4].copy_from_slice(&[0, 0]);
    framed
}

/// Sends octets on a stream of their own, and the end; returns what comes back until its end.
pub(crate) async fn exchange(connection: &Connection, octets: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    send.write_all(octets).await.ok()?;
    send.finish().ok()?;
    recv.read_to_end(1 << 17).await.ok()
}

/// Sends a query over `+quic` or `+https3`.
pub(crate) fn send(
    query: &Query,
    opts: &Options,
    port: u16,
    folder: &Path,
) -> Result<Message, NoAnswer> {
    let timed_out = || NoAnswer("error Timeout");
    if opts.contains_key("quic") {
        let client = Client::new("doq", folder);
        let connection = client.connect(port).ok_or(NoAnswer("error QUIC"))?;
        let answer = client.run(exchange(&connection, &framed(query)));
        let answer = answer
            .ok_or_else(timed_out)?
            .ok_or(NoAnswer("error QUIC"))?;
        let length = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
        assert_eq!(length, answer.len() - 2, "one message, and the end");
        return Ok(Message::read(&answer[2..]).expect("a message"));
    }
    let client = Client::new("h3", folder);
    let connection = client.connect(port).ok_or(NoAnswer("error QUIC"))?;
    let request = post("/dns-query", &query.wire);
    let answer = client.run(exchange(&connection, &request));
    let answer = answer
        .ok_or_else(timed_out)?
        .ok_or(NoAnswer("error QUIC"))?;
    let (status, body) = response(&answer);
    match status.as_str() {
        "200" => Ok(Message::read(&body).expect("a message")),
        _ => Err(NoAnswer("error HTTP")),
    }
}

/// A frame of HTTP/3.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u32 | 0x8000_0000).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A POST request with a DNS message.
pub(crate) fn post(path: &str, message: &[u8]) -> Vec<u8> {
    // :method POST, :scheme https, :path, :authority, content-type.
    let mut block = b"\0\0\xd4\xd7\x51".to_vec();
    block.push(path.len() as u8);
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x50\x09localhost\xec");
    [frame(1, &block), frame(0, message)].concat()
}

/// Status and body of a response.
pub(crate) fn response(octets: &[u8]) -> (String, Vec<u8>) {
    let (mut status, mut body, mut rest) = (String::new(), Vec::new(), octets);
    while let [kind, more @ ..] = rest {
        let size = 1 << (more[0] >> 6);
        let length = more[1..size]
            .iter()
            .fold(usize::from(more[0] & 0x3f), |sum, octet| {
                sum << 8 | usize::from(*octet)
            });
        let payload = &more[size..size + length];
        rest = &more[size + length..];
        match kind {
            0 => body.extend_from_slice(payload),
            // The status stands in front: 200 in the static table, others as digits.
            1 if payload[2] == 0xd9 => status.push_str("200"),
            1 => {
                let digits = payload[2..].windows(4).find(|octets| octets[0] == 3);
                status.push_str(&String::from_utf8_lossy(&digits.unwrap()[1..]));
            }
            _ => (),
        }
    }
    (status, body)
}
