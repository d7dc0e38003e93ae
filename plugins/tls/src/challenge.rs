//! The link that answers ACME challenges in every block.
//!
//! It stands behind whatever signs, so that its answers are signed like the zone's own, and its names
//! are owed: rules about clients let them pass, nothing rewrites them, nothing remembers them.
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use corten_acme::{Answer, Asker, Challenges, PEER_OPTION};
use corten_plugin::wire::{Name, Owner, Query, Question, Rcode, RecordType, Reply, Section};
use corten_plugin::{
    BoxError, Context, Exchange, Flow, Next, OwedNames, Phase, Plugin, async_trait,
};

/// Octets of one character-string (RFC 1035 section 3.3).
const STRING_OCTETS_MAX: usize = 255;
/// A name is told again after this time: a CA asks a few times, we look more often.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// Names that are remembered as told.
const TOLD_MAX: usize = 256;

/// Answers for the names of pending challenges, and for no others.
pub(crate) struct Challenge {
    challenges: Arc<Challenges>,
    /// Zones of the configuration, for the SOA of a denial.
    zones: ArcSwap<Vec<Name>>,
}

/// The names of challenges, for those who make way.
pub(crate) struct Names(pub(crate) Arc<Challenges>);

impl OwedNames for Names {
    fn is_owed(&self, question: &Question) -> bool {
        let name = question.name.wire();
        self.0.is_managed(name) || question.rtype == RecordType::TXT && self.0.is_end(name)
    }
}

impl Challenge {
    pub(crate) fn new(challenges: Arc<Challenges>) -> Self {
        Self {
            challenges,
            zones: ArcSwap::default(),
        }
    }

    fn answer(&self, ex: &mut Exchange, answer: &Answer) -> Flow {
        let rtype = ex.query.question.rtype;
        match answer {
            // An alias of a challenge's name is the zone's to tell, or nobody would find its end.
            Answer::Values(_) if rtype == RecordType::CNAME && !ex.excused => Flow::Watch,
            Answer::Values(values) | Answer::Beside(values) => {
                let zones = self.zones.load();
                let zone = zones
                    .iter()
                    .filter(|zone| ex.query.question.name.is_in(zone))
                    .max_by_key(|zone| zone.label_count());
                respond(&ex.query, &mut ex.reply, zone, values);
                Flow::Respond
            }
            // It was let in for an answer that is not there.
            _ if ex.excused => ex.answer(Rcode::REFUSED),
            _ => Flow::Watch,
        }
    }
}

#[async_trait]
impl Plugin for Challenge {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if !self.challenges.any() && !ex.excused {
            return Flow::Pass;
        }
        let question = &ex.query.question;
        let name = question.name.wire();
        // Where an alias leads everything but TXT records is the zone's.
        let is_zones = question.rtype != RecordType::TXT && !self.challenges.is_managed(name);
        if is_zones && !ex.excused {
            return Flow::Watch;
        }
        match self.challenges.lookup(name) {
            Answer::Elsewhere => Flow::Wait,
            answer => self.answer(ex, &answer),
        }
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let name = ex.query.question.name.clone();
        let answer = self.challenges.find(name.wire(), asker(&ex.query)).await;
        self.answer(ex, &answer)
    }

    /// A name above a challenge exists, even where the zone's data do not have it: a resolver that
    /// goes down label by label (RFC 9156) must not be told that there is nothing (RFC 8020).
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let denied = ex.reply.rcode == Rcode::NXDOMAIN && ex.reply.authoritative;
        if denied && self.challenges.exists(ex.query.question.name.wire()) {
            // A proof that comes with it would prove something else.
            let proves = |rtype| matches!(rtype, RecordType::NSEC | RecordType::NSEC3);
            if !ex.reply.records().iter().any(|record| proves(record.rtype)) {
                ex.reply.rcode = Rcode::NOERROR;
            }
        }
        Flow::Respond
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let served = context.blocks.iter().flat_map(|block| &block.served);
        let zones = served.map(|(_, zone)| zone.clone());
        self.zones
            .store(Arc::new(zones.filter(|zone| !zone.is_root()).collect()));
        Ok(())
    }
}

/// Whether another server of the certificate asks.
pub(crate) fn asker(query: &Query) -> Asker {
    match query.edns_option(PEER_OPTION) {
        Some(_) => Asker::Peer,
        None => Asker::Client,
    }
}

/// Writes the reply for a challenge's name: TXT has the values, other types do not exist there
/// (never NXDOMAIN, which would take the TXT along: RFC 8020).
pub(crate) fn respond(query: &Query, reply: &mut Reply, zone: Option<&Name>, values: &[String]) {
    let name = &query.question.name;
    reply.start(query, Rcode::NOERROR);
    reply.authoritative = true;
    if query.question.rtype != RecordType::TXT || values.is_empty() {
        // For the negative answer's TTL (RFC 2308 section 3): nobody is to remember it. Where no
        // zone is known the name itself is one that every asker takes.
        let apex = zone.unwrap_or(name).wire();
        let owner = Owner::Wire(apex);
        reply.push(Section::Authority, owner, RecordType::SOA, 0, |rdata| {
            rdata.octets(apex);
            rdata.octets(apex);
            for number in [1, 3600, 600, 86_400, 0] {
                rdata.u32(number);
            }
        });
        return;
    }
    announce(name);
    for value in values {
        let (answer, owner) = (Section::Answer, Owner::Question);
        reply.push(answer, owner, RecordType::TXT, 0, |rdata| {
            for part in value.as_bytes().chunks(STRING_OCTETS_MAX) {
                rdata.string(part);
            }
        });
    }
}

/// Says that a challenge is answered; whoever asks again and again does not fill the log.
fn announce(name: &Name) {
    static TOLD: Mutex<Vec<(Name, Instant)>> = Mutex::new(Vec::new());
    // Somebody else tells of one right now, and many that ask at once are told of once.
    let Ok(mut told) = TOLD.try_lock() else {
        return;
    };
    told.retain(|(_, when)| when.elapsed() < TOLD_AGAIN);
    if told.len() < TOLD_MAX && !told.iter().any(|(known, _)| known == name) {
        told.push((name.clone(), Instant::now()));
        tracing::info!(target: "plugin/tls", "Answering ACME DNS request:{name}");
    }
}
