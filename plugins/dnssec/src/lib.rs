//! *dnssec*: signs answers as they are asked for.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `keyring` | the keys, and which of them sign what |
//! | `sets` | the RRsets of a reply |
//! | `work` | what of a reply is to be signed, and the reply with its signatures |
//! | `proof` | records that deny |
//! | `cache` | signatures that were made |
//! | `pool` | threads that make others |
//! | `known` | what is known of the zones that are signed |
//! | `counters` | metrics |
//! | here | the decisions |
//!
//! A reply whose signatures are all in the cache is signed where it is made. Only for one that is not the query
//! waits, and the pool signs.
mod cache;
mod config;
mod counters;
mod keyring;
mod known;
mod pool;
mod proof;
mod sets;
mod work;

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corten_dnssec::denial::{NSEC3PARAM, NXNAME};
use corten_dnssec::rrsig::Validity;
use corten_plugin::unix_seconds;
use corten_plugin::wire::{
    Class, Name, Opcode, Owner, Question, Rcode, RecordType, Reply, Section,
};
use corten_plugin::{
    BoxError, BySite, Context, Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError,
    Stop, Tasks, Zones, async_trait,
};
use corten_zone::Catalogue;

use cache::Cache;
use config::{Config, Denial};
use counters::Counters;
use pool::{NotSigned, Pool, Signer};
use work::{Found, Part, Plan, Work};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "dnssec",
    setup,
    readme: include_str!("../README.md"),
};

/// Original TTL of every signature, in seconds: nobody knows the one that a cache or an upstream
/// began with.
const ORIGINAL_TTL: u32 = 3_600;
/// Seconds before now at which signatures begin to be valid: clocks differ, and so do summer and
/// winter.
const INCEPTION: u32 = 3 * 3_600;
/// Seconds for which they are valid.
const EXPIRATION: u32 = 8 * 86_400;
/// Seconds before their end at which they are made anew.
const RENEWAL: u32 = 2 * 86_400;
/// Time between two looks for signatures that nobody asks for any more.
const SWEEP: Duration = Duration::from_secs(8 * 3_600);
/// "Invalid Query Type" (RFC 9824 section 3.5, an Extended DNS Error).
const INVALID_QUERY_TYPE: u16 = 30;

thread_local! {
    /// Memory of the worker for one reply after the other.
    static WORK: RefCell<Work> = RefCell::default();
}

pub(crate) struct Dnssec {
    zones: Zones,
    denial: Denial,
    signer: Signer,
    pool: Arc<Pool>,
    counters: BySite<Counters>,
    catalogues: OnceLock<Vec<Arc<dyn Catalogue>>>,
    tasks: Tasks,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    if config.keys.len() == 0 {
        tracing::warn!(target: "plugin/dnssec", "no key is given: nothing is signed");
        return Ok(());
    }
    // What was signed with the same keys stays good.
    let before = setup.predecessor::<Dnssec>().map(|before| &before.signer);
    let kept = before.filter(|before| {
        before.keys.is_same(&config.keys) && before.cache.capacity() == config.capacity
    });
    let signer = kept.cloned().unwrap_or_else(|| Signer {
        keys: Arc::new(config.keys),
        cache: Arc::new(Cache::new(config.capacity)),
    });
    let pool = setup.process.service(Pool::default);
    setup.push(Dnssec {
        zones: config.zones,
        denial: config.denial,
        signer,
        pool,
        counters: Counters::by_site(),
        catalogues: OnceLock::new(),
        tasks: Tasks::default(),
    });
    Ok(())
}

/// Index of the longest zone that a name is in.
fn zone_of(zones: &Zones, name: &Name) -> Option<usize> {
    let zones = zones.names().iter().enumerate();
    zones
        .filter(|(_, zone)| name.is_in(zone))
        .max_by_key(|(_, zone)| zone.label_count())
        .map(|(index, _)| index)
}

/// Index of the zone that signs a name's records of a type: DS records are the parent's (RFC 4035 section
/// 2.4), if that is signed here as well.
fn signer_of(zones: &Zones, name: &Name, rtype: RecordType) -> Option<usize> {
    let parent = match rtype {
        RecordType::DS if !name.is_root() => zone_of(zones, &name.parent(1)),
        _ => None,
    };
    parent.or_else(|| zone_of(zones, name))
}

/// Seconds since 1970 without their upper bits (RFC 4034 section 3.1.5).
fn now() -> u32 {
    unix_seconds() as u32
}

fn validity(now: u32) -> Validity {
    Validity {
        inception: now.wrapping_sub(INCEPTION),
        expiration: now.wrapping_add(EXPIRATION),
    }
}

/// What became of signing a reply without waiting.
enum Done {
    Yes,
    Refused(NotSigned),
    /// Signatures, or knowledge, are missing.
    Wait,
}

impl Dnssec {
    /// Signs a reply if the cache has all of its signatures.
    fn sign_now(&self, ex: &mut Exchange) -> Done {
        WORK.with_borrow_mut(|work| match work.plan(self, &ex.query, &ex.reply, None) {
            Plan::Leave => Done::Yes,
            Plan::TooMany => Done::Refused(NotSigned::Overload),
            Plan::AskForDelegation => Done::Wait,
            Plan::Sign => {
                let (now, counters) = (now(), self.counters.at(ex.site));
                let mut old = None;
                let complete = work.look_up(self, &ex.reply, now, |part, found| match found {
                    Found::Fresh => counters.hit(),
                    Found::Old => {
                        counters.hit();
                        old.get_or_insert_with(Vec::new).push(part);
                    }
                    Found::Not => counters.miss(),
                });
                if !complete {
                    return Done::Wait;
                }
                for part in old.into_iter().flatten() {
                    let job = work.job(self, &ex.reply, part, validity(now));
                    // The signature is still good; if there is no room, there will be later.
                    let _ = self.pool.submit(&self.signer, job);
                }
                work.write(&ex.query, &mut ex.reply);
                Done::Yes
            }
        })
    }

    /// Signs a reply with the pool's help.
    async fn sign(&self, ex: &mut Exchange, next: Next<'_>) -> Result<(), NotSigned> {
        let mut work = Box::<Work>::default();
        let mut plan = work.plan(self, &ex.query, &ex.reply, None);
        if plan == Plan::AskForDelegation {
            let delegated = self.ask_for_delegation(ex, next).await;
            plan = work.plan(self, &ex.query, &ex.reply, Some(delegated));
        }
        match plan {
            Plan::Sign => (),
            Plan::Leave => return Ok(()),
            Plan::TooMany | Plan::AskForDelegation => return Err(NotSigned::Overload),
        }
        let now = now();
        let mut missing = Vec::new();
        work.look_up(self, &ex.reply, now, |part, found| {
            if found == Found::Not {
                missing.push(part);
            }
        });
        let submit = |part: &Part| {
            let job = work.job(self, &ex.reply, *part, validity(now));
            self.pool.submit(&self.signer, job)
        };
        let receivers: Vec<_> = missing.iter().map(submit).collect();
        for (part, receiver) in missing.into_iter().zip(receivers) {
            let signed = receiver?.await.map_err(|_| NotSigned::Failed)??;
            work.set_signed(part, &signed);
        }
        self.counters.at(ex.site).entries(self.signer.cache.len());
        work.write(&ex.query, &mut ex.reply);
        Ok(())
    }

    /// Whether the question's name has NS records, by what the plugins below say.
    async fn ask_for_delegation(&self, ex: &Exchange, next: Next<'_>) -> bool {
        let question = Question {
            rtype: RecordType::NS,
            ..ex.query.question.clone()
        };
        let answer = next.ask(&question, ex).await;
        let view = answer.reply.view();
        view.records().iter().any(|record| {
            record.rtype == RecordType::NS && view.owner(record).as_ref() == Some(&question.name)
        })
    }

    /// Answers for records that the signer alone has.
    fn answer_apex(&self, ex: &mut Exchange) {
        let (rtype, ttl) = match ex.query.question.rtype {
            RecordType::DNSKEY => (RecordType::DNSKEY, self.signer.keys.ttl()),
            other => (other, 0),
        };
        let reply = ex.start(Rcode::NOERROR);
        reply.authoritative = true;
        let push = |reply: &mut Reply, rdata: &[u8]| {
            reply.push(Section::Answer, Owner::Question, rtype, ttl, |out| {
                out.octets(rdata);
            });
        };
        match rtype {
            RecordType::DNSKEY => self
                .signer
                .keys
                .rdatas()
                .for_each(|rdata| push(reply, rdata)),
            _ => push(reply, &NSEC3PARAM),
        }
    }

    fn refuse(&self, ex: &mut Exchange, why: NotSigned) -> Flow {
        self.counters.at(ex.site).refused();
        ex.fail(Rcode::SERVFAIL, format!("plugin/dnssec: {why}"))
    }
}

#[async_trait]
impl Plugin for Dnssec {
    fn name(&self) -> &'static str {
        "dnssec"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let Question { name, rtype, class } = &ex.query.question;
        let Some(zone) = zone_of(&self.zones, name) else {
            return Flow::Pass;
        };
        let transfer = matches!(*rtype, RecordType::AXFR | RecordType::IXFR);
        if ex.query.opcode() != Opcode::QUERY || transfer || *class != Class::IN {
            return Flow::Pass;
        }
        let own = match *rtype {
            RecordType::DNSKEY => true,
            RecordType::NSEC3PARAM => self.denial == Denial::Nsec3,
            _ => false,
        };
        if own && self.zones.names()[zone] == *name {
            self.answer_apex(ex);
            return match ex.query.dnssec_ok() {
                false => Flow::Respond,
                true => match self.sign_now(ex) {
                    Done::Yes => Flow::Respond,
                    Done::Refused(why) => self.refuse(ex, why),
                    Done::Wait => Flow::Wait,
                },
            };
        }
        if *rtype == NXNAME && self.denial == Denial::Compact {
            let _ = ex.answer(Rcode::FORMERR);
            ex.explain(INVALID_QUERY_TYPE, "");
            return Flow::Respond;
        }
        match ex.query.dnssec_ok() {
            true => Flow::Watch,
            false => Flow::Pass,
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if !ex.reply.is_started() || ex.is_dropped() {
            return Flow::Respond;
        }
        match self.sign_now(ex) {
            Done::Yes => Flow::Respond,
            Done::Refused(why) => self.refuse(ex, why),
            Done::Wait => Flow::Wait,
        }
    }

    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, phase: Phase) -> Flow {
        if phase == Phase::Query {
            self.answer_apex(ex);
        }
        match self.sign(ex, next).await {
            Ok(()) => Flow::Respond,
            Err(why) => self.refuse(ex, why),
        }
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let catalogues = context.peers.all::<dyn Catalogue>().cloned().collect();
        let _ = self.catalogues.set(catalogues);
        let cache = Arc::clone(&self.signer.cache);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                // What would be made anew when it is next asked for.
                cache.sweep(now().wrapping_add(RENEWAL));
            }
        });
        Ok(())
    }

    async fn stop(&self, _why: Stop) {
        self.tasks.stop();
    }
}

#[cfg(test)]
mod tests;
