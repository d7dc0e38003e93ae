//! The invariants of the chain (docs/architecture.md, "Invariants of the chain").
mod deadline;
mod links;
mod spans;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use corten_wire::{Rcode, RecordType};

use crate::*;
use links::*;

#[tokio::test]
async fn way_back_runs_once_in_reverse_order() {
    let trace = Trace::default();
    let cache = Arc::new(Cache::default());
    let chain = chain(vec![
        Arc::new(Log(trace.clone())),
        Arc::new(Rewrite),
        Arc::new(Dns64),
        cache.clone(),
        Arc::new(Forward),
    ]);

    let (flow, ex, waited) = serve(&chain, q("old.example", RecordType::TXT)).await;
    assert_eq!((flow, waited), (Flow::Respond, true));
    assert_eq!(said(&ex), "new.example.");
    assert_eq!(ex.query.question.name.to_string(), "old.example.");
    assert_eq!(ex.answered_by(), Some(4));

    let (_, mut ex, waited) = serve(&chain, q("old.example", RecordType::TXT)).await;
    assert!(!waited, "a cache hit is answered inline");
    assert_eq!(ex.answered_by(), Some(3));
    assert!(ex.has_afterwards());
    chain.afterwards(&mut ex).await;
    assert_eq!(cache.refreshed.load(Relaxed), 1);

    for expect_wait in [true, false] {
        let (_, ex, waited) = serve(&chain, q("v6.example", RecordType::AAAA)).await;
        assert_eq!(said(&ex), "64:v6.example.");
        assert_eq!(
            (ex.query.question.rtype, waited),
            (RecordType::AAAA, expect_wait),
            "both answers cached: inline"
        );
    }

    let (_, ex, _) = serve(&chain, q("broken.example", RecordType::A)).await;
    assert_eq!(ex.failure().unwrap().to_string(), "upstream did not answer");
    assert_eq!(
        trace.lock().unwrap().len(),
        5,
        "{:?}",
        trace.lock().unwrap()
    );
}

#[tokio::test]
async fn a_chain_without_an_answer_fails_with_coredns_words() {
    let trace = Trace::default();
    for (links, error) in [
        (vec![], "plugin/server: no next plugin found"),
        (
            vec![Arc::new(Log(trace.clone())) as Arc<dyn Plugin>],
            "plugin/log: no next plugin found",
        ),
    ] {
        let (flow, ex, _) = serve(&chain(links), q("a.example", RecordType::A)).await;
        assert_eq!(
            (flow, ex.reply.rcode, ex.failure().unwrap().to_string()),
            (Flow::Respond, Rcode::SERVFAIL, error.into())
        );
    }
    assert_eq!(
        *trace.lock().unwrap(),
        ["a.example. SERVFAIL by None failed true"]
    );
}

#[tokio::test]
async fn a_chain_of_sixty_four_links_works_and_sixty_five_is_refused() {
    let trace = Trace::default();
    let links = |n: usize| -> Vec<Arc<dyn Plugin>> {
        (0..n)
            .map(|_| Arc::new(Log(trace.clone())) as Arc<dyn Plugin>)
            .collect()
    };
    let _ = serve(&chain(links(64)), q("a.example", RecordType::A)).await;
    assert_eq!(trace.lock().unwrap().len(), 64);
    assert!(Chain::new(links(65)).is_err());
}

/// Gives up on the plugins below it after a while.
struct Impatient;
#[async_trait]
impl Plugin for Impatient {
    fn name(&self) -> &'static str {
        "impatient"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        ex.keep(7u8);
        Flow::Wait
    }
    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, _: Phase) -> Flow {
        let end = tokio::time::timeout(std::time::Duration::from_millis(1), next.run(ex)).await;
        assert_eq!(
            ex.kept::<u8>(),
            Some(7),
            "notes stay with their owner across a run"
        );
        end.unwrap_or_else(|_| ex.answer(Rcode::REFUSED))
    }
}

struct Never;
#[async_trait]
impl Plugin for Never {
    fn name(&self) -> &'static str {
        "never"
    }
    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }
    async fn wait(&self, _: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn plugins_below_an_abandoned_run_are_not_called_back() {
    let (above, below) = (Trace::default(), Trace::default());
    let abandoned = chain(vec![
        Arc::new(Log(above.clone())),
        Arc::new(Impatient),
        Arc::new(Log(below.clone())),
        Arc::new(Never),
    ]);
    let (_, ex, _) = serve(&abandoned, q("a.example", RecordType::A)).await;
    assert_eq!(ex.reply.rcode, Rcode::REFUSED);
    assert_eq!(
        (above.lock().unwrap().len(), below.lock().unwrap().len()),
        (1, 0)
    );
    assert_eq!(ex.answered_by(), Some(1));

    let finished = chain(vec![
        Arc::new(Impatient),
        Arc::new(Log(below.clone())),
        Arc::new(Forward),
    ]);
    let (_, ex, _) = serve(&finished, q("a.example", RecordType::A)).await;
    assert_eq!(
        (said(&ex), ex.answered_by()),
        ("a.example.".into(), Some(2))
    );
    assert_eq!(below.lock().unwrap().len(), 1);
}

/// Refreshes in a task of its own that outlives the exchange.
struct Refresher;
#[async_trait]
impl Plugin for Refresher {
    fn name(&self) -> &'static str {
        "refresher"
    }
    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }
    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, _: Phase) -> Flow {
        let (below, asked) = (next.detach(), q("b.example", RecordType::A));
        let found =
            tokio::spawn(async move { below.ask(&asked.query.question.clone(), &asked).await })
                .await
                .unwrap();
        say(ex, &said(&found))
    }
}

#[tokio::test]
async fn a_detached_run_outlives_its_exchange() {
    let chain = chain(vec![Arc::new(Refresher), Arc::new(Forward)]);
    let (_, ex, _) = serve(&chain, q("a.example", RecordType::A)).await;
    assert_eq!(said(&ex), "b.example.");
}

#[tokio::test]
async fn the_way_back_may_wait_for_another_question() {
    let chain = chain(vec![Arc::new(Dns64Waits), Arc::new(Forward)]);
    let (_, ex, _) = serve(&chain, q("v6.example", RecordType::AAAA)).await;
    assert_eq!(said(&ex), "64:v6.example.");
}

/// Never content.
struct Greedy;
#[async_trait]
impl Plugin for Greedy {
    fn name(&self) -> &'static str {
        "greedy"
    }
    fn interest(&self) -> Interest {
        Interest::Response
    }
    fn on_response(&self, _: &mut Exchange) -> Flow {
        Flow::Again
    }
}

struct Answer(AtomicU32);
#[async_trait]
impl Plugin for Answer {
    fn name(&self) -> &'static str {
        "answer"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        self.0.fetch_add(1, Relaxed);
        ex.answer(Rcode::NOERROR)
    }
}

#[tokio::test]
async fn asking_again_is_bounded() {
    let answer = Arc::new(Answer(AtomicU32::new(0)));
    let trace = Trace::default();
    let chain = chain(vec![
        Arc::new(Log(trace.clone())),
        Arc::new(Greedy),
        answer.clone(),
    ]);
    let (_, ex, waited) = serve(&chain, q("a.example", RecordType::A)).await;
    assert!(!waited);
    assert_eq!(ex.reply.rcode, Rcode::SERVFAIL);
    assert_eq!(answer.0.load(Relaxed), u32::from(Chain::ROUNDS_MAX) + 1);
    assert_eq!(trace.lock().unwrap().len(), 1);
}

/// Drops everything.
struct Acl;
#[async_trait]
impl Plugin for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }
    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Drop
    }
}

/// Reports each exchange over a connection that has to be waited for.
struct Tap(Trace);
#[async_trait]
impl Plugin for Tap {
    fn name(&self) -> &'static str {
        "tap"
    }
    fn interest(&self) -> Interest {
        Interest::Response
    }
    fn on_response(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }
    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().push(said(ex));
        Flow::Respond
    }
}

#[tokio::test]
async fn a_drop_stays_a_drop_when_the_way_back_waits() {
    let (tap, log) = (Trace::default(), Trace::default());
    let chain = chain(vec![
        Arc::new(Log(log.clone())),
        Arc::new(Tap(tap.clone())),
        Arc::new(Acl),
    ]);
    let (flow, ex, waited) = serve(&chain, q("a.example", RecordType::A)).await;
    assert_eq!(
        (flow, said(&ex), waited),
        (Flow::Drop, "nothing".into(), true)
    );
    assert_eq!(
        (tap.lock().unwrap().len(), log.lock().unwrap().len()),
        (1, 1)
    );
}

#[test]
fn services_of_the_process_are_made_once() {
    let process = Process::default();
    let one = process.service(|| Mutex::new(1));
    *one.lock().unwrap() = 2;
    assert_eq!(*process.service(|| Mutex::new(1)).lock().unwrap(), 2);
    assert!(process.reload().is_none());
}
