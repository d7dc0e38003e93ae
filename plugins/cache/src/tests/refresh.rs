//! Asking again: before an entry is gone, and when it is stale.
use super::*;

/// An upstream that fails from the second query to the one before `until`.
fn fails_until(until: usize) -> Arc<Below> {
    Below::new(move |ex, count| match count {
        count if count > 0 && count < until => kit::upstream(ex, Rcode::SERVFAIL, |_| ()),
        count => kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 10, count as u8)
        }),
    })
}

#[tokio::test(start_paused = true)]
async fn popular_entries_are_fetched_again() {
    let below = addresses(100);
    let chain = chain("cache {\n prefetch 2 10s 20%\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(79)).await;
    for _ in 0..3 {
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 21:0");
    }
    assert_eq!(below.asked(), 1, "more is left than a fifth");
    advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 20:0");
    assert_eq!(below.asked(), 2);
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 100:1");
    advance(Duration::from_secs(90)).await;
    // The gap was too long: one hit does not make it popular.
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 10:1");
    assert_eq!(below.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_fetch_at_a_time() {
    let below = Below::slow(500, |ex, count| {
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 10, count as u8)
        })
    });
    let chain = chain("cache {\n prefetch 1 1m 90%\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(5)).await;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let chain = Arc::clone(&chain);
            tokio::spawn(async move { ask(&chain, "a.example", "").await })
        })
        .collect();
    for task in asking {
        assert_eq!(task.await.unwrap(), "NOERROR aa ra 5:0");
    }
    assert_eq!(below.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn stale_answers_come_at_once_and_are_asked_for_again() {
    let below = fails_until(3);
    let chain = chain("cache {\n serve_stale 1m\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    for count in 2..4 {
        assert_eq!(
            ask(&chain, "a.example", "e").await,
            "NOERROR aa ra 0:0 ede3"
        );
        assert_eq!(below.asked(), count);
    }
    assert_eq!(
        ask(&chain, "a.example", "e").await,
        "NOERROR aa ra 0:0 ede3"
    );
    assert_eq!(ask(&chain, "a.example", "e").await, "NOERROR aa ra 10:3");
    advance(Duration::from_secs(70)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR ra 10:4");
}

#[tokio::test(start_paused = true)]
async fn stale_answers_keep_no_ttl_but_the_one_for_them() {
    let below = fails_until(9);
    let chain = chain(
        "cache {\n serve_stale 1h immediate 30s 20s\n keepttl\n}",
        &below,
    );
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    for (wait, asked) in [(0, 2), (19, 2), (1, 3)] {
        advance(Duration::from_secs(wait)).await;
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 30:0");
        assert_eq!(below.asked(), asked, "{wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_name_error_says_so() {
    let below =
        Below::new(|ex, _| kit::upstream(ex, Rcode::NXDOMAIN, |reply| kit::soa(reply, 10, 10)));
    let chain = chain("cache {\n serve_stale\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    assert_eq!(
        ask(&chain, "a.example", "e").await,
        "NXDOMAIN aa ra 0:SOA ede19"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_are_never_stale() {
    let below = Below::new(|ex, count| match count {
        0 => kit::upstream(ex, Rcode::SERVFAIL, |_| ()),
        _ => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 10, 1)),
    });
    let chain = chain("cache {\n serve_stale\n}", &below);
    assert_eq!(ask(&chain, "a.example", "").await, "SERVFAIL ra");
    advance(Duration::from_secs(6)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR ra 10:1");
}

#[tokio::test(start_paused = true)]
async fn verify_asks_first() {
    let below = fails_until(3);
    let chain = chain("cache {\n serve_stale 1h verify\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    for _ in 0..2 {
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 0:0");
    }
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR ra 10:3");
    assert_eq!(below.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn many_verify_with_one_query() {
    let below = Below::slow(100, |ex, count| match count {
        1 => ex.fail(Rcode::SERVFAIL, "down"),
        _ => kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 10, count as u8)
        }),
    });
    let chain = chain("cache {\n serve_stale 1h verify\n}", &below);
    ask(&chain, "a.example", "").await;
    for (expected, asked) in [("NOERROR aa ra 0:0", 2), ("NOERROR ra 10:2", 3)] {
        advance(Duration::from_secs(12)).await;
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let chain = Arc::clone(&chain);
                tokio::spawn(async move { ask(&chain, "a.example", "").await })
            })
            .collect();
        for task in asking {
            assert_eq!(task.await.unwrap(), expected);
        }
        assert_eq!(below.asked(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn verify_with_a_limit_gives_the_stale_answer_and_goes_on() {
    let below = Below::slow(400, |ex, count| {
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 10, count as u8)
        })
    });
    let chain = chain("cache {\n serve_stale 1h verify 150ms 25s 10s\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 25:0");
    assert!(before.elapsed() < Duration::from_millis(200));
    // Nobody else waits while it is being asked for.
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 25:0");
    assert!(before.elapsed() < Duration::from_millis(200));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 10:1");
    assert_eq!(below.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn preferred_positive_answers_stay() {
    for (policy, third) in [
        ("", "NXDOMAIN aa ra 60:SOA"),
        ("\n serve_stale_policy prefer_positive", "NOERROR aa ra 0:0"),
    ] {
        let below = Below::new(|ex, count| match count {
            0 => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 10, 0)),
            _ => kit::upstream(ex, Rcode::NXDOMAIN, |reply| kit::soa(reply, 60, 60)),
        });
        let chain = chain(&format!("cache {{\n serve_stale{policy}\n}}"), &below);
        ask(&chain, "a.example", "").await;
        advance(Duration::from_secs(12)).await;
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 0:0");
        assert_eq!(ask(&chain, "a.example", "").await, third, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_referral_does_not_hide_the_last_good_answer() {
    let below = Below::new(|ex, count| match count {
        0 => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 10, 0)),
        _ => kit::upstream(ex, Rcode::NOERROR, |reply| {
            let zone = kit::wire("example");
            reply.push(
                corten_plugin::wire::Section::Authority,
                corten_plugin::wire::Owner::Wire(&zone),
                RecordType::NS,
                60,
                |rdata| rdata.octets(&zone),
            );
        }),
    });
    let chain = chain(
        "cache {\n serve_stale\n serve_stale_policy prefer_positive\n}",
        &below,
    );
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(12)).await;
    for _ in 0..3 {
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 0:0");
    }
    assert_eq!(below.asked(), 4);
}
