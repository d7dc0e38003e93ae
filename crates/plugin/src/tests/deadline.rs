//! What an exchange's deadline does to links that wait.
use std::time::Duration;

use super::*;

/// Sets the deadline, a second from now.
struct Bound;

impl Plugin for Bound {
    fn name(&self) -> &'static str {
        "bound"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let now = tokio::time::Instant::now().into_std();
        ex.deadline = Some(now + Duration::from_secs(1));
        Flow::Pass
    }
}

/// Changes the question and has the links below answer; puts it back afterwards.
struct Changes;

#[async_trait]
impl Plugin for Changes {
    fn name(&self) -> &'static str {
        "changes"
    }

    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }

    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, _: Phase) -> Flow {
        let before = ex.query.question.clone();
        ex.query.question = question("other.example", RecordType::A);
        let flow = next.run(ex).await;
        ex.query.question = before;
        flow
    }
}

/// Never comes to an end on the way back.
struct Stuck;

#[async_trait]
impl Plugin for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        ex.query.question = question("other.example", RecordType::A);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_beyond_the_deadline_is_given_up_and_links_above_see_it() {
    for (links, error) in [
        (
            vec![Arc::new(Never) as Arc<dyn Plugin>],
            "plugin/never: context deadline exceeded",
        ),
        (
            vec![Arc::new(Changes), Arc::new(Never)],
            "plugin/never: context deadline exceeded",
        ),
        (
            vec![Arc::new(Stuck), Arc::new(Answer(AtomicU32::new(0)))],
            "plugin/stuck: context deadline exceeded",
        ),
    ] {
        let trace = Trace::default();
        let above: [Arc<dyn Plugin>; 2] = [Arc::new(Bound), Arc::new(Log(trace.clone()))];
        let bounded = chain(above.into_iter().chain(links).collect());
        let started = tokio::time::Instant::now();
        let (flow, ex, _) = serve(&bounded, q("a.example", RecordType::A)).await;
        assert_eq!(started.elapsed().as_secs(), 1);
        assert_eq!((flow, ex.reply.rcode), (Flow::Respond, Rcode::SERVFAIL));
        assert_eq!(ex.failure().unwrap().to_string(), error);
        assert_eq!(ex.query.question.name.to_string(), "a.example.");
        assert_eq!(trace.lock().unwrap().len(), 1, "called back once");
    }
}

/// Takes longer than the client waits.
struct Slow;

#[async_trait]
impl Plugin for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        tokio::time::sleep(Duration::from_secs(2)).await;
        say(ex, "late")
    }
}

/// Answers at once, and asks the links below for itself.
struct Background(Trace);

#[async_trait]
impl Plugin for Background {
    fn name(&self) -> &'static str {
        "background"
    }

    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Wait
    }

    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, _: Phase) -> Flow {
        let (below, trace) = (next.detach(), self.0.clone());
        let mut like = q("a.example", RecordType::A);
        like.deadline = ex.deadline;
        tokio::spawn(async move {
            let found = below.ask(&like.query.question.clone(), &like).await;
            trace.lock().unwrap().push(said(&found));
        });
        ex.answer(Rcode::NOERROR)
    }
}

#[tokio::test(start_paused = true)]
async fn work_in_the_background_has_no_deadline() {
    let bounded = chain(vec![Arc::new(Bound), Arc::new(Slow)]);
    let (_, ex, _) = serve(&bounded, q("a.example", RecordType::A)).await;
    assert_eq!(ex.reply.rcode, Rcode::SERVFAIL);

    let trace = Trace::default();
    let background = Arc::new(Background(trace.clone()));
    let refreshing = chain(vec![Arc::new(Bound), background, Arc::new(Slow)]);
    let (_, ex, _) = serve(&refreshing, q("a.example", RecordType::A)).await;
    assert_eq!(ex.reply.rcode, Rcode::NOERROR);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*trace.lock().unwrap(), ["late"]);
}
