//! The invariants of the chain (docs/architecture.md, "Invariants of the chain").
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use corten_wire::{Class, Gate, Owner, Query, Question, Rcode, RecordType, Section};

use crate::*;

type Trace = Arc<Mutex<Vec<String>>>;

/// What a reply says: its RCODE, or the text of its one TXT record.
fn said(ex: &Exchange) -> String {
    match (ex.reply.is_started(), ex.reply.records()) {
        (false, _) => "nothing".into(),
        (true, []) => ex.reply.rcode.to_string(),
        (true, [one, ..]) => String::from_utf8_lossy(
            &ex.reply.octets()[usize::from(one.rdata) + 1..usize::from(one.end)],
        )
        .into_owned(),
    }
}

fn say(ex: &mut Exchange, text: &str) -> Flow {
    ex.start(Rcode::NOERROR);
    ex.reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::TXT,
        0,
        |rdata| rdata.string(text.as_bytes()),
    );
    Flow::Respond
}

fn question(name: &str, rtype: RecordType) -> Question {
    Question {
        name: name.parse().unwrap(),
        rtype,
        class: Class::IN,
    }
}

fn q(name: &str, rtype: RecordType) -> Exchange {
    let mut ex = Exchange::new();
    assert_eq!(
        ex.query
            .read(Query::ask(7, &question(name, rtype)).octets()),
        Gate::Pass
    );
    ex
}

fn chain(links: Vec<Arc<dyn Plugin>>) -> Arc<Chain> {
    Chain::new(links).unwrap()
}

/// The server's part: inline first, a spawned task for the rest.
async fn serve(chain: &Arc<Chain>, mut ex: Exchange) -> (Flow, Exchange, bool) {
    match chain.run(&mut ex) {
        Progress::Done(flow) => (flow, ex, false),
        Progress::Waits(at, phase) => {
            let chain = Arc::clone(chain);
            let task = tokio::spawn(async move { (chain.resume(&mut ex, at, phase).await, ex) });
            let (flow, ex) = task.await.unwrap();
            (flow, ex, true)
        }
    }
}

struct Log(Trace);
#[async_trait]
impl Plugin for Log {
    fn name(&self) -> &'static str {
        "log"
    }
    fn interest(&self) -> Interest {
        Interest::Response
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let line = format!(
            "{} {} by {:?} failed {}",
            ex.query.question.name,
            said(ex),
            ex.answered_by(),
            ex.failure().is_some()
        );
        self.0.lock().unwrap().push(line);
        Flow::Respond
    }
}

struct Rewrite;
#[async_trait]
impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.question.name != "old.example".parse().unwrap() {
            return Flow::Pass;
        }
        let was = std::mem::replace(&mut ex.query.question.name, "new.example".parse().unwrap());
        ex.keep(was);
        Flow::Watch
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if let Some(was) = ex.kept() {
            ex.query.question.name = was;
        }
        Flow::Respond
    }
}

/// Asks for A when there is no AAAA; needs no task of its own.
struct Dns64;
#[async_trait]
impl Plugin for Dns64 {
    fn name(&self) -> &'static str {
        "dns64"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.question.rtype == RecordType::AAAA {
            Flow::Watch
        } else {
            Flow::Pass
        }
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if let Some(was) = ex.kept::<RecordType>() {
            ex.query.question.rtype = was;
            let text = format!("64:{}", said(ex));
            return say(ex, &text);
        }
        if said(ex) != "NOERROR" {
            return Flow::Respond;
        }
        let was = std::mem::replace(&mut ex.query.question.rtype, RecordType::A);
        ex.keep(was);
        Flow::Again
    }
}

/// The same, with a second exchange and a task.
struct Dns64Waits;
#[async_trait]
impl Plugin for Dns64Waits {
    fn name(&self) -> &'static str {
        "dns64"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.question.rtype == RecordType::AAAA {
            Flow::Watch
        } else {
            Flow::Pass
        }
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if said(ex) == "NOERROR" {
            Flow::Wait
        } else {
            Flow::Respond
        }
    }
    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, phase: Phase) -> Flow {
        assert_eq!(phase, Phase::Response);
        let question = Question {
            rtype: RecordType::A,
            ..ex.query.question.clone()
        };
        let a = next.ask(&question, ex).await;
        say(ex, &format!("64:{}", said(&a)))
    }
}

#[derive(Default)]
struct Cache {
    store: Arc<Mutex<std::collections::HashMap<String, String>>>,
    refreshed: AtomicU32,
}
#[async_trait]
impl Plugin for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let key = format!("{:?}", ex.query.question);
        let hit = self.store.lock().unwrap().get(&key).cloned();
        match hit {
            Some(text) if text == "NOERROR" => ex.answer(Rcode::NOERROR),
            Some(text) => {
                ex.after_send();
                say(ex, &text)
            }
            None => Flow::Watch,
        }
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        self.store
            .lock()
            .unwrap()
            .insert(format!("{:?}", ex.query.question), said(ex));
        Flow::Respond
    }
    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, phase: Phase) -> Flow {
        if phase == Phase::Sent {
            let _ = next.ask(&ex.query.question.clone(), ex).await;
            self.refreshed.fetch_add(1, Relaxed);
        }
        Flow::Respond
    }
}

struct Forward;
#[async_trait]
impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }
    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }
    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        tokio::task::yield_now().await;
        let name = ex.query.question.name.to_string();
        if name == "broken.example." {
            return ex.fail(Rcode::SERVFAIL, "upstream did not answer");
        }
        if ex.query.question.rtype == RecordType::AAAA {
            return ex.answer(Rcode::NOERROR);
        }
        say(ex, &name)
    }
}

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
