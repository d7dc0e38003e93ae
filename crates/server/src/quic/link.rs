//! What the queries of one connection share.
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use corten_corefile::Transport as Scheme;
use corten_metrics::{Counter, registry};
use corten_plugin::Transport;
use corten_web::http3::uni::Kind;
use corten_wire::{Opcode, Query, RecordType};
use quinn::{Connection, VarInt};
use tokio::sync::{Notify, watch};

use super::until_last_words_arrive;
use crate::answer::Journey;
use crate::connections::Member;
use crate::generation::Listener;
use crate::limits;
use crate::udp::Place;

/// DOQ_EXCESSIVE_LOAD (RFC 9250 section 8.4) and H3_EXCESSIVE_LOAD (RFC 9114 section 8.1).
const DOQ_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
const H3_EXCESSIVE_LOAD: VarInt = VarInt::from_u32(0x107);

/// What is said to a client that wants too much.
pub(super) fn excessive_load(scheme: Scheme) -> VarInt {
    match scheme {
        Scheme::Https3 => H3_EXCESSIVE_LOAD,
        _ => DOQ_EXCESSIVE_LOAD,
    }
}

thread_local! {
    /// Streams of this worker that are not finished.
    static UNFINISHED: Cell<usize> = const { Cell::new(0) };
}

/// One connection, for all tasks that answer its queries.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// With whom the handshake was.
    client: SocketAddr,
    pub(super) listener: Listener,
    transport: Transport,
    /// Whether the handshake is over: before, what comes in may be a replay.
    shaken: watch::Sender<bool>,
    member: OnceLock<Member>,
    begun: Instant,
    /// Milliseconds from then to the last whole query or reply.
    heard: AtomicU64,
    /// Octets of queries and replies that the connection's tasks hold.
    held: AtomicUsize,
    /// Queries that are being answered.
    waiting: AtomicUsize,
    /// Told when there are none any more, and when no stream is unfinished any more.
    answered: Notify,
    /// Streams whose query or end has not come yet.
    unfinished: AtomicUsize,
    /// Which of HTTP/3's streams for itself the client has opened, one bit each.
    opened: AtomicU8,
}

impl Link {
    pub(super) fn new(
        connection: Connection,
        client: SocketAddr,
        listener: Listener,
        is_shaken: bool,
    ) -> Arc<Self> {
        let transport = match listener.transport {
            Scheme::Https3 => Transport::Https3,
            _ => Transport::Quic,
        };
        Arc::new(Self {
            connection,
            client,
            listener,
            transport,
            shaken: watch::channel(is_shaken).0,
            member: OnceLock::new(),
            begun: Instant::now(),
            heard: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            answered: Notify::new(),
            unfinished: AtomicUsize::new(0),
            opened: AtomicU8::new(0),
        })
    }

    /// The handshake is over, and the connection counts.
    pub(super) fn set_shaken(&self, member: Member) {
        let _ = self.member.set(member);
        self.shaken.send_replace(true);
    }

    pub(super) fn is_shaken(&self) -> bool {
        *self.shaken.borrow()
    }

    /// Returns when the handshake is over; never, when it fails: the connection ends then.
    pub(super) async fn until_shaken(&self) {
        let mut shaken = self.shaken.subscribe();
        let _ = shaken.wait_for(|shaken| *shaken).await;
    }

    /// Where a query comes from.
    pub(super) fn journey(&self, received: Instant) -> Journey {
        let address = self.listener.address;
        let local = self.connection.local_ip().unwrap_or_else(|| address.ip());
        Journey {
            client: self.client,
            local: SocketAddr::new(local.to_canonical(), address.port()),
            transport: self.transport,
            received,
        }
    }

    /// Notes that a whole query came or a reply went.
    pub(super) fn heard(&self, when: Instant) {
        let since = when.saturating_duration_since(self.begun);
        self.heard.store(since.as_millis() as u64, Relaxed);
        if let Some(member) = self.member.get() {
            member.heard(when, self.waiting.load(Relaxed) > 0);
        }
    }

    /// When that was; at first when the connection began.
    pub(super) fn last_heard(&self) -> Instant {
        self.begun + Duration::from_millis(self.heard.load(Relaxed))
    }

    /// Whether queries are being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Returns when nothing is being answered, and nothing on its way to be.
    pub(super) async fn until_idle(&self) {
        while self.is_busy() || self.unfinished.load(Relaxed) > 0 {
            self.answered.notified().await;
        }
    }

    /// One more query that is being answered, as long as what is returned lives.
    pub(super) fn work(self: &Arc<Self>) -> Work {
        self.waiting.fetch_add(1, Relaxed);
        self.heard(Instant::now());
        Work(Arc::clone(self))
    }

    /// Room for the octets of a query or a reply, which is given back with what is returned; nothing
    /// when the connection holds too many.
    pub(super) fn hold(self: &Arc<Self>, octets: usize) -> Option<Held> {
        let before = self.held.fetch_add(octets, Relaxed);
        let held = Held {
            link: Arc::clone(self),
            octets,
        };
        (before + octets <= limits::QUIC_HELD_OCTETS).then_some(held)
    }

    /// One more stream whose query or end has not come yet; nothing when there are too many.
    pub(super) fn unfinished(self: &Arc<Self>) -> Option<Unfinished> {
        let all = UNFINISHED.with(Cell::get);
        let own = self.unfinished.load(Relaxed);
        let is_crowded = all >= limits::QUIC_UNFINISHED_MAX / 2;
        if all >= limits::QUIC_UNFINISHED_MAX || is_crowded && own >= limits::QUIC_UNFINISHED_FEW {
            return None;
        }
        UNFINISHED.with(|count| count.set(all + 1));
        self.unfinished.fetch_add(1, Relaxed);
        Some(Unfinished(Arc::clone(self)))
    }

    /// Whether the client has not opened this one of its streams for itself before.
    pub(super) fn opens(&self, kind: Kind) -> bool {
        let bit = 1 << kind as u8;
        self.opened.fetch_or(bit, Relaxed) & bit == 0
    }

    /// Ends the connection; what was sent last still arrives.
    pub(super) async fn part(&self, code: VarInt) {
        until_last_words_arrive(&self.connection).await;
        self.connection.close(code, b"");
    }
}

/// A query that is being answered.
pub(super) struct Work(Arc<Link>);

impl Drop for Work {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Relaxed) == 1 {
            self.0.answered.notify_one();
        }
        self.0.heard(Instant::now());
    }
}

/// A stream that is not finished. Dropped on the thread that began it.
pub(super) struct Unfinished(Arc<Link>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.unfinished.fetch_sub(1, Relaxed) == 1 {
            self.0.answered.notify_one();
        }
        let _ = UNFINISHED.try_with(|count| count.set(count.get().saturating_sub(1)));
    }
}

/// What a stream in a task of its own takes up, as long as it does.
#[derive(Default)]
pub(super) struct Claim {
    /// Its query or its end has not come yet.
    pub(super) unfinished: Option<Unfinished>,
    /// It waits for the network.
    pub(super) place: Option<Place>,
    /// It is being answered.
    pub(super) work: Option<Work>,
}

/// Octets that a connection holds.
pub(super) struct Held {
    link: Arc<Link>,
    octets: usize,
}

impl Held {
    /// Holds more; whether there is room.
    pub(super) fn grow(&mut self, octets: usize) -> bool {
        self.octets += octets;
        self.link.held.fetch_add(octets, Relaxed) + octets <= limits::QUIC_HELD_OCTETS
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.held.fetch_sub(self.octets, Relaxed);
    }
}

/// Whether answering a query twice does no harm, so that it may be answered before it is known to be
/// no replay (RFC 9250 section 4.5): lookups. A zone transfer would be much for an answer to
/// somebody who replays.
pub(super) fn is_replayable(query: &Query) -> bool {
    query.opcode() == Opcode::QUERY
        && !matches!(query.question.rtype, RecordType::AXFR | RecordType::IXFR)
}

/// What is counted of DoQ: a status for each reply, and for each connection that the server ends for
/// the client's mistake. That a client leaves is no error.
pub(super) struct Counters {
    pub(super) no_error: Counter,
    pub(super) protocol_error: Counter,
}

impl Counters {
    /// Those of a listener, called as in the other metrics.
    pub(super) fn of(server: &str) -> Self {
        let counter = |status| {
            registry().counter(
                "coredns_dns_quic_responses_total",
                "Counter of DoQ responses per server and QUIC application code.",
                &[("server", server), ("status", status)],
            )
        };
        Self {
            no_error: counter("0x0"),
            protocol_error: counter("0x2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_may_be_repeated_and_nothing_else() {
        let asks = |opcode: u8, rtype: u16| {
            let mut message = vec![0, 0, opcode << 3, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0];
            message.extend_from_slice(&rtype.to_be_bytes());
            message.extend_from_slice(&[0, 1]);
            let mut query = Query::default();
            let _ = query.read(&message);
            is_replayable(&query)
        };
        assert!(asks(0, 1));
        // AXFR, IXFR; NOTIFY, UPDATE.
        for (opcode, rtype) in [(0, 252), (0, 251), (4, 6), (5, 6)] {
            assert!(!asks(opcode, rtype), "{opcode} {rtype}");
        }
    }
}
