//! One socket to one server, and the exchange of one query over it.
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_wire::{MESSAGE_OCTETS_MAX, same_question};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Phase, Place, UpstreamError};
use crate::settings::{Protocol, Server};

/// Longest wait for a connection and its TLS session; what remains of a query's budget may be
/// shorter.
const DIAL: Duration = Duration::from_secs(3);
/// Datagrams that one wait looks at: an attacker's flood must not cost more than the answer is
/// worth.
const DATAGRAMS_MAX: usize = 4096;

thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGE_OCTETS_MAX]));

/// An open socket.
pub(crate) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    // Boxed: a session is ten times as large as the others.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Which kind of socket a query needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Datagram,
    Stream,
}

impl Connection {
    /// Opens a socket; ports are the operating system's random ones.
    pub(crate) async fn open(server: &Server, kind: Kind) -> Result<Self, UpstreamError> {
        let mut place = Place {
            network: network(kind),
            local: None,
            remote: server.address,
        };
        if kind == Kind::Datagram {
            let any: SocketAddr = match server.address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let opened = async {
                let socket = UdpSocket::bind(any).await?;
                // Connected, so that the kernel drops datagrams of everybody else and tells of
                // closed ports.
                socket.connect(server.address).await?;
                Ok(socket)
            };
            return opened
                .await
                .map(Self::Udp)
                .map_err(|error| place.error(Phase::Dial, error));
        }
        let opened = timeout(DIAL, TcpStream::connect(server.address))
            .await
            .map_err(|_| place.timeout(Phase::Dial))?;
        let stream = opened.map_err(|error| place.error(Phase::Dial, error))?;
        let _ = stream.set_nodelay(true);
        let Protocol::Tls { config, name } = &server.protocol else {
            return Ok(Self::Tcp(stream));
        };
        place.local = stream.local_addr().ok();
        let shaken = timeout(
            DIAL,
            TlsConnector::from(config.clone()).connect(name.clone(), stream),
        )
        .await;
        let stream = shaken.map_err(|_| place.timeout(Phase::Dial))?;
        stream
            .map(|stream| Self::Tls(Box::new(stream)))
            .map_err(|error| place.error(Phase::Dial, error))
    }

    /// Sends a query and waits for its reply; the query's id is replaced by a random one.
    pub(crate) async fn exchange(
        &mut self,
        query: &[u8],
        remote: SocketAddr,
        wait: Duration,
    ) -> Result<Vec<u8>, UpstreamError> {
        let id = rand::random::<u16>().to_be_bytes();
        let mut message = Vec::with_capacity(2 + query.len());
        message.extend_from_slice(&(query.len() as u16).to_be_bytes());
        message.extend_from_slice(query);
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&id);
        }
        let place = Place {
            network: network(self.kind()),
            local: self.local(),
            remote,
        };
        let read = match self {
            Self::Udp(socket) => {
                socket
                    .send(&message[2..])
                    .await
                    .map_err(|error| place.error(Phase::Write, error))?;
                timeout(wait, receive(socket, &message[2..])).await
            }
            Self::Tcp(stream) => {
                stream
                    .write_all(&message)
                    .await
                    .map_err(|error| place.error(Phase::Write, error))?;
                timeout(wait, read(stream, &message[2..])).await
            }
            Self::Tls(stream) => {
                let sent = async { stream.write_all(&message).await.and(stream.flush().await) };
                sent.await
                    .map_err(|error| place.error(Phase::Write, error))?;
                timeout(wait, read(stream, &message[2..])).await
            }
        };
        read.map_err(|_| place.timeout(Phase::Read))?
            .map_err(|error| place.error(Phase::Read, error))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Udp(_) => Kind::Datagram,
            Self::Tcp(_) | Self::Tls(_) => Kind::Stream,
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr().ok(),
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Tls(stream) => stream.get_ref().0.local_addr().ok(),
        }
    }
}

fn network(kind: Kind) -> &'static str {
    match kind {
        Kind::Datagram => "udp",
        Kind::Stream => "tcp",
    }
}

/// Whether a message is the response to the query: id and question are the same (RFC 5452 section
/// 9.1).
fn answers(message: &[u8], query: &[u8]) -> bool {
    message.get(..2) == query.get(..2)
        && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && same_question(message, query)
}

/// Waits for the response; whatever else arrives is ignored.
async fn receive(socket: &UdpSocket, query: &[u8]) -> io::Result<Vec<u8>> {
    for _ in 0..DATAGRAMS_MAX {
        socket.readable().await?;
        let found = SCRATCH.with_borrow_mut(|scratch| match socket.try_recv(scratch) {
            Ok(length) => Ok(Some(&scratch[..length])
                .filter(|message| answers(message, query))
                .map(<[u8]>::to_vec)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        })?;
        if let Some(message) = found {
            return Ok(message);
        }
    }
    Err(io::Error::other(format!(
        "{DATAGRAMS_MAX} datagrams, none of which answers the query"
    )))
}

/// Reads the response; on a connection of our own nothing else can come, so anything else is an
/// error.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    query: &[u8],
) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    match answers(&message, query) {
        true => Ok(message),
        false => Err(io::Error::other("the reply does not answer the query")),
    }
}
