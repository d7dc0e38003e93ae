//! *transfer*: zones for other servers (AXFR, RFC 5936; IXFR, RFC 1995), and NOTIFY (RFC 1996).
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines: who may have what |
//! | `catalog` | zones that say which zones there are (RFC 9432) |
//! | `outgoing` | the messages |
//! | `notify` | telling others of changes |
//! | here | the decisions |
mod catalog;
mod config;
mod notify;
mod outgoing;

use std::sync::{Arc, OnceLock};

use corten_plugin::wire::{Name, Opcode, Owner, Rcode, RecordType, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Fallthrough, Flow, Next, Phase, Plugin, Setup,
    SetupError, Stop, Tasks, Transport, async_trait,
};
use corten_zone::{Catalogue, History, Listener, Slot, Zone};
use corten_zone_answer::answer;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use catalog::Catalogs;
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

/// Octets of a datagram that is not cut into pieces on its way (RFC 9715 section 3.1).
const DATAGRAM_OCTETS_MAX: u16 = 1232;
/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;

struct Transfer {
    policies: Arc<Policies>,
    /// Those of the block that have zones; known when the block is complete.
    catalogues: OnceLock<Vec<Arc<dyn Catalogue>>>,
    notifier: Arc<Notifier>,
    catalogs: Arc<Catalogs>,
    tasks: Tasks,
    under_way: Semaphore,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let policies = Arc::new(Policies::read(setup)?);
    let before = setup.predecessor::<Transfer>();
    let catalogs = Catalogs::new(&policies, before.map(|before| &*before.catalogs));
    setup.push(Transfer {
        notifier: Notifier::new(Arc::clone(&policies)),
        policies,
        catalogues: OnceLock::new(),
        catalogs,
        tasks: Tasks::default(),
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
    /// Catalogs are for those who may transfer them (RFC 9432 section 7).
    fn answer_catalog(&self, ex: &mut Exchange) -> Flow {
        if ex.query.opcode() != Opcode::QUERY {
            return Flow::Pass;
        }
        let Some(slot) = self.catalogs.table.find(&ex.query.question) else {
            return Flow::Pass;
        };
        let name = Name::from_wire(slot.apex()).unwrap_or_default();
        match self.policies.of(&name) {
            Some(policy) if policy.admits(ex) => answer(ex, slot, &Fallthrough::None),
            _ => ex.answer(Rcode::REFUSED),
        }
    }

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
        if let Some(slot) = self.catalogs.table.get(name.wire()) {
            return Some(Arc::clone(slot));
        }
        let mut catalogues = self.catalogues.get()?.iter();
        catalogues.find_map(|catalogue| catalogue.slot(name.wire()))
    }
}

/// An IXFR over UDP: what changed, if that fits, else the SOA record, so that the client comes by TCP (RFC 1995
/// section 2).
fn datagram(ex: &mut Exchange, slot: &Slot, zone: &Zone) -> Flow {
    let history = ex.query.ixfr_serial().map(|serial| slot.since(serial));
    if let Some(History::Deltas(deltas)) = history {
        let sealed = usize::from(u16::MAX) - ex.part_octets_max();
        let most = ex.client_octets_max().min(DATAGRAM_OCTETS_MAX);
        let most = usize::from(most).saturating_sub(sealed + OPT_OCTETS);
        if outgoing::in_one(ex, &deltas, most) {
            return Flow::Respond;
        }
    }
    soa_alone(ex, zone)
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
            Verdict::Pass => return self.answer_catalog(ex),
            Verdict::Answer(rcode) => return ex.answer(rcode),
            Verdict::Serve(slot) => slot,
        };
        match &*slot.load() {
            None => ex.answer(Rcode::SERVFAIL),
            Some(zone) if ex.transport == Transport::Udp => datagram(ex, &slot, zone),
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
        self.catalogs.start(&catalogues).await?;
        let listener: Arc<dyn Listener> = Arc::<Notifier>::clone(&self.notifier);
        for slot in self.catalogs.table.slots() {
            slot.listen(&listener);
            self.notifier.note(slot);
        }
        if !self.catalogs.table.slots().is_empty() {
            self.tasks.spawn(Arc::clone(&self.catalogs).run());
        }
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
        self.tasks.stop();
        self.notifier.stop().await;
    }
}

#[cfg(test)]
mod tests;
