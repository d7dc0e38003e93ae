//! Several servers: policy, failover, the budget of a query.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use corten_wire::Rcode;
use rand::RngExt;
use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::connection::Kind;
use crate::error::UpstreamError;
use crate::settings::{Policy, Server, Settings};
use crate::upstream::Upstream;

/// A query is given up after this time: clients ask again after five seconds.
const BUDGET: Duration = Duration::from_secs(5);

/// Servers that can stand in for one another.
pub struct Group {
    upstreams: Vec<Arc<Upstream>>,
    settings: Arc<Settings>,
    turn: AtomicUsize,
    in_flight: AtomicUsize,
}

/// A reply and who gave it.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The response, with an id of its own.
    pub octets: Vec<u8>,
    /// Index of the server.
    pub upstream: usize,
}

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
        Self {
            upstreams: servers
                .into_iter()
                .map(|server| Arc::new(Upstream::new(server)))
                .collect(),
            settings: Arc::new(settings),
            turn: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// The servers.
    pub fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// Asks the servers in the policy's order until one answers, or the time or the attempts are
    /// used up.
    ///
    /// `datagram`: the client came over UDP. `all_down` is called when every server counts as down.
    pub async fn ask(
        &self,
        query: &[u8],
        datagram: bool,
        all_down: impl Fn(),
    ) -> Result<Answered, UpstreamError> {
        let _in_flight = self.enter()?;
        let settings = &self.settings;
        let plain = match (datagram || settings.prefer_udp) && !settings.force_tcp {
            true => Kind::Datagram,
            false => Kind::Stream,
        };
        let attempts_max = if settings.attempts_max == 0 {
            2 * self.upstreams.len()
        } else {
            settings.attempts_max
        };
        let (until, order) = (Instant::now() + BUDGET, self.order());
        let (mut down, mut attempts, mut last) = (0, 0, Err(UpstreamError::NoHealthy));
        for &index in order.iter().cycle() {
            let mut index = index;
            if self.upstreams[index].is_down(settings.max_fails) {
                down += 1;
                if down % self.upstreams.len() != 0 {
                    continue;
                }
                all_down();
                if settings.failfast {
                    break;
                }
                // Perhaps only the checks are broken.
                index = rand::rng().random_range(0..self.upstreams.len());
            }
            attempts += 1;
            let rest = until.saturating_duration_since(Instant::now());
            last = match tokio::time::timeout(rest, self.attempt(index, query, plain)).await {
                Ok(result) => result,
                // The attempt before tells more than that the time is over.
                Err(_) => break,
            };
            let over = attempts >= attempts_max || Instant::now() >= until;
            match &last {
                // Each server is asked for its opinion once; the last one counts.
                Ok(answered)
                    if over || attempts >= self.upstreams.len() || !self.fails_over(answered) =>
                {
                    break;
                }
                Err(_) => {
                    self.upstreams[index].check(&self.settings);
                    if over {
                        break;
                    }
                }
                Ok(_) => (),
            }
        }
        last
    }

    async fn attempt(
        &self,
        index: usize,
        query: &[u8],
        kind: Kind,
    ) -> Result<Answered, UpstreamError> {
        let (upstream, settings) = (&self.upstreams[index], &self.settings);
        let mut octets = upstream
            .exchange(query, kind, settings, settings.read_timeout)
            .await?;
        let truncated = octets.get(2).is_some_and(|flags| flags & 0x02 != 0);
        if truncated && kind == Kind::Datagram && settings.prefer_udp {
            octets = upstream
                .exchange(query, Kind::Stream, settings, settings.read_timeout)
                .await?;
        }
        Ok(Answered {
            octets,
            upstream: index,
        })
    }

    /// Whether the settings want another server's opinion.
    fn fails_over(&self, answered: &Answered) -> bool {
        let rcode = answered
            .octets
            .get(3)
            .map_or(Rcode::SERVFAIL, |flags| Rcode(u16::from(flags & 0xf)));
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

    /// In which order this query's servers are asked.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.upstreams.len()).collect();
        match self.settings.policy {
            Policy::Sequential => (),
            Policy::Random => order.shuffle(&mut rand::rng()),
            Policy::RoundRobin if order.is_empty() => (),
            Policy::RoundRobin => {
                let turn = self.turn.fetch_add(1, Relaxed) % order.len();
                order.rotate_left(turn);
            }
        }
        order
    }
}
