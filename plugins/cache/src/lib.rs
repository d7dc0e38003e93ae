//! *cache*: keeps answers.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `judge` | what a reply is, whether it is kept, and for how long |
//! | `entry` | one answer, and what tells it from others |
//! | `store` | entries by hash; a look-up takes no lock |
//! | `contents` | the two stores, and which entry counts |
//! | `flights` | queries under way, so that the same is asked once |
//! | `background` | asking again behind a client's back, and before a stale answer |
//! | `counters` | metrics |
//! | here | the decisions |
mod background;
mod config;
mod contents;
mod counters;
mod entry;
mod flights;
mod judge;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use corten_plugin::wire::{Query, RecordType};
use corten_plugin::{
    BySite, Directive, Exchange, Flow, Next, Owed, Phase, Plugin, Setup, SetupError, Stop,
    Transport, async_trait,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use background::{Due, Verify};
use config::{Config, StaleMode};
use contents::{Contents, Hit};
use counters::Counters;
use entry::{Claim, Entry, Kept, Key, Parts};
use flights::{Flight, Flights, Join, Lead, Outcome};
use judge::{Kind, judge};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "cache",
    setup,
    readme: include_str!("../README.md"),
};

/// How long somebody waits for the answer to another's query before asking on its own.
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How often it follows another one, when the first has left without an answer.
const FOLLOW_ROUNDS: u8 = 3;
/// Extended DNS Errors (RFC 8914 section 4).
const EDE: u16 = 15;
const STALE_ANSWER: u8 = 3;
const STALE_NAME_ERROR: u8 = 19;
const CACHED_ERROR: u8 = 13;

struct Cache {
    inner: Arc<Inner>,
    /// Verifications that outlive the exchange they began in.
    tasks: TaskTracker,
    stopped: CancellationToken,
}

/// What tasks share with the plugin.
struct Inner {
    config: Config,
    contents: Arc<Contents>,
    flights: Arc<Flights>,
    counters: BySite<Counters>,
    /// The block that the contents are good for.
    fingerprint: Arc<str>,
    /// Names whose answers are not remembered.
    owed: Arc<Owed>,
}

/// Note of a query that went on: what the way back needs.
struct Asked {
    /// The client's AD bit.
    authentic_data: bool,
    lead: Option<Lead>,
}

/// Note of a query that waits.
enum Waits {
    /// For another one's answer.
    Follow(Arc<Flight>),
    /// For news about a stale entry.
    Verify(Verify),
}

/// What was made of a reply from below.
struct Taken {
    /// The entry, if it is kept or somebody wants it.
    entry: Option<Entry>,
    /// It may take the place of a stale one.
    refreshes: bool,
}

/// What a reply was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// For a client.
    Answer,
    /// In place of an entry that will soon be gone.
    Prefetch,
    /// In place of a stale entry, which stays when the reply is no better.
    Stale,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    let fingerprint = Arc::clone(&setup.options.fingerprint);
    // What other plugins answered before may be wrong now, unless nothing has changed.
    let before = setup
        .predecessor::<Cache>()
        .filter(|old| old.inner.fingerprint == fingerprint && old.inner.config == config);
    let contents = match before {
        Some(old) => Arc::clone(&old.inner.contents),
        None => Arc::new(Contents::new(&config, now())),
    };
    let zones: Vec<_> = config
        .zones
        .names()
        .iter()
        .map(ToString::to_string)
        .collect();
    setup.push(Cache {
        inner: Arc::new(Inner {
            config,
            contents,
            flights: Flights::new(),
            counters: Counters::by_site(zones.join(",").into()),
            fingerprint,
            owed: setup.process.service(Owed::default),
        }),
        tasks: TaskTracker::new(),
        stopped: CancellationToken::new(),
    });
    Ok(())
}

#[async_trait]
impl Plugin for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let inner = &*self.inner;
        if !inner.config.covers(&ex.query) || inner.owed.covers(&ex.query.question) {
            return Flow::Pass;
        }
        let now = inner.contents.time(ex.received);
        let key = Key::of(&ex.query);
        let hash = inner.contents.hash(key);
        let counters = inner.counters.at(ex.site);
        counters.request();
        match inner.contents.find(&inner.config, key, hash, now) {
            Some(hit) => {
                counters.hit(hit.shelf);
                inner.hit(ex, hit, hash, now)
            }
            None => {
                counters.miss();
                inner.miss(ex, hash, now)
            }
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if let Some(asked) = ex.kept::<Asked>() {
            self.inner.answered(ex, asked);
        }
        Flow::Respond
    }

    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, phase: Phase) -> Flow {
        match phase {
            Phase::Query => match ex.kept::<Waits>() {
                Some(Waits::Follow(flight)) => self.inner.follow(ex, flight).await,
                Some(Waits::Verify(verify)) => self.verify(ex, next, verify).await,
                None => ask(ex, None),
            },
            Phase::Sent => {
                if let Some(due) = ex.kept::<Due>() {
                    self.inner.refresh(ex, next, due).await;
                }
                Flow::Respond
            }
            Phase::Response => Flow::Respond,
        }
    }

    async fn stop(&self, _: Stop) {
        self.stopped.cancel();
        self.tasks.close();
        // A worker that is gone has taken its tasks along.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.tasks.wait()).await;
    }
}

/// Has the query go on; AD tells upstreams that it is wanted in the reply (RFC 6840 section 5.7),
/// since the next client may want it.
fn ask(ex: &mut Exchange, lead: Option<Lead>) -> Flow {
    let authentic_data = ex.query.authentic_data();
    ex.query.set_authentic_data(true);
    ex.keep(Asked {
        authentic_data,
        lead,
    });
    Flow::Watch
}

/// AD is for those who ask for it with AD or DO (RFC 6840 section 5.8).
fn strip(ex: &mut Exchange) {
    ex.reply.authentic_data &= ex.query.dnssec_ok() || ex.query.authentic_data();
}

/// Makes the reply from an entry; false when it cannot be, which would be a mistake of ours.
fn load(ex: &mut Exchange, entry: &Entry, ttl: u32) -> bool {
    if !ex.reply.unpack(&ex.query, entry.packed(), ttl) {
        return false;
    }
    strip(ex);
    if let Some(wildcard) = entry.wildcard() {
        ex.set_metadata("zone/wildcard", wildcard);
    }
    true
}

/// The same for a look-up that found something: AA is set whatever the entry says, because old
/// clients want it (CoreDNS's reason).
fn serve(ex: &mut Exchange, entry: &Entry, ttl: u32, error: Option<u8>) -> Flow {
    if !load(ex, entry, ttl) {
        return ask(ex, None);
    }
    ex.reply.authoritative = true;
    if let Some(code) = error.filter(|_| ex.query.edns().is_some()) {
        ex.reply.set_option(EDE, &[0, code]);
    }
    Flow::Respond
}

impl Inner {
    fn hit(&self, ex: &mut Exchange, hit: Hit, hash: u64, now: u64) -> Flow {
        let served = hit.with(|entry| self.fresh(ex, entry, now));
        match served.flatten() {
            Some(flow) => flow,
            None => match hit.into_entry() {
                Some(entry) => self.stale(ex, entry, hash, now),
                None => ask(ex, None),
            },
        }
    }

    /// Serves an entry whose TTL is not over.
    fn fresh(&self, ex: &mut Exchange, entry: &Entry, now: u64) -> Option<Flow> {
        let head = entry.head();
        let left = u32::try_from(head.left(now))
            .ok()
            .filter(|left| *left > 0)?;
        if let Some(prefetch) = &self.config.prefetch {
            let percent = u64::from(head.ttl) * u64::from(prefetch.percent);
            if head.count(prefetch, now)
                && u64::from(left) <= percent.div_ceil(100)
                && let Some(claim) = Claim::take(entry, now)
            {
                Due::note(ex, claim, Purpose::Prefetch);
            }
        }
        let ttl = if self.config.keep_ttl { head.ttl } else { left };
        let error = (head.kind == Kind::Failure).then_some(CACHED_ERROR);
        Some(serve(ex, entry, ttl, error))
    }

    /// Serves an entry whose TTL is over, or has it verified first.
    fn stale(&self, ex: &mut Exchange, entry: Entry, hash: u64, now: u64) -> Flow {
        let Some(stale) = &self.config.stale else {
            return self.miss(ex, hash, now);
        };
        match stale.mode {
            StaleMode::Immediate => {
                if let Some(claim) = Claim::take(&entry, now) {
                    Due::note(ex, claim, Purpose::Stale);
                }
            }
            StaleMode::Verify(_) => {
                // With a time between two tries nobody but who tries waits.
                let claim = match stale.recheck {
                    0 => None,
                    _ => match Claim::take(&entry, now) {
                        Some(claim) => Some(claim),
                        None => return self.serve_stale(ex, &entry),
                    },
                };
                let (lead, flight) = match self.flights.join(hash) {
                    Join::Lead(lead) => {
                        let flight = lead.follow();
                        (Some(lead), flight)
                    }
                    Join::Follow(flight) => (None, flight),
                };
                ex.keep(Waits::Verify(Verify {
                    entry,
                    claim,
                    lead,
                    flight,
                }));
                return Flow::Wait;
            }
        }
        self.serve_stale(ex, &entry)
    }

    fn serve_stale(&self, ex: &mut Exchange, entry: &Entry) -> Flow {
        self.counters.at(ex.site).stale();
        let error = match entry.head().kind {
            Kind::NameError => STALE_NAME_ERROR,
            _ => STALE_ANSWER,
        };
        let ttl = self.config.stale.as_ref().map_or(0, |stale| stale.ttl);
        serve(ex, entry, ttl, Some(error))
    }

    /// Asks, or waits for whoever asks the same already.
    fn miss(&self, ex: &mut Exchange, hash: u64, now: u64) -> Flow {
        if !self.may_share(&ex.query) {
            return ask(ex, None);
        }
        match self.flights.join(hash) {
            Join::Follow(flight) => {
                ex.keep(Waits::Follow(flight));
                Flow::Wait
            }
            Join::Lead(lead) => {
                // Another's answer may have come between look-up and here.
                let hit = self
                    .contents
                    .find(&self.config, Key::of(&ex.query), hash, now);
                match hit.and_then(|hit| hit.with(|entry| self.fresh(ex, entry, now)).flatten()) {
                    Some(flow) => flow,
                    None => ask(ex, Some(lead)),
                }
            }
        }
    }

    /// Whether an answer may be shared by those who ask at the same time.
    ///
    /// Not where nothing is kept on purpose, not while it is open for which subnet an answer is
    /// (RFC 7871 section 7.3.1), and not for HINFO: that is the type of queries that look for
    /// forwarding loops, which would wait for themselves here and not be noticed.
    fn may_share(&self, query: &Query) -> bool {
        let question = &query.question;
        let disabled = |zones: &corten_plugin::Zones| zones.matches(&question.name).is_some();
        question.rtype != RecordType::HINFO
            && !Key::of(query).has_subnet()
            && !self.config.disabled.iter().any(disabled)
    }

    /// Waits for the answer to another's query; asks when none comes.
    async fn follow(&self, ex: &mut Exchange, mut flight: Arc<Flight>) -> Flow {
        let hash = self.contents.hash(Key::of(&ex.query));
        for _ in 0..FOLLOW_ROUNDS {
            let Ok(outcome) = tokio::time::timeout(FOLLOW_MAX, flight.outcome()).await else {
                break;
            };
            match outcome {
                Outcome::Reply(entry) => {
                    let streams = ex.transport != Transport::Udp;
                    if Key::of(&ex.query).is(&entry)
                        && load(ex, &entry, entry.head().ttl)
                        && !(streams && ex.reply.truncated)
                    {
                        return Flow::Respond;
                    }
                    break;
                }
                Outcome::Failed(rcode, text) => return ex.fail(rcode, text.to_string()),
                Outcome::Nothing => match self.flights.join(hash) {
                    Join::Lead(lead) => return ask(ex, Some(lead)),
                    Join::Follow(other) => flight = other,
                },
            }
        }
        ask(ex, None)
    }

    /// Takes what came from below on a client's query.
    fn answered(&self, ex: &mut Exchange, asked: Asked) {
        ex.query.set_authentic_data(asked.authentic_data);
        if ex.is_dropped() || !ex.reply.is_started() {
            return;
        }
        if let Some(failure) = ex.failure() {
            if let Some(lead) = asked.lead {
                lead.land(|| Outcome::Failed(ex.reply.rcode, failure.to_string().into()));
            }
            return;
        }
        let wanted = asked.lead.is_some();
        let taken = self.take(ex, Purpose::Answer, 0, wanted);
        if let Some(lead) = asked.lead {
            lead.land(|| taken.entry.map_or(Outcome::Nothing, Outcome::Reply));
        }
        strip(ex);
    }

    /// Gives every record of a reply the same TTL, and keeps it if it may be kept.
    fn take(&self, ex: &mut Exchange, purpose: Purpose, popularity: u64, wanted: bool) -> Taken {
        let config = &self.config;
        let verdict = judge(config, &ex.query, &ex.reply, unix_time);
        ex.reply.set_ttls(verdict.ttl);
        let matches = ex.reply.answers(&ex.query);
        // Another block may deny others what it told this client.
        let is_for_all = !ex.is_personal();
        let wanted = wanted && is_for_all;
        let refreshes = matches && is_for_all && verdict.refreshes(config, &ex.reply);
        // With positive answers preferred, denials are kept beside them.
        let may_keep =
            is_for_all && (purpose != Purpose::Stale || refreshes || config.prefers_positive());
        let mut shelf = verdict.keep.filter(|_| may_keep);
        if shelf.is_some() && !matches {
            self.counters.at(ex.site).drop();
            shelf = None;
        }
        let name = &ex.query.question.name;
        shelf = shelf.filter(|shelf| config.disabled[*shelf as usize].matches(name).is_none());
        let mut packed = Vec::new();
        if (shelf.is_none() && !wanted) || !matches || !ex.reply.pack(&mut packed) {
            return Taken {
                entry: None,
                refreshes,
            };
        }
        let key = Key::of(&ex.query);
        let hash = self.contents.hash(key);
        let hides = config.prefers_positive() && !verdict.answering;
        let now = self.contents.time(now());
        let entry = Parts {
            key,
            hash,
            packed,
            wildcard: ex.metadata("zone/wildcard").as_deref().unwrap_or_default(),
            kind: verdict.kind,
            answering: verdict.answering,
            ttl: verdict.ttl,
            now,
            popularity,
            good: hides.then(|| self.contents.good(key, hash)).flatten(),
        }
        .entry();
        if let Some(shelf) = shelf {
            let counters = self.counters.at(ex.site);
            if self.contents.keep(config, key, &entry, shelf, now) {
                counters.eviction(shelf);
            }
            counters.entries(&self.contents);
        }
        Taken {
            entry: Some(entry),
            refreshes,
        }
    }
}

/// The clock of entries; tests stop and advance it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Seconds since 1970 without their upper bits, as signatures tell time.
fn unix_time() -> u32 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs() as u32)
}

#[cfg(test)]
mod tests;
