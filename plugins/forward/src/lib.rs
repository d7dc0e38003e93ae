//! *forward*: asks other name servers.
//!
//! Sockets, health and policies are [`corten_upstream`]'s; here are the directive's lines and the
//! decisions.
mod client_tls;
mod config;

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Name, Rcode};
use corten_plugin::{
    Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError, Transport, Zones,
    async_trait,
};
use corten_upstream::{Group, UpstreamError};

use config::Config;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "forward",
    setup,
    readme: include_str!("../README.md"),
};

struct Forward {
    from: Name,
    except: Zones,
    upstreams: Group,
    /// How often every upstream was down.
    broken: Counter,
    rejected: Counter,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let configs = setup
        .occurrences()?
        .iter()
        .map(|line| Config::read(setup, line))
        .collect::<Result<Vec<_>, _>>()?;
    setup.options.any_class = true;
    for config in configs {
        setup.push(Forward {
            from: config.from,
            except: config.except,
            upstreams: Group::new(config.servers, config.settings),
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
        });
    }
    Ok(())
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
        let name = &ex.query.question.name;
        // The zone itself is never excepted (CoreDNS's rule).
        if !name.is_in(&self.from) || *name != self.from && self.except.matches(name).is_some() {
            return Flow::Pass;
        }
        Flow::Wait
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let query = ex.query.to_send();
        let datagram = ex.transport == Transport::Udp;
        match self
            .upstreams
            .ask(&query, datagram, || self.broken.increment())
            .await
        {
            Ok(answered) => match ex.reply.load(&ex.query, &answered.octets) {
                Ok(()) => Flow::Respond,
                Err(error) => {
                    let server = self.upstreams.upstreams()[answered.upstream]
                        .server()
                        .address;
                    ex.fail(Rcode::SERVFAIL, format!("{server}: {error}"))
                }
            },
            Err(error @ UpstreamError::Concurrent(_)) => {
                self.rejected.increment();
                ex.fail(Rcode::REFUSED, error)
            }
            Err(error) => ex.fail(Rcode::SERVFAIL, error),
        }
    }
}
