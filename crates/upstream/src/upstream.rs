//! One server: lanes, protocols, silent retries, health.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use corten_wire::{Class, Query, Question, RecordType};
use tokio::time::Instant;

use crate::dial::Dial;
use crate::error::{Phase, Place, UpstreamError};
use crate::flight::{Loss, Refusal};
use crate::grpc;
use crate::https::{self, Form};
use crate::lane::{Kept, Lane};
use crate::settings::{Protocol, Server, Settings};
use crate::stream::Route;
use crate::tally::{Network, Tally};

/// Lanes; more workers than this share some.
const LANES: usize = 64;
/// Checks at the settings' interval, before they grow apart.
const CHECKS_EVEN: u32 = 16;
/// Checks grow apart to this many intervals.
const CHECK_INTERVALS_MAX: u32 = 16;

/// One server.
pub struct Upstream {
    server: Arc<Server>,
    lanes: Box<[OnceLock<Arc<Lane>>; LANES]>,
    dial: Arc<Dial>,
    tally: Tally,
    /// Checks that failed since the last reply.
    fails: AtomicU32,
    checking: AtomicBool,
}

/// Which kind of socket a query needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Datagram,
    Stream,
}

/// A reply and how it came.
pub(crate) struct Reply {
    pub(crate) octets: Vec<u8>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) network: Network,
}

/// One query and how long it may take.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) query: &'a [u8],
    pub(crate) settings: &'a Settings,
    /// Now.
    pub(crate) began: Instant,
    /// When the client gives up.
    pub(crate) end: Instant,
}

impl Upstream {
    pub(crate) fn new(server: Server, settings: &Settings) -> Self {
        let to = server.address.to_string();
        Self {
            server: Arc::new(server),
            lanes: Box::new([const { OnceLock::new() }; LANES]),
            dial: Arc::new(Dial::new()),
            tally: Tally::new(settings.proxy_name, to),
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

    pub(crate) fn network(&self, kind: Kind) -> Network {
        match (&self.server.protocol, kind) {
            (Protocol::Https { .. }, _) => Network::Https,
            (Protocol::Grpc { .. }, _) => Network::Grpc,
            (Protocol::Tls { .. }, _) => Network::Tls,
            (Protocol::Plain, Kind::Datagram) => Network::Udp,
            (Protocol::Plain, Kind::Stream) => Network::Tcp,
        }
    }

    /// Asks one query. A kept connection that turns out to be closed is replaced by a fresh one,
    /// once.
    pub(crate) async fn exchange(&self, ask: &Ask<'_>, kind: Kind) -> Result<Reply, UpstreamError> {
        let reply = self.carry(self.lane(), ask, kind).await?;
        self.tally.answered(&reply.octets, ask.began.elapsed());
        Ok(reply)
    }

    async fn carry(
        &self,
        lane: &Arc<Lane>,
        ask: &Ask<'_>,
        kind: Kind,
    ) -> Result<Reply, UpstreamError> {
        match self.network(kind) {
            Network::Udp => match self.over_udp(lane, ask).await {
                // Over TCP nobody can forge an answer.
                Err(None) => Box::pin(self.over_stream(lane, ask, Network::Tcp)).await,
                Err(Some(error)) => Err(error),
                Ok(reply) => Ok(reply),
            },
            // Boxed, because their futures are large, and every query's has room for the largest.
            network @ (Network::Https | Network::Grpc) => {
                Box::pin(self.over_http(lane, ask, network)).await
            }
            network => Box::pin(self.over_stream(lane, ask, network)).await,
        }
    }

    /// `Err(None)`: a flood of forged answers.
    async fn over_udp(
        &self,
        lane: &Arc<Lane>,
        ask: &Ask<'_>,
    ) -> Result<Reply, Option<UpstreamError>> {
        let remote = self.server.address;
        let place = |local| Place {
            network: Network::Udp.name(),
            local,
            remote,
        };
        let (ticket, kept) = lane
            .ask_datagram(remote, ask)
            .map_err(|refusal| Some(place(None).refused(refusal)))?;
        self.tally.socket(Network::Udp, kept);
        let local = ticket.carrier.local;
        match ticket.await {
            Ok(octets) => Ok(Reply {
                octets,
                local,
                network: Network::Udp,
            }),
            Err(Loss::Flood) => Err(None),
            Err(loss) => Err(Some(place(local).lost(loss))),
        }
    }

    async fn over_stream(
        &self,
        lane: &Arc<Lane>,
        ask: &Ask<'_>,
        network: Network,
    ) -> Result<Reply, UpstreamError> {
        let remote = self.server.address;
        let mut place = Place {
            network: network.name(),
            local: None,
            remote,
        };
        // When a kept connection breaks, those in flight share another one; should that break, too,
        // each has its own.
        for fresh in [false, false, true] {
            // The connection cuts this down to the reply's share once it is there.
            let wait = self.dial.limit() * 2 + ask.settings.read_timeout;
            let until = ask.end.min(Instant::now() + wait);
            let route = || self.route(ask.settings);
            let (mut ticket, kept) = lane
                .ask_stream(route, ask.settings, ask.query, until, fresh)
                .map_err(|refusal| place.refused(refusal))?;
            self.tally.socket(network, kept);
            let result = (&mut ticket).await;
            place.local = ticket.carrier.local();
            lane.trim(ask.settings);
            match result {
                Ok(octets) => {
                    return Ok(Reply {
                        octets,
                        local: place.local,
                        network,
                    });
                }
                // That the server cannot be reached is final; that it hung up is not.
                Err(Loss::Broken(Phase::Write | Phase::Read, ..)) if !ticket.first && !fresh => (),
                Err(loss) => return Err(place.lost(loss)),
            }
        }
        Err(place.error(Phase::Read, io::ErrorKind::UnexpectedEof.into()))
    }

    async fn over_http(
        &self,
        lane: &Arc<Lane>,
        ask: &Ask<'_>,
        network: Network,
    ) -> Result<Reply, UpstreamError> {
        let called;
        let (tls, uri, form) = match &self.server.protocol {
            Protocol::Https { config, name, uri } => (
                Some((config, name)),
                &**uri,
                Form::Doh(ask.settings.doh_method),
            ),
            Protocol::Grpc { tls, authority } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                called = format!("{scheme}://{authority}{}", grpc::PATH);
                let tls = tls.as_ref().map(|(config, name)| (config, name));
                (tls, called.as_str(), Form::Grpc)
            }
            _ => unreachable!("only such servers are asked over HTTP"),
        };
        let endpoint = https::Endpoint {
            tls,
            uri,
            form,
            age: ask.settings.max_age,
        };
        let mut fresh = false;
        loop {
            let until = ask.end.min(Instant::now() + ask.settings.read_timeout);
            let route = self.route(ask.settings);
            let asked = https::ask(lane, &route, &endpoint, ask.query, until, fresh).await;
            match asked {
                Ok((octets, local, kept)) => {
                    self.tally.socket(network, kept);
                    return Ok(Reply {
                        octets,
                        local,
                        network,
                    });
                }
                Err(failed) => {
                    self.tally.socket(network, failed.kept);
                    let closed = matches!(
                        failed.error.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    );
                    if failed.kept == Kept::Yes && closed && !fresh {
                        fresh = true;
                        continue;
                    }
                    let place = Place {
                        network: network.name(),
                        local: failed.local,
                        remote: self.server.address,
                    };
                    return Err(place.error(failed.phase, failed.error));
                }
            }
        }
    }

    fn route(&self, settings: &Settings) -> Route {
        Route {
            server: Arc::clone(&self.server),
            dial: Arc::clone(&self.dial),
            source: settings.source_address,
            wait: settings.read_timeout,
        }
    }

    fn lane(&self) -> &Arc<Lane> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: usize = NEXT.fetch_add(1, Relaxed) % LANES);
        self.lanes[OWN.with(|own| *own)].get_or_init(Arc::default)
    }

    /// Begins to check the server until it answers, unless that is under way. Ends with the server.
    pub(crate) fn check(self: &Arc<Self>, settings: &Arc<Settings>) {
        if settings.max_fails == 0 || self.checking.swap(true, Relaxed) {
            return;
        }
        tokio::spawn(check(Arc::downgrade(self), Arc::clone(settings)));
    }

    /// Asks over fresh sockets: kept ones might hide that the server is back, or gone.
    async fn probe(&self, query: &[u8], settings: &Settings) -> Result<(), UpstreamError> {
        let kind = match settings.force_tcp {
            true => Kind::Stream,
            false => Kind::Datagram,
        };
        let began = Instant::now();
        let ask = Ask {
            query,
            settings,
            began,
            end: began + Duration::from_secs(5),
        };
        self.carry(&Arc::default(), &ask, kind).await.map(|_| ())
    }
}

/// Clears the mark when the checks end, however they do.
struct Checking(Weak<Upstream>);

impl Drop for Checking {
    fn drop(&mut self) {
        if let Some(upstream) = self.0.upgrade() {
            upstream.checking.store(false, Relaxed);
        }
    }
}

async fn check(upstream: Weak<Upstream>, settings: Arc<Settings>) {
    let _checking = Checking(Weak::clone(&upstream));
    let check = &settings.health_check;
    let question = Question {
        name: check.domain.clone(),
        rtype: RecordType::NS,
        class: Class::IN,
    };
    let mut query = Query::ask(0, &question).octets().to_vec();
    query[2] = u8::from(check.recursion_desired);
    let mut interval = check.interval;
    for count in 0u32.. {
        let Some(server) = upstream.upgrade() else {
            return;
        };
        // Any reply will do, whatever its RCODE.
        if server.probe(&query, &settings).await.is_ok() {
            server.fails.store(0, Relaxed);
            return;
        }
        server.fails.fetch_add(1, Relaxed);
        server.tally.check_failed();
        drop(server);
        // Not a tight loop, even where the interval is zero.
        tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
        if count >= CHECKS_EVEN {
            interval = (interval * 2).min(check.interval * CHECK_INTERVALS_MAX);
        }
    }
}

impl Place {
    fn lost(self, loss: Loss) -> UpstreamError {
        match loss {
            Loss::Timeout => self.timeout(Phase::Read),
            Loss::Broken(phase, kind, text) => {
                self.error(phase, io::Error::new(kind, text.to_string()))
            }
            Loss::OtherQuestion => self.error(
                Phase::Read,
                io::Error::other("the reply answers another question"),
            ),
            Loss::Flood => self.error(Phase::Read, io::Error::other("a flood of forged answers")),
        }
    }

    fn refused(self, refusal: Refusal) -> UpstreamError {
        match refusal {
            Refusal::Full => self.error(
                Phase::Write,
                io::Error::other("too many queries wait for this server"),
            ),
            Refusal::Send(error) => self.error(Phase::Write, error),
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.server.address)
    }
}
