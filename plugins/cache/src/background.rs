//! Asking again: behind a client's back, and before a stale answer is given.
use std::sync::Arc;

use corten_plugin::wire::Question;
use corten_plugin::{Detached, Exchange, Flow, Next, Transport};

use crate::config::StaleMode;
use crate::entry::{Claim, Entry, Kept, Key};
use crate::flights::{Flight, Lead, Outcome};
use crate::judge::Kind;
use crate::{Cache, Inner, Purpose, load};

/// Note of an exchange behind which an entry is asked for again.
pub(crate) struct Due {
    claim: Claim,
    purpose: Purpose,
    question: Question,
}

/// Note of a query that waits for news about a stale entry.
pub(crate) struct Verify {
    pub(crate) entry: Entry,
    pub(crate) claim: Option<Claim>,
    /// The duty to ask, if nobody else asks.
    pub(crate) lead: Option<Lead>,
    pub(crate) flight: Arc<Flight>,
}

impl Due {
    pub(crate) fn note(ex: &mut Exchange, claim: Claim, purpose: Purpose) {
        let question = ex.query.question.clone();
        ex.keep(Self {
            claim,
            purpose,
            question,
        });
        ex.after_send();
    }
}

/// Asks the plugins below; what does not fit a datagram is asked for again over a stream.
async fn ask(below: &Detached, question: &Question, like: &mut Exchange) -> Exchange {
    let asked = below.ask(question, like).await;
    if !asked.reply.truncated || like.transport != Transport::Udp {
        return asked;
    }
    like.transport = Transport::Tcp;
    let asked = below.ask(question, like).await;
    like.transport = Transport::Udp;
    asked
}

impl Inner {
    /// Asks for an entry again after the client has its answer.
    pub(crate) async fn refresh(&self, ex: &mut Exchange, next: Next<'_>, due: Due) {
        self.counters.at(ex.site).prefetch();
        let authentic_data = ex.query.authentic_data();
        ex.query.set_authentic_data(true);
        let mut asked = ask(&next.detach(), &due.question, ex).await;
        ex.query.set_authentic_data(authentic_data);
        self.settle(&mut asked, Some(due.claim), due.purpose, false);
    }

    /// Keeps what asking again has brought; returns it if it takes a stale entry's place.
    fn settle(
        &self,
        asked: &mut Exchange,
        claim: Option<Claim>,
        purpose: Purpose,
        wanted: bool,
    ) -> Option<Entry> {
        let come = !asked.is_dropped() && asked.reply.is_started() && asked.failure().is_none();
        let popularity = claim
            .as_ref()
            .map_or(0, |claim| claim.entry.head().popularity());
        let taken = come.then(|| self.take(asked, purpose, popularity, wanted));
        let refreshed = taken.filter(|taken| taken.refreshes || purpose == Purpose::Prefetch);
        if refreshed.is_none()
            && let Some(claim) = claim
        {
            let recheck = self.config.stale.as_ref().map_or(0, |stale| stale.recheck);
            let now = self.contents.time(crate::now());
            claim.failed(if recheck > 0 { now + recheck } else { 0 });
        }
        refreshed?.entry
    }
}

impl Cache {
    /// Waits for news about a stale entry, asking for them if nobody does, and gives what there is.
    pub(crate) async fn verify(
        &self,
        ex: &mut Exchange,
        next: Next<'_>,
        mut verify: Verify,
    ) -> Flow {
        if let Some(lead) = verify.lead.take() {
            self.ask_anew(ex, next, verify.claim.take(), lead);
        }
        let limit = match self.inner.config.stale.as_ref().map(|stale| stale.mode) {
            Some(StaleMode::Verify(limit)) => limit,
            _ => std::time::Duration::ZERO,
        };
        let outcome = match limit.is_zero() {
            true => Some(verify.flight.outcome().await),
            false => tokio::time::timeout(limit, verify.flight.outcome())
                .await
                .ok(),
        };
        if let Some(Outcome::Reply(entry)) = outcome
            && self.inner.is_news(&entry)
            && Key::of(&ex.query).is(&entry)
            && load(ex, &entry, entry.head().ttl)
        {
            // What came in time is given from memory.
            ex.reply.authoritative |= !limit.is_zero();
            return Flow::Respond;
        }
        self.inner.serve_stale(ex, &verify.entry)
    }

    /// Begins to ask, in a task that goes on when the client has waited long enough.
    fn ask_anew(&self, ex: &Exchange, next: Next<'_>, claim: Option<Claim>, lead: Lead) {
        let (inner, below, mut twin) = (Arc::clone(&self.inner), next.detach(), ex.twin());
        twin.query.set_authentic_data(true);
        let asking = async move {
            let question = twin.query.question.clone();
            let mut asked = ask(&below, &question, &mut twin).await;
            let entry = inner.settle(&mut asked, claim, Purpose::Stale, true);
            lead.land(|| entry.map_or(Outcome::Nothing, Outcome::Reply));
        };
        let stopped = self.stopped.clone();
        self.tasks.spawn(async move {
            // Whoever waits is told when the task is dropped.
            tokio::select! {
                () = stopped.cancelled() => (),
                () = asking => (),
            }
        });
    }
}

impl Inner {
    /// Whether an outcome takes a stale entry's place; it may be that of a query that began without
    /// one.
    fn is_news(&self, entry: &Entry) -> bool {
        match entry.head().kind {
            Kind::Positive => entry.head().answering || !self.config.prefers_positive(),
            Kind::Referral | Kind::NameError | Kind::NoData => !self.config.prefers_positive(),
            Kind::Failure | Kind::Other => false,
        }
    }
}
