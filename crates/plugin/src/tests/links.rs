//! Plugins in small, one of each kind, and what a test does with them.
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use corten_wire::{Class, Gate, Owner, Query, Question, Rcode, RecordType, Section};

use crate::*;

pub(super) type Trace = Arc<Mutex<Vec<String>>>;

/// What a reply says: its RCODE, or the text of its one TXT record.
pub(super) fn said(ex: &Exchange) -> String {
    match (ex.reply.is_started(), ex.reply.records()) {
        (false, _) => "nothing".into(),
        (true, []) => ex.reply.rcode.to_string(),
        (true, [one, ..]) => String::from_utf8_lossy(
            &ex.reply.octets()[usize::from(one.rdata) + 1..usize::from(one.end)],
        )
        .into_owned(),
    }
}

pub(super) fn say(ex: &mut Exchange, text: &str) -> Flow {
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

pub(super) fn question(name: &str, rtype: RecordType) -> Question {
    Question {
        name: name.parse().unwrap(),
        rtype,
        class: Class::IN,
    }
}

pub(super) fn q(name: &str, rtype: RecordType) -> Exchange {
    let mut ex = Exchange::new();
    assert_eq!(
        ex.query
            .read(Query::ask(7, &question(name, rtype)).octets()),
        Gate::Pass
    );
    ex
}

pub(super) fn chain(links: Vec<Arc<dyn Plugin>>) -> Arc<Chain> {
    Chain::new(links).unwrap()
}

/// The server's part: inline first, a spawned task for the rest.
pub(super) async fn serve(chain: &Arc<Chain>, mut ex: Exchange) -> (Flow, Exchange, bool) {
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

pub(super) struct Log(pub(super) Trace);
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

pub(super) struct Rewrite;
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
pub(super) struct Dns64;
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
pub(super) struct Dns64Waits;
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
pub(super) struct Cache {
    store: Arc<Mutex<std::collections::HashMap<String, String>>>,
    pub(super) refreshed: AtomicU32,
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

pub(super) struct Forward;
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
