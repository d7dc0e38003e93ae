//! UDP: random ports that carry a number of queries each.
//!
//! A port serves [`PORT_QUERIES`] queries or [`PORT_AGE`], then a fresh one is opened; each query
//! has a random id on it. Whoever wants to forge an answer has to guess both, at least 2^30
//! possibilities (RFC 5452 section 9.2), and has little time to find out about a port.
use std::cell::RefCell;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

use corten_wire::MESSAGE_OCTETS_MAX;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::error::Phase;
use crate::flight::{Attended, Carrier, Flight, Limits, Loss, Refusal, Ticket};
use crate::lane::Lane;
use crate::upstream::Ask;

/// Queries that one port carries; opening another costs about as much as asking one query.
const PORT_QUERIES: u32 = 128;
/// How long a port is used.
const PORT_AGE: Duration = Duration::from_secs(2);
/// Datagrams read in a row, before others have their turn.
const DATAGRAMS: usize = 64;

/// A port that is closed is told as an error, and not as something to read.
const EVENTS: Interest = Interest::READABLE.add(Interest::ERROR);

thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGE_OCTETS_MAX]));

/// A socket on a random port, connected to the server: the kernel drops datagrams of everybody
/// else, and tells when the server's port is closed.
pub(crate) struct Port {
    socket: UdpSocket,
    flight: Flight,
    pub(crate) local: Option<SocketAddr>,
}

impl Carrier for Port {
    fn flight(&self) -> &Flight {
        &self.flight
    }
}

impl Port {
    /// Opens a port and its task.
    pub(crate) fn open(
        remote: SocketAddr,
        source: Option<IpAddr>,
        expire: Duration,
        lane: &Arc<Lane>,
    ) -> io::Result<Arc<Self>> {
        let any: IpAddr = match remote {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let own = source.filter(|ip| ip.is_ipv4() == remote.is_ipv4());
        // Port 0 is a random one; Linux does not count up.
        let socket = StdSocket::bind((own.unwrap_or(any), 0))?;
        socket.connect(remote)?;
        socket.set_nonblocking(true)?;
        let port = Arc::new(Self {
            local: socket.local_addr().ok(),
            socket: UdpSocket::from_std(socket)?,
            flight: Flight::new(Limits {
                queries: PORT_QUERIES,
                idle: expire.min(PORT_AGE),
                age: PORT_AGE,
            }),
        });
        tokio::spawn(Arc::clone(&port).attend(Arc::downgrade(lane)));
        Ok(port)
    }

    /// Sends a query.
    pub(crate) fn ask(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Ticket<Self>, Refusal> {
        let until = ask.end.min(ask.began + ask.settings.read_timeout);
        let mut inner = self.flight.lock();
        let first = inner.entered() == 0;
        let id = inner.enter(ask.query, ask.began, until, |message, _| {
            // Not tokio's call, which waits for the first readiness.
            SockRef::from(&self.socket).send(message).map(|_| ())
        })?;
        Ok(Ticket::new(Arc::clone(self), id, first))
    }

    /// Reads what arrives, until the last query has left.
    async fn attend(self: Arc<Self>, lane: Weak<Lane>) {
        let _attended = Attended(&self.flight);
        let reading = async {
            while let Ok(ready) = self.socket.ready(EVENTS).await {
                // Tokio's calls know one of them at a time.
                let event = match ready.is_error() {
                    true => Interest::ERROR,
                    false => Interest::READABLE,
                };
                match self.receive(event) {
                    // Others have their turn.
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                    Err(error) => {
                        let text = error.to_string().into();
                        self.flight
                            .fail(&Loss::Broken(Phase::Read, error.kind(), text));
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.flight.until_over() => (),
            () = reading => (),
        }
        if let Some(lane) = lane.upgrade() {
            lane.forget_port(&self);
        }
    }

    /// Delivers a number of datagrams; an error, such as `WouldBlock`, when there are no more.
    fn receive(&self, event: Interest) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.socket.try_io(event, || {
                let socket = SockRef::from(&self.socket);
                let mut inner = self.flight.lock();
                for _ in 0..DATAGRAMS {
                    let length = (&*socket).read(scratch)?;
                    let message = scratch.get(..length).unwrap_or_default();
                    inner.deliver(message, false);
                }
                Ok(())
            })
        })
    }
}
