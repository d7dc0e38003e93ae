//! *transfer*: zones for other servers (AXFR, RFC 5936; IXFR, RFC 1995), and NOTIFY (RFC 1996).
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines: who may have what |
//! | `outgoing` | the messages |
//! | `notify` | telling others of changes |
//! | here | the decisions |
mod config;
mod notify;
mod outgoing;

use std::sync::{Arc, OnceLock};

use corten_plugin::wire::{Name, Opcode, Owner, Rcode, RecordType, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError, Stop,
    Transport, async_trait,
};
use corten_zone::{Catalogue, History, Listener, Slot, Zone};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use config::Policies;
use notify::Notifier;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "transfer",
    setup,
    readme: include_str!("../README.md"),
};

/// Transfers of a block at the same time; further ones are refused and asked for again later.
const UNDER_WAY_MAX: usize = 256;

struct Transfer {
    policies: Arc<Policies>,
    /// Those of the block that have zones; known when the block is complete.
    catalogues: OnceLock<Vec<Arc<dyn Catalogue>>>,
    notifier: Arc<Notifier>,
    under_way: Semaphore,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let policies = Arc::new(Policies::read(setup)?);
    setup.push(Transfer {
        notifier: Notifier::new(Arc::clone(&policies)),
        policies,
        catalogues: OnceLock::new(),
        under_way: Semaphore::new(UNDER_WAY_MAX),
    });
    Ok(())
}

/// What is to be done with a request.
enum Verdict {
    /// Not for this plugin.
    Pass,
    Answer(Rcode),
    Serve(Arc<Slot>),
}

impl Transfer {
    fn judge(&self, ex: &Exchange) -> Verdict {
        let question = &ex.query.question;
        let is_axfr = question.rtype == RecordType::AXFR;
        if ex.query.opcode() != Opcode::QUERY || !is_axfr && question.rtype != RecordType::IXFR {
            return Verdict::Pass;
        }
        // RFC 5936 section 4.2; HTTP and gRPC carry one message for a query as well.
        if is_axfr && !ex.transport.carries_transfers() {
            return Verdict::Answer(Rcode::REFUSED);
        }
        let Some(policy) = self.policies.of(&question.name) else {
            return Verdict::Pass;
        };
        if !policy.admits(ex) {
            return Verdict::Answer(Rcode::REFUSED);
        }
        if !is_axfr && ex.query.ixfr_serial().is_none() && ex.transport != Transport::Udp {
            return Verdict::Answer(Rcode::SERVFAIL);
        }
        match self.slot(&question.name) {
            None => Verdict::Pass,
            Some(slot) => Verdict::Serve(slot),
        }
    }

    fn slot(&self, name: &Name) -> Option<Arc<Slot>> {
        let mut catalogues = self.catalogues.get()?.iter();
        catalogues.find_map(|catalogue| catalogue.slot(name.wire()))
    }
}

/// The zone's SOA record and nothing else: nothing is newer, or the client is to come by TCP (RFC
/// 1995 section 2).
fn soa_alone(ex: &mut Exchange, zone: &Zone) -> Flow {
    let reply = ex.start(Rcode::NOERROR);
    reply.authoritative = true;
    if let Some(soa) = zone.records().next() {
        reply.push(
            Section::Answer,
            Owner::Question,
            soa.rtype,
            soa.ttl,
            |rdata| rdata.octets(soa.rdata),
        );
    }
    Flow::Respond
}

#[async_trait]
impl Plugin for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let slot = match self.judge(ex) {
            Verdict::Pass => return Flow::Pass,
            Verdict::Answer(rcode) => return ex.answer(rcode),
            Verdict::Serve(slot) => slot,
        };
        match &*slot.load() {
            None => ex.answer(Rcode::SERVFAIL),
            Some(zone) if ex.transport == Transport::Udp => soa_alone(ex, zone),
            Some(_) => {
                ex.keep(slot);
                Flow::Wait
            }
        }
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let Some(slot) = ex.kept::<Arc<Slot>>() else {
            return ex.answer(Rcode::SERVFAIL);
        };
        let (name, client) = (ex.query.question.name.clone(), ex.client.ip());
        // Asked for first: what changes between the two is then in neither or only in the zone.
        let history = match ex.query.ixfr_serial() {
            Some(serial) if ex.query.question.rtype == RecordType::IXFR => slot.since(serial),
            _ => History::Unknown,
        };
        let Some(zone) = slot.zone() else {
            return ex.answer(Rcode::SERVFAIL);
        };
        let serial = zone.soa().serial;
        if matches!(history, History::Current) {
            tracing::info!(
                target: "plugin/transfer",
                "Outgoing noop, incremental transfer for up to date zone \"{name}\" to {client} for {serial} SOA serial"
            );
            return soa_alone(ex, &zone);
        }
        // Changes may be more than one message, too.
        if !ex.takes_parts() {
            return ex.answer(Rcode::REFUSED);
        }
        let Ok(_under_way) = self.under_way.try_acquire() else {
            let text = format!("more than {UNDER_WAY_MAX} transfers at the same time");
            return ex.fail(Rcode::SERVFAIL, text);
        };
        let (deltas, kind) = match &history {
            History::Deltas(deltas) if outgoing::are_worth_it(deltas, &zone) => {
                (Some(deltas), "incremental transfer")
            }
            _ => (None, "transfer"),
        };
        let sending = async {
            match deltas {
                Some(deltas) => outgoing::changes(ex, deltas).await,
                None => outgoing::whole(ex, &zone).await,
            }
        };
        let sent = timeout(outgoing::TRANSFER, sending).await;
        match sent.unwrap_or(Err(outgoing::Failure::Late)) {
            Ok(records) => {
                tracing::info!(
                    target: "plugin/transfer",
                    "Outgoing {kind} of {records} records of zone \"{name}\" to {client} for {serial} SOA serial"
                );
                ex.end_parts(Rcode::NOERROR)
            }
            Err(error) => {
                let text = format!("transfer of zone \"{name}\" to {client}: {error}");
                ex.fail(Rcode::SERVFAIL, text)
            }
        }
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let catalogues: Vec<_> = context.peers.all::<dyn Catalogue>().cloned().collect();
        let listener: Arc<dyn Listener> = Arc::<Notifier>::clone(&self.notifier);
        for catalogue in &catalogues {
            catalogue.listen(&listener);
            for slot in catalogue.slots() {
                self.notifier.note(&slot);
            }
        }
        let _ = self.catalogues.set(catalogues);
        self.notifier.start();
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.notifier.stop().await;
    }
}

#[cfg(test)]
mod tests;
