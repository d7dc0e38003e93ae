//! Several servers: policy, failover, the budget of a query.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use corten_wire::Rcode;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::error::UpstreamError;
use crate::settings::{Policy, Server, Settings};
use crate::tally::Network;
use crate::upstream::{Ask, Kind, Reply, Upstream};

/// A query is given up after this time, so that the answer is there before clients ask again, after
/// five seconds.
const BUDGET: Duration = Duration::from_millis(4800);
/// Servers that fail at once are not asked without end: from the third round on each one waits
/// this much longer.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Servers that can stand in for one another.
pub struct Group {
    upstreams: ArcSwap<Vec<Arc<Upstream>>>,
    settings: Arc<Settings>,
    turn: AtomicUsize,
    in_flight: AtomicUsize,
    /// Why no server is known; empty once there are some.
    known: watch::Sender<Option<String>>,
}

/// A reply and who gave it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The response, with an id of its own.
    pub octets: Vec<u8>,
    /// The server.
    pub upstream: Arc<Upstream>,
    /// How it was asked.
    pub network: Network,
}

/// One query to one server and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who was asked.
    pub server: SocketAddr,
    /// From which address, if that is known.
    pub local: Option<SocketAddr>,
    /// How.
    pub network: Network,
    /// The query, with the client's id.
    pub query: &'a [u8],
    /// The response as it came.
    pub reply: Option<&'a [u8]>,
    /// How long it took.
    pub took: Duration,
}

/// Who wants to know what happens on the way to an answer.
pub trait Observer: Sync {
    /// Every server counts as down.
    fn all_down(&self) {}

    /// Whether [`Observer::attempted`] is to be called.
    fn wants_attempts(&self) -> bool {
        false
    }

    /// A server was asked.
    fn attempted(&self, attempt: &Attempt<'_>) {
        let _ = attempt;
    }
}

/// Nobody does.
impl Observer for () {}

/// One of the group's queries in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Group {
    /// A group; nothing is opened before the first query.
    pub fn new(servers: Vec<Server>, settings: Settings) -> Self {
        let group = Self {
            upstreams: ArcSwap::default(),
            settings: Arc::new(settings),
            turn: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            known: watch::Sender::new(None),
        };
        group.replace(servers);
        group
    }

    /// The servers now.
    pub fn upstreams(&self) -> Arc<Vec<Arc<Upstream>>> {
        self.upstreams.load_full()
    }

    /// How they are asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes other servers; those that stay keep their connections and what is known about their
    /// health. Queries that wait for the first address go on.
    pub fn replace(&self, servers: Vec<Server>) {
        let old = self.upstreams.load();
        let upstreams: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let kept = old.iter().find(|upstream| *upstream.server() == server);
                kept.map_or_else(
                    || Arc::new(Upstream::new(server, &self.settings)),
                    Arc::clone,
                )
            })
            .collect();
        let some = !upstreams.is_empty();
        self.upstreams.store(Arc::new(upstreams));
        if some {
            self.known.send_replace(None);
        }
    }

    /// Tells queries that wait for an address why there is none.
    pub fn explain_absence(&self, reason: &str) {
        if self.upstreams.load().is_empty() {
            self.known.send_replace(Some(format!(": {reason}")));
        }
    }

    /// Asks the servers in the policy's order until one answers, or the time or the attempts are
    /// used up.
    ///
    /// `datagram`: the client came over UDP.
    pub async fn ask(
        &self,
        query: &[u8],
        datagram: bool,
        observer: &impl Observer,
    ) -> Result<Answered, UpstreamError> {
        let _in_flight = self.enter()?;
        let settings = &*self.settings;
        let kind = match (datagram || settings.prefer_udp) && !settings.force_tcp {
            true => Kind::Datagram,
            false => Kind::Stream,
        };
        let mut began = Instant::now();
        let end = began + BUDGET;
        let upstreams = match self.upstreams() {
            known if !known.is_empty() => known,
            _ => Box::pin(self.first_upstreams()).await?,
        };
        let attempts_max = match settings.attempts_max {
            0 => 2 * upstreams.len(),
            number => number,
        };
        let mut order = Order::new(settings.policy, &self.turn, upstreams.len());
        let (mut down, mut attempts) = (0, 0);
        loop {
            let mut upstream = &upstreams[order.next()];
            if upstream.is_down(settings.max_fails) {
                down += 1;
                if down % upstreams.len() != 0 {
                    continue;
                }
                observer.all_down();
                if settings.failfast {
                    return Err(UpstreamError::NoHealthy);
                }
                // Perhaps only the checks are broken.
                upstream = &upstreams[rand::rng().random_range(0..upstreams.len())];
            }
            attempts += 1;
            let ask = Ask {
                query,
                settings,
                began,
                end,
            };
            let result = attempt(upstream, &ask, kind, observer).await;
            let last = attempts >= attempts_max;
            match result {
                // Each server is asked for its opinion once; the last one counts.
                Ok(reply)
                    if !self.fails_over(&reply)
                        || attempts >= upstreams.len()
                        || last
                        || is_late(end) =>
                {
                    return Ok(Answered {
                        octets: reply.octets,
                        upstream: Arc::clone(upstream),
                        network: reply.network,
                    });
                }
                Ok(_) => (),
                Err(error) => {
                    upstream.check(&self.settings);
                    if last || is_late(end) {
                        return Err(error);
                    }
                }
            }
            if let Some(rounds @ 1..) = (attempts / upstreams.len()).checked_sub(1) {
                let pause = (PAUSE * rounds as u32).min(PAUSE_MAX);
                let rest = end.saturating_duration_since(Instant::now());
                Box::pin(sleep(pause.min(rest))).await;
            }
            began = Instant::now();
        }
    }

    /// Waits for the first server where names have yet to be resolved.
    async fn first_upstreams(&self) -> Result<Arc<Vec<Arc<Upstream>>>, UpstreamError> {
        let mut known = self.known.subscribe();
        let reason = known.borrow_and_update().clone();
        if reason.is_none() {
            let _ = timeout(self.settings.read_timeout, known.changed()).await;
        }
        let upstreams = self.upstreams();
        let reason = known.borrow().clone().unwrap_or_default();
        match upstreams.is_empty() {
            true => Err(UpstreamError::Unresolved(reason)),
            false => Ok(upstreams),
        }
    }

    /// Whether the settings want another server's opinion.
    fn fails_over(&self, reply: &Reply) -> bool {
        let rcode = rcode(&reply.octets);
        self.settings.failover.contains(&rcode)
    }

    fn enter(&self) -> Result<Option<InFlight<'_>>, UpstreamError> {
        let max = self.settings.concurrent_max;
        if max == 0 {
            return Ok(None);
        }
        let before = self.in_flight.fetch_add(1, Relaxed);
        let entered = InFlight(&self.in_flight);
        if before < max {
            Ok(Some(entered))
        } else {
            Err(UpstreamError::Concurrent(max))
        }
    }
}

/// Whether there is no time for another attempt.
fn is_late(end: Instant) -> bool {
    Instant::now() + PAUSE >= end
}

/// The RCODE in a message's header.
pub(crate) fn rcode(message: &[u8]) -> Rcode {
    message
        .get(3)
        .map_or(Rcode::SERVFAIL, |flags| Rcode(u16::from(flags & 0xf)))
}

/// Asks one server, over TCP again where UDP was not the client's choice and the reply is cut.
async fn attempt(
    upstream: &Upstream,
    ask: &Ask<'_>,
    kind: Kind,
    observer: &impl Observer,
) -> Result<Reply, UpstreamError> {
    let mut result = upstream.exchange(ask, kind).await;
    if let Ok(reply) = &result
        && reply.octets.get(2).is_some_and(|flags| flags & 0x02 != 0)
        && reply.network == Network::Udp
        && ask.settings.prefer_udp
    {
        let again = Ask {
            began: Instant::now(),
            ..*ask
        };
        result = Box::pin(upstream.exchange(&again, Kind::Stream)).await;
    }
    if observer.wants_attempts() {
        let reply = result.as_ref().ok();
        observer.attempted(&Attempt {
            server: upstream.server().address,
            local: reply.and_then(|reply| reply.local),
            network: reply.map_or_else(|| upstream.network(kind), |reply| reply.network),
            query: ask.query,
            reply: reply.map(|reply| &reply.octets[..]),
            took: ask.began.elapsed(),
        });
    }
    result
}

/// In which order a query's servers are asked, round after round.
struct Order {
    random: Vec<usize>,
    first: usize,
    count: usize,
    at: usize,
}

impl Order {
    fn new(policy: Policy, turn: &AtomicUsize, count: usize) -> Self {
        let mut order = Self {
            random: Vec::new(),
            first: 0,
            count,
            at: 0,
        };
        match policy {
            Policy::Random if count > 1 => {
                order.random.extend(0..count);
                order.random.shuffle(&mut rand::rng());
            }
            Policy::RoundRobin => order.first = turn.fetch_add(1, Relaxed),
            Policy::Random | Policy::Sequential => (),
        }
        order
    }

    fn next(&mut self) -> usize {
        let place = (self.first + self.at) % self.count;
        self.at += 1;
        self.random.get(place).copied().unwrap_or(place)
    }
}
