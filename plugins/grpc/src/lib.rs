//! *grpc*: asks other name servers over gRPC.
//!
//! Connections and policies are [`corten_upstream`]'s.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `metrics` | counters of each upstream |
//! | here | the decisions |
mod config;
mod metrics;

use std::any::Any;
use std::sync::Arc;

use corten_plugin::wire::{Name, Rcode, ReplyError};
use corten_plugin::{
    Directive, Exchange, Fallthrough, Flow, Next, Phase, Plugin, Setup, SetupError, Zones,
    async_trait,
};
use corten_upstream::{Attempt, Group, Observer};

use config::Config;
use metrics::Counters;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "grpc",
    setup,
    readme: include_str!("../README.md"),
};

struct Grpc {
    from: Name,
    except: Zones,
    fallthrough: Fallthrough,
    engine: Arc<Engine>,
}

/// What outlives a reload that leaves the directive as it is.
struct Engine {
    identity: String,
    group: Group,
    counters: Counters,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup, &setup.only_occurrence()?)?;
    let before = setup.parts.before.iter().find_map(|plugin| {
        let plugin: &dyn Any = &**plugin;
        let grpc = plugin.downcast_ref::<Grpc>()?;
        (grpc.engine.identity == config.identity).then(|| Arc::clone(&grpc.engine))
    });
    let engine = match before {
        Some(engine) => engine,
        None => {
            let counters = Counters::new(&config.servers);
            Arc::new(Engine {
                identity: config.identity,
                group: Group::new(config.servers, config.settings),
                counters,
            })
        }
    };
    setup.push(Grpc {
        from: config.from,
        except: config.except,
        fallthrough: config.fallthrough,
        engine,
    });
    Ok(())
}

impl Grpc {
    /// The zone itself is never excepted (CoreDNS's rule).
    fn is_for(&self, name: &Name) -> bool {
        name.is_in(&self.from) && (*name == self.from || self.except.matches(name).is_none())
    }
}

#[async_trait]
impl Plugin for Grpc {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match self.is_for(&ex.query.question.name) {
            true => ex.refuse_transfer().unwrap_or(Flow::Wait),
            false => Flow::Pass,
        }
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let result = {
            let query = ex.query.to_send();
            let watch = Watch(&self.engine.counters);
            self.engine.group.ask(&query, false, &watch).await
        };
        let falls = self.fallthrough.lets_through(&ex.query.question.name);
        let answered = match result {
            Ok(answered) => answered,
            Err(_) if falls => return Flow::Pass,
            Err(error) => {
                let (code, text) = (error.info_code(), error.public_text());
                let flow = ex.fail(Rcode::SERVFAIL, error);
                ex.explain(code, &text);
                return flow;
            }
        };
        match ex.reply.load(&ex.query, &answered.octets) {
            Ok(()) if falls && ex.reply.rcode == Rcode::NXDOMAIN => {
                ex.reply.clear();
                Flow::Pass
            }
            Ok(()) => Flow::Respond,
            Err(ReplyError::OtherQuestion) => {
                let server = answered.upstream.server().address;
                let error = format!("{server} answers another question");
                ex.fail(Rcode::FORMERR, error)
            }
            Err(error) => {
                let server = answered.upstream.server().address;
                ex.fail(Rcode::SERVFAIL, format!("read grpc {server}: {error}"))
            }
        }
    }
}

/// Counts what upstreams answer.
struct Watch<'a>(&'a Counters);

impl Observer for Watch<'_> {
    fn wants_attempts(&self) -> bool {
        true
    }

    fn attempted(&self, attempt: &Attempt<'_>) {
        if let Some(reply) = attempt.reply {
            self.0.answered(attempt.server, reply, attempt.took);
        }
    }
}
