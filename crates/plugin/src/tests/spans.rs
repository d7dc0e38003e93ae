//! What the chain notes of the plugins while somebody records.
use std::borrow::Cow;
use std::time::Instant;

use super::links::*;
use super::*;

/// Records, and tells the spans it got.
#[derive(Default)]
struct Records(Mutex<Vec<Span>>);

#[async_trait]
impl Plugin for Records {
    fn name(&self) -> &'static str {
        "records"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        ex.record_spans();
        Flow::Watch
    }
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        *self.0.lock().unwrap() = ex.take_spans().unwrap().into_list();
        Flow::Respond
    }
}

impl Records {
    /// Name and parent of each span.
    fn told(&self) -> Vec<(Cow<'static, str>, Option<usize>)> {
        let spans = self.0.lock().unwrap();
        for span in &*spans {
            assert!(span.ended >= span.started);
            if let Some(parent) = span.parent {
                assert!(spans[parent].started <= span.started && span.ended <= spans[parent].ended);
            }
        }
        let all = spans.iter();
        all.map(|span| (span.name.clone(), span.parent)).collect()
    }
}

/// Notes a connection below itself.
struct Connects;
#[async_trait]
impl Plugin for Connects {
    fn name(&self) -> &'static str {
        "connects"
    }
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let now = Instant::now();
        ex.spans().unwrap().add(Span {
            name: "connect".into(),
            parent: None,
            started: now,
            ended: now,
            tags: Vec::new(),
        });
        Flow::Pass
    }
}

#[tokio::test]
async fn spans_of_plugins_are_below_those_that_wait_for_the_reply() {
    let records = Arc::new(Records::default());
    let trace = Trace::default();
    let chain = chain(vec![
        Arc::new(Log(trace.clone())),
        records.clone(),
        Arc::new(Log(trace.clone())),
        Arc::new(Rewrite),
        Arc::new(Connects),
        Arc::new(Cache::default()),
        Arc::new(Forward),
    ]);
    let _ = serve(&chain, q("other.example", RecordType::TXT)).await;
    let told = |name: &'static str, parent| (Cow::Borrowed(name), parent);
    assert_eq!(
        records.told(),
        [
            told("log", None),
            told("rewrite", Some(0)),
            told("connects", Some(0)),
            told("connect", Some(2)),
            told("cache", Some(0)),
            told("forward", Some(4)),
        ]
    );
    assert_eq!(trace.lock().unwrap().len(), 2, "both are called back");
    let _ = serve(&chain, q("old.example", RecordType::TXT)).await;
    assert_eq!(
        records.told()[2],
        told("connects", Some(1)),
        "rewrite watches"
    );
    let _ = serve(&chain, q("other.example", RecordType::TXT)).await;
    assert_eq!(records.told().len(), 5, "a hit in the cache");
}

#[tokio::test]
async fn plugins_that_are_asked_again_have_a_span_each_time() {
    let records = Arc::new(Records::default());
    let chain = chain(vec![records.clone(), Arc::new(Dns64), Arc::new(Forward)]);
    let _ = serve(&chain, q("v6.example", RecordType::AAAA)).await;
    let told = |name: &'static str, parent| (Cow::Borrowed(name), parent);
    assert_eq!(
        records.told(),
        [
            told("dns64", None),
            told("forward", Some(0)),
            told("forward", Some(0))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_run_leaves_closed_spans() {
    let records = Arc::new(Records::default());
    let chain = chain(vec![records.clone(), Arc::new(Impatient), Arc::new(Never)]);
    let (_, ex, _) = serve(&chain, q("a.example", RecordType::A)).await;
    assert!(ex.spans().is_none());
    let names: Vec<_> = records.told().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["impatient", "never"]);
}

#[tokio::test]
async fn spans_of_one_query_are_bounded() {
    let (records, answer) = (
        Arc::new(Records::default()),
        Arc::new(Answer(AtomicU32::new(0))),
    );
    let mut links: Vec<Arc<dyn Plugin>> = vec![records.clone(), Arc::new(Greedy)];
    links.extend((0..40).map(|_| Arc::new(Log(Trace::default())) as Arc<dyn Plugin>));
    links.push(answer.clone());
    let _ = serve(&chain(links), q("a.example", RecordType::A)).await;
    assert_eq!(answer.0.load(Relaxed), u32::from(Chain::ROUNDS_MAX) + 1);
    assert_eq!(records.told().len(), 256);
}
