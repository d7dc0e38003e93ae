//! One server: kept sockets, health.
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use corten_wire::{Class, Query, Question, RecordType};

use crate::connection::{Connection, Kind};
use crate::error::UpstreamError;
use crate::settings::{Protocol, Server, Settings};

/// Sets of kept sockets; a worker uses the one of its number, so that workers do not meet.
const SHELVES: usize = 16;
/// Checks grow apart to this many intervals.
const CHECK_INTERVALS_MAX: u32 = 16;

/// One server.
pub struct Upstream {
    server: Server,
    shelves: [Mutex<Shelf>; SHELVES],
    /// Checks that failed since the last reply.
    fails: AtomicU32,
    checking: AtomicBool,
}

/// Unused sockets, the longest unused first.
#[derive(Default)]
struct Shelf {
    datagram: VecDeque<(Connection, Instant)>,
    stream: VecDeque<(Connection, Instant)>,
}

impl Shelf {
    fn of(&mut self, kind: Kind) -> &mut VecDeque<(Connection, Instant)> {
        match kind {
            Kind::Datagram => &mut self.datagram,
            Kind::Stream => &mut self.stream,
        }
    }
}

impl Upstream {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            server,
            shelves: Default::default(),
            fails: AtomicU32::new(0),
            checking: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether more checks than `max_fails` have failed since it last answered.
    pub fn is_down(&self, max_fails: u32) -> bool {
        max_fails != 0 && self.fails.load(Relaxed) > max_fails
    }

    /// Asks one query. A kept connection that turns out to be closed is replaced by a fresh one,
    /// once.
    pub(crate) async fn exchange(
        &self,
        query: &[u8],
        kind: Kind,
        settings: &Settings,
        wait: Duration,
    ) -> Result<Vec<u8>, UpstreamError> {
        let kind = match self.server.protocol {
            Protocol::Tls { .. } => Kind::Stream,
            Protocol::Plain => kind,
        };
        if let Some(mut kept) = self.take(kind, settings.expire) {
            match kept.exchange(query, self.server.address, wait).await {
                Ok(reply) => {
                    self.put(kept, settings);
                    return Ok(reply);
                }
                Err(error) if kind == Kind::Stream && was_closed(&error) => (),
                Err(error) => return Err(error),
            }
        }
        let mut fresh = Connection::open(&self.server, kind).await?;
        let reply = fresh.exchange(query, self.server.address, wait).await?;
        self.put(fresh, settings);
        Ok(reply)
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: usize = NEXT.fetch_add(1, Relaxed) % SHELVES);
        self.shelves[OWN.with(|own| *own)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, kind: Kind, expire: Duration) -> Option<Connection> {
        let mut shelf = self.shelf();
        let kept = shelf.of(kind);
        let now = Instant::now();
        // The longest unused are in front: those beyond their time go, the rest is used last in,
        // first out.
        while kept
            .front()
            .is_some_and(|(_, since)| now.duration_since(*since) >= expire)
        {
            kept.pop_front();
        }
        kept.pop_back().map(|(connection, _)| connection)
    }

    fn put(&self, connection: Connection, settings: &Settings) {
        let mut shelf = self.shelf();
        let kept = shelf.of(connection.kind());
        kept.push_back((connection, Instant::now()));
        if settings.idle_max != 0 && kept.len() > settings.idle_max {
            kept.pop_front();
        }
    }

    /// Begins to check the server until it answers, unless that is under way. Ends with the server.
    pub(crate) fn check(self: &Arc<Self>, settings: &Arc<Settings>) {
        if settings.max_fails == 0 || self.checking.swap(true, Relaxed) {
            return;
        }
        tokio::spawn(check(Arc::downgrade(self), Arc::clone(settings)));
    }
}

async fn check(upstream: Weak<Upstream>, settings: Arc<Settings>) {
    let check = &settings.health_check;
    let question = Question {
        name: check.domain.clone(),
        rtype: RecordType::NS,
        class: Class::IN,
    };
    let mut query = Query::ask(0, &question).octets().to_vec();
    query[2] = u8::from(check.recursion_desired);
    let mut interval = check.interval;
    loop {
        let Some(server) = upstream.upgrade() else {
            return;
        };
        // Over a fresh socket: a kept one might hide that the server is back, or gone.
        let stream = settings.force_tcp || matches!(server.server.protocol, Protocol::Tls { .. });
        let kind = if stream { Kind::Stream } else { Kind::Datagram };
        let asked = async {
            let mut connection = Connection::open(&server.server, kind).await?;
            connection
                .exchange(&query, server.server.address, settings.read_timeout)
                .await
        };
        // Any reply will do, whatever its RCODE.
        if asked.await.is_ok() {
            server.fails.store(0, Relaxed);
            server.checking.store(false, Relaxed);
            return;
        }
        server.fails.fetch_add(1, Relaxed);
        drop(server);
        tokio::time::sleep(interval).await;
        interval = (interval * 2).min(check.interval * CHECK_INTERVALS_MAX);
    }
}

/// Whether the peer had closed the connection before it read the query.
fn was_closed(error: &UpstreamError) -> bool {
    let UpstreamError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}
