//! TCP and TLS: connections with many queries in flight (RFC 7766 section 6.2.1.1).
//!
//! A connection is a task that owns the stream. Queries that are entered at about the same time
//! leave with one write; one read takes many replies.
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::Dial;
use crate::error::Phase;
use crate::flight::{Attended, Carrier, Flight, Limits, Loss, Refusal, Ticket};
use crate::lane::Lane;
use crate::settings::{Protocol, Server, Settings};

/// Queries of one connection's life; ids and counters stay small.
const QUERIES_MAX: u32 = 1_000_000;
/// Octets that one read takes at most.
const READ_OCTETS: usize = 16 * 1024;
/// A connection whose oldest query has waited this long while nothing came is slow: new queries
/// rather take another one.
const SLOW: Duration = Duration::from_millis(200);

/// A connection, from before it is there until its last query has left.
pub(crate) struct Connection {
    flight: Flight,
    local: OnceLock<SocketAddr>,
}

impl Carrier for Connection {
    fn flight(&self) -> &Flight {
        &self.flight
    }
}

/// What a connection's task works with.
pub(crate) struct Route {
    pub(crate) server: Arc<Server>,
    pub(crate) dial: Arc<Dial>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) wait: Duration,
}

impl Connection {
    /// Begins to connect; queries may be entered at once.
    pub(crate) fn open(route: Route, settings: &Settings, lane: &Arc<Lane>) -> Arc<Self> {
        let connection = Arc::new(Self {
            flight: Flight::new(Limits {
                queries: QUERIES_MAX,
                idle: settings.expire,
                age: settings.max_age.unwrap_or(Duration::MAX),
            }),
            local: OnceLock::new(),
        });
        tokio::spawn(Arc::clone(&connection).attend(route, Arc::downgrade(lane)));
        connection
    }

    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.get().copied()
    }

    /// Enters a query, unless so many are in flight already, or the connection is slow where
    /// `patient` is not set.
    pub(crate) fn ask(
        self: &Arc<Self>,
        query: &[u8],
        until: Instant,
        in_flight_max: usize,
        patient: bool,
    ) -> Result<Ticket<Self>, Refusal> {
        let mut inner = self.flight.lock();
        let waiting = inner.in_flight();
        if waiting >= in_flight_max || !patient && inner.is_slow(SLOW) {
            return Err(Refusal::Full);
        }
        let first = inner.entered() == 0;
        let id = inner.enter(query, Instant::now(), until, |message, output| {
            output.extend_from_slice(&(message.len() as u16).to_be_bytes());
            output.extend_from_slice(message);
            Ok(())
        })?;
        inner.wake_task();
        Ok(Ticket::new(Arc::clone(self), id, first))
    }

    async fn attend(self: Arc<Self>, route: Route, lane: Weak<Lane>) {
        let _attended = Attended(&self.flight);
        tokio::select! {
            biased;
            () = self.flight.until_over() => (),
            (phase, error) = self.serve(&route) => {
                if let Some(lane) = lane.upgrade() {
                    lane.note_end(&self);
                }
                let text = error.to_string().into();
                self.flight.fail(&Loss::Broken(phase, error.kind(), text));
            }
        }
        if let Some(lane) = lane.upgrade() {
            lane.forget_connection(&self);
        }
    }

    /// Connects and talks until something breaks.
    async fn serve(&self, route: &Route) -> (Phase, io::Error) {
        let began = Instant::now();
        let limit = route.dial.limit();
        let dialled = match timeout(limit, connect(route)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        route.dial.took(began.elapsed());
        let stream = match dialled {
            Ok(stream) => stream,
            Err(error) => return (Phase::Dial, error),
        };
        if let Ok(local) = stream.local_addr() {
            let _ = self.local.set(local);
        }
        let Protocol::Tls { config, name } = &route.server.protocol else {
            self.flight.lock().begin(route.wait);
            return self.talk(stream).await;
        };
        let connector = TlsConnector::from(Arc::clone(config));
        match timeout(limit, connector.connect(name.clone(), stream)).await {
            Ok(Ok(mut stream)) => {
                // What is in flight is bounded already; a message is never split.
                stream.get_mut().1.set_buffer_limit(None);
                self.flight.lock().begin(route.wait);
                self.talk(stream).await
            }
            Ok(Err(error)) => (Phase::Handshake, error),
            Err(_) => (Phase::Handshake, io::ErrorKind::TimedOut.into()),
        }
    }

    async fn talk(&self, stream: impl Stream) -> (Phase, io::Error) {
        let mut talk = Talk {
            stream,
            output: Vec::new(),
            written: 0,
            flushed: true,
            input: Vec::new(),
            filled: 0,
        };
        poll_fn(|context| talk.go_on(&self.flight, context)).await
    }
}

/// Opens a TCP connection to the server.
pub(crate) async fn connect(route: &Route) -> io::Result<TcpStream> {
    let remote = route.server.address;
    let socket = match remote {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let own = route.source.filter(|ip| ip.is_ipv4() == remote.is_ipv4());
    if let Some(own) = own {
        socket.bind((own, 0).into())?;
    }
    let stream = socket.connect(remote).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// What carries framed messages.
trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Takes framed messages, and returns how many octets of them.
    fn poll_send(&mut self, context: &mut Context<'_>, framed: &[u8]) -> Poll<io::Result<usize>>;
}

impl Stream for TcpStream {
    fn poll_send(&mut self, context: &mut Context<'_>, framed: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(context, framed)
    }
}

impl Stream for TlsStream<TcpStream> {
    /// Each message gets a record of its own; all of them leave with one write.
    ///
    /// Servers that wait for the socket after each query never see the second query of a record
    /// (NSD 4.6 is one): it has been read already.
    fn poll_send(&mut self, _: &mut Context<'_>, framed: &[u8]) -> Poll<io::Result<usize>> {
        let mut writer = self.get_mut().1.writer();
        let mut rest = framed;
        while let Some(length) = rest.first_chunk().map(|own| u16::from_be_bytes(*own)) {
            let length = (2 + usize::from(length)).min(rest.len());
            writer.write_all(&rest[..length])?;
            rest = &rest[length..];
        }
        Poll::Ready(Ok(framed.len()))
    }
}

/// A stream and what is on its way in both directions.
struct Talk<S> {
    stream: S,
    output: Vec<u8>,
    written: usize,
    flushed: bool,
    input: Vec<u8>,
    /// Octets of the input that have been read.
    filled: usize,
}

impl<S: Stream> Talk<S> {
    /// Writes and reads what is possible now; ready when the stream is broken.
    fn go_on(&mut self, flight: &Flight, context: &mut Context<'_>) -> Poll<(Phase, io::Error)> {
        if let Err(error) = self.write(flight, context) {
            return Poll::Ready((Phase::Write, error));
        }
        loop {
            match self.read(flight, context) {
                Poll::Ready(Ok(())) => (),
                Poll::Ready(Err(error)) => return Poll::Ready((Phase::Read, error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Nothing more is taken from the queries that wait before the last ones have left.
    fn write(&mut self, flight: &Flight, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.written == self.output.len() {
                if !self.flushed {
                    self.flushed = Pin::new(&mut self.stream).poll_flush(context)?.is_ready();
                }
                self.output.clear();
                self.written = 0;
                let mut inner = flight.lock();
                inner.register(context);
                if !self.flushed || !inner.take_output(&mut self.output) {
                    return Ok(());
                }
            }
            match self
                .stream
                .poll_send(context, &self.output[self.written..])?
            {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.written += count;
                    self.flushed = false;
                }
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Reads once, and delivers the whole messages.
    fn read(&mut self, flight: &Flight, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.input.len() < self.filled + READ_OCTETS {
            self.input.resize(self.filled + READ_OCTETS, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.filled..]);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.filled += count;
        let mut inner = flight.lock();
        inner.heard(Instant::now());
        let mut rest = &self.input[..self.filled];
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((message, behind)) = behind.split_at_checked(length) else {
                break;
            };
            inner.deliver(message, true);
            rest = behind;
        }
        drop(inner);
        let begun = self.filled - rest.len();
        self.input.copy_within(begun..self.filled, 0);
        self.filled -= begun;
        Poll::Ready(Ok(()))
    }
}
