//! *forward*: asks other name servers.
//!
//! Sockets, health and policies are [`corten_upstream`]'s; here are the directive's lines and the
//! decisions.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `targets` | the words behind FROM, and the servers that they stand for |
//! | `engine` | the upstreams, and the task that follows names and files |
//! | `resolve` | addresses of upstreams that are written as names |
//! | here | the decisions |
mod config;
mod engine;
mod resolve;
mod targets;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Name, Rcode, ReplyError, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Next, Phase, Plugin, Resolvers, Setup,
    SetupError, Tap, Transport, UpstreamExchange, UpstreamTransport, Zones, async_trait,
};
use corten_upstream::{Answered, Attempt, Network, Observer, UpstreamError};

use config::Config;
use engine::Engine;
use targets::{Place, Scheme, Target};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "forward",
    setup,
    readme: include_str!("../README.md"),
};

struct Forward {
    area: Area,
    engine: Arc<Engine>,
    /// RCODEs after which the next *forward* has its turn.
    next: Vec<Rcode>,
    next_on_nodata: bool,
    /// What the *forward* directives behind this one are for.
    behind: Vec<Area>,
    /// How often every upstream was down.
    broken: Counter,
    rejected: Counter,
    taps: OnceLock<Vec<Arc<dyn Tap>>>,
}

/// Which names a *forward* is for.
#[derive(Clone, Debug)]
struct Area {
    from: Name,
    except: Zones,
}

impl Area {
    /// The zone itself is never excepted (CoreDNS's rule).
    fn holds(&self, name: &Name) -> bool {
        name.is_in(&self.from) && (*name == self.from || self.except.matches(name).is_none())
    }
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let configs = setup
        .occurrences()?
        .iter()
        .map(|line| Config::read(setup, line))
        .collect::<Result<Vec<_>, _>>()?;
    setup.options.any_class = true;
    let plain = |target: &Target| match (target.scheme, &target.place) {
        (Scheme::Plain, Place::Address(address)) => Some(*address),
        _ => None,
    };
    let targets = configs.iter().flat_map(|config| &config.targets);
    let resolvers = Resolvers(targets.filter_map(plain).collect());
    setup.provide(Arc::new(resolvers));
    let areas: Vec<_> = configs
        .iter()
        .map(|config| Area {
            from: config.from.clone(),
            except: config.except.clone(),
        })
        .collect();
    for (place, (mut config, area)) in configs.into_iter().zip(&areas).enumerate() {
        let next = std::mem::take(&mut config.next);
        let next_on_nodata = config.next_on_nodata;
        let engine = running(setup, &config.identity);
        setup.push(Forward {
            area: area.clone(),
            engine: engine.unwrap_or_else(|| Arc::new(Engine::new(config))),
            next,
            next_on_nodata,
            behind: areas[place + 1..].to_vec(),
            broken: registry().counter(
                "coredns_forward_healthcheck_broken_total",
                "Counter of the number of complete failures of the healthchecks.",
                &[],
            ),
            rejected: registry().counter(
                "coredns_forward_max_concurrent_rejects_total",
                "Counter of the number of queries rejected because the concurrent queries were at maximum.",
                &[],
            ),
            taps: OnceLock::new(),
        });
    }
    Ok(())
}

/// The engine of the same directive in the running generation.
fn running(setup: &Setup<'_>, identity: &str) -> Option<Arc<Engine>> {
    let before = setup.parts.before.iter();
    let mut forwards = before.filter_map(|plugin| {
        let plugin: &dyn Any = &**plugin;
        plugin.downcast_ref::<Forward>()
    });
    forwards
        .find(|forward| forward.engine.identity == identity)
        .map(|forward| Arc::clone(&forward.engine))
}

#[async_trait]
impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match self.area.holds(&ex.query.question.name) {
            true => ex.refuse_transfer().unwrap_or(Flow::Wait),
            false => Flow::Pass,
        }
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let taps = context.peers.all::<dyn Tap>().map(Arc::clone).collect();
        let _ = self.taps.set(taps);
        self.engine.start();
        Ok(())
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let result = {
            let query = ex.query.to_send();
            let watch = Watch { forward: self, ex };
            let datagram = ex.transport == Transport::Udp;
            self.engine.group.ask(&query, datagram, &watch).await
        };
        match result {
            Ok(answered) => self.take(ex, &answered),
            Err(error) => self.fail(ex, error),
        }
    }
}

impl Forward {
    fn take(&self, ex: &mut Exchange, answered: &Answered) -> Flow {
        let server = answered.upstream.server().address;
        note_upstream(ex, server);
        match ex.reply.load(&ex.query, &answered.octets) {
            Ok(()) if self.hands_on(ex) => {
                ex.reply.clear();
                Flow::Pass
            }
            Ok(()) => Flow::Respond,
            // Cut or broken on the way: over TCP it may come whole.
            Err(ReplyError::Malformed)
                if answered.network == Network::Udp && ex.transport == Transport::Udp =>
            {
                let flags = answered.octets.get(3).copied().unwrap_or(0);
                let reply = ex.start(Rcode(u16::from(flags & 0xf)));
                reply.truncated = true;
                reply.recursion_available = flags & 0x80 != 0;
                Flow::Respond
            }
            Err(error) => {
                let network = answered.network.name();
                let flow = ex.fail(Rcode::SERVFAIL, format!("read {network} {server}: {error}"));
                ex.explain(NETWORK_ERROR, &format!("read {network} {server}: {error}"));
                flow
            }
        }
    }

    /// Whether a *forward* further down may know better.
    fn hands_on(&self, ex: &Exchange) -> bool {
        let wanted = self.next.contains(&ex.reply.rcode)
            || self.next_on_nodata
                && ex.reply.rcode == Rcode::NOERROR
                && ex.reply.count(Section::Answer) == 0;
        let name = &ex.query.question.name;
        wanted && self.behind.iter().any(|area| area.holds(name))
    }

    fn fail(&self, ex: &mut Exchange, error: UpstreamError) -> Flow {
        let rcode = match &error {
            UpstreamError::Concurrent(_) => {
                self.rejected.increment();
                Rcode::REFUSED
            }
            UpstreamError::Io { remote, .. } => {
                note_upstream(ex, *remote);
                Rcode::SERVFAIL
            }
            _ => Rcode::SERVFAIL,
        };
        let (info_code, text) = (error.info_code(), error.public_text());
        let flow = ex.fail(rcode, error);
        ex.explain(info_code, &text);
        flow
    }
}

/// INFO-CODE of an Extended DNS Error (RFC 8914 section 4.24).
const NETWORK_ERROR: u16 = 23;

fn note_upstream(ex: &mut Exchange, server: SocketAddr) {
    if ex.has_metadata() {
        ex.set_metadata("forward/upstream", server.to_string());
    }
}

/// Counts and reports while a query is under way.
struct Watch<'a> {
    forward: &'a Forward,
    ex: &'a Exchange,
}

impl Watch<'_> {
    fn taps(&self) -> &[Arc<dyn Tap>] {
        self.forward.taps.get().map_or(&[], Vec::as_slice)
    }
}

impl Observer for Watch<'_> {
    fn all_down(&self) {
        self.forward.broken.increment();
    }

    fn wants_attempts(&self) -> bool {
        !self.taps().is_empty()
    }

    fn attempted(&self, attempt: &Attempt<'_>) {
        let answered = SystemTime::now();
        // Query and response are told by the id that the client knows.
        let response = attempt.reply.map(|reply| {
            let mut reply = reply.to_vec();
            if let (Some(own), Some(id)) = (reply.get_mut(..2), attempt.query.get(..2)) {
                own.copy_from_slice(id);
            }
            reply
        });
        let exchange = UpstreamExchange {
            server: attempt.server,
            local: attempt.local,
            transport: match attempt.network {
                Network::Udp => UpstreamTransport::Udp,
                Network::Tcp => UpstreamTransport::Tcp,
                Network::Tls => UpstreamTransport::Tls,
                // *forward* asks nobody over gRPC.
                Network::Https | Network::Grpc => UpstreamTransport::Https,
            },
            query: attempt.query,
            response: response.as_deref(),
            asked: answered.checked_sub(attempt.took).unwrap_or(answered),
            answered,
        };
        // What taps tell of the query may name who was asked.
        let named = self.ex.has_metadata().then(|| {
            let mut ex = self.ex.twin();
            note_upstream(&mut ex, attempt.server);
            ex
        });
        let ex = named.as_ref().unwrap_or(self.ex);
        for tap in self.taps() {
            tap.upstream(ex, &exchange);
        }
    }
}
