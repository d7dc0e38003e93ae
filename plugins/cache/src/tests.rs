//! The cache as a link: what clients see, and what the plugins below are asked. Time is stopped and
//! advanced.
#[path = "../tests/kit/mod.rs"]
pub(crate) mod kit;
mod model;
mod refresh;

use std::sync::Arc;

use corten_plugin::wire::{Rcode, RecordType};
use corten_plugin::{Chain, Flow};
use tokio::time::{Duration, advance};

use kit::{Below, query, said, serve};

/// A chain of this cache and a plugin.
fn chain(options: &str, below: &Arc<Below>) -> Arc<Chain> {
    kit::chain(&crate::PLUGIN, &format!(". {{\n {options}\n}}\n"), below).0
}

async fn ask(chain: &Arc<Chain>, name: &str, flags: &str) -> String {
    said(&serve(chain, &query(name, RecordType::A, flags)).await)
}

/// An upstream with one address for every name.
fn addresses(ttl: u32) -> Arc<Below> {
    Below::new(move |ex, count| {
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, ttl, count as u8)
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_hit_counts_down_and_has_aa() {
    let below = addresses(60);
    let chain = chain("cache", &below);
    assert_eq!(ask(&chain, "www.example", "").await, "NOERROR ra 60:0");
    advance(Duration::from_millis(3_500)).await;
    assert_eq!(ask(&chain, "WWW.Example", "").await, "NOERROR aa ra 57:0");
    advance(Duration::from_secs(56)).await;
    assert_eq!(ask(&chain, "www.example", "").await, "NOERROR aa ra 1:0");
    advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&chain, "www.example", "").await, "NOERROR ra 60:1");
    assert_eq!(below.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_clients_letters_come_back() {
    let below = addresses(60);
    let chain = chain("cache", &below);
    for name in ["www.example", "wWw.eXample"] {
        let octets = query(name, RecordType::A, "");
        let ex = serve(&chain, &octets).await;
        assert_eq!(ex.reply.octets()[12..29], octets[12..29]);
    }
    assert_eq!(below.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keepttl_keeps_it_until_the_end() {
    let below = addresses(10);
    let chain = chain("cache {\n keepttl\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(9)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 10:0");
    advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR ra 10:1");
}

#[tokio::test(start_paused = true)]
async fn ad_is_asked_for_and_given_to_those_who_want_it() {
    let below = Below::new(|ex, _| {
        assert!(ex.query.authentic_data(), "asked with AD");
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            reply.authentic_data = true;
            kit::address(reply, 60, 1);
        })
    });
    let chain = chain("cache", &below);
    for (flags, expected) in [
        ("", "NOERROR ra 60:1"),
        ("", "NOERROR aa ra 60:1"),
        ("a", "NOERROR aa ad ra 60:1"),
        ("d", "NOERROR ad ra 60:1"),
        ("d", "NOERROR aa ad ra 60:1"),
        ("e", "NOERROR aa ra 60:1"),
    ] {
        let octets = query("a.example", RecordType::A, flags);
        let ex = serve(&chain, &octets).await;
        assert_eq!(said(&ex), expected, "{flags}");
        assert_eq!(ex.query.octets(), octets, "the query is put back");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_question_is_handed_on_and_not_kept() {
    let below = Below::new(|ex, _| {
        let question = std::mem::replace(
            &mut ex.query.question,
            kit::question("other.example", RecordType::A),
        );
        ex.start(Rcode::NOERROR);
        kit::address(&mut ex.reply, 60, 1);
        ex.query.question = question;
        Flow::Respond
    });
    let chain = chain("cache", &below);
    for _ in 0..2 {
        assert_eq!(ask(&chain, "a.example", "").await, "NOERROR 60:1");
    }
    assert_eq!(below.asked(), 2);
    let exposed = corten_plugin::metrics::registry().expose();
    assert!(exposed.contains("coredns_cache_drops_total{server=\"\",zones=\".\",view=\"\"}"));
}

#[tokio::test(start_paused = true)]
async fn a_denial_comes_first_but_servfail_does_not() {
    let below = Below::new(|ex, count| match count {
        0 => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 10, 1)),
        1 => kit::upstream(ex, Rcode::SERVFAIL, |_| ()),
        _ => kit::upstream(ex, Rcode::NXDOMAIN, |reply| kit::soa(reply, 60, 60)),
    });
    let chain = chain("cache {\n prefetch 1 1m 90%\n}", &below);
    ask(&chain, "a.example", "").await;
    advance(Duration::from_secs(2)).await;
    // Prefetched behind the answer, with SERVFAIL; the positive entry still counts.
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 8:1");
    assert_eq!(below.asked(), 2);
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 8:1");
    assert_eq!(below.asked(), 3);
    assert_eq!(ask(&chain, "a.example", "e").await, "NXDOMAIN aa ra 60:SOA");
}

#[tokio::test(start_paused = true)]
async fn failures_are_kept_for_five_seconds_and_say_so() {
    let below = Below::new(|ex, _| kit::upstream(ex, Rcode::SERVFAIL, |_| ()));
    let chain = chain("cache", &below);
    assert_eq!(ask(&chain, "a.example", "e").await, "SERVFAIL ra");
    advance(Duration::from_secs(4)).await;
    assert_eq!(ask(&chain, "a.example", "e").await, "SERVFAIL aa ra ede13");
    assert_eq!(ask(&chain, "a.example", "").await, "SERVFAIL aa ra");
    advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&chain, "a.example", "e").await, "SERVFAIL ra");
    assert_eq!(below.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_at_the_same_time_is_asked_once() {
    // The last reply is one that is not kept.
    let below = Below::slow(200, |ex, count| match count {
        0 => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 60, 1)),
        1 => ex.fail(Rcode::SERVFAIL, "no upstream"),
        _ => kit::upstream(ex, Rcode::REFUSED, |_| ()),
    });
    let chain = chain("cache", &below);
    for (name, expected, failure) in [
        ("a.example", "NOERROR ra 60:1", None),
        ("b.example", "SERVFAIL", Some("no upstream")),
        ("c.example", "REFUSED ra", None),
    ] {
        let before = below.asked();
        let asking: Vec<_> = (0..50)
            .map(|_| {
                let (chain, octets) = (Arc::clone(&chain), query(name, RecordType::A, ""));
                tokio::spawn(async move { serve(&chain, &octets).await })
            })
            .collect();
        for task in asking {
            let ex = task.await.unwrap();
            assert_eq!(said(&ex), expected);
            assert_eq!(ex.failure().map(ToString::to_string).as_deref(), failure);
        }
        assert_eq!(below.asked(), before + 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_first_is_dropped_another_asks_and_not_all() {
    let below = Below::slow(200, |ex, count| match count {
        0 => Flow::Drop,
        _ => kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 60, 1)),
    });
    let chain = chain("cache", &below);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let chain = Arc::clone(&chain);
            tokio::spawn(async move { ask(&chain, "a.example", "").await })
        })
        .collect();
    let mut answered = 0;
    for task in asking {
        answered += usize::from(task.await.unwrap() == "NOERROR ra 60:1");
    }
    assert_eq!((answered, below.asked()), (49, 2));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_another() {
    let below = Below::slow(60_000, |ex, _| {
        kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 60, 1))
    });
    let chain = chain("cache", &below);
    let first = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { ask(&chain, "a.example", "").await })
    };
    tokio::task::yield_now().await;
    let second = {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { ask(&chain, "a.example", "").await })
    };
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(below.asked(), 2);
    assert_eq!(first.await.unwrap(), "NOERROR ra 60:1");
    let _ = second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn subnets_and_loop_probes_are_not_shared() {
    let below = Below::slow(200, |ex, _| kit::upstream(ex, Rcode::REFUSED, |_| ()));
    let chain = chain("cache", &below);
    for (rtype, flags) in [(RecordType::HINFO, ""), (RecordType::A, "s")] {
        let before = below.asked();
        let asking: Vec<_> = (0..3)
            .map(|_| {
                let (chain, octets) = (Arc::clone(&chain), query("a.example", rtype, flags));
                tokio::spawn(async move { serve(&chain, &octets).await })
            })
            .collect();
        for task in asking {
            assert_eq!(said(&task.await.unwrap()), "REFUSED ra");
        }
        assert_eq!(below.asked(), before + 3);
    }
}

#[tokio::test(start_paused = true)]
async fn queries_with_a_subnet_have_entries_of_their_own() {
    let below = Below::new(|ex, count| {
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 60, count as u8);
            // The first name is the same everywhere, the other is not.
            let scope = if ex_is(&*reply, b"\x01a") { 0 } else { 24 };
            reply.set_option(8, &[0, 1, 24, scope, 192, 0, 2]);
        })
    });
    let chain = chain("cache", &below);
    for (name, flags, expected) in [
        ("a.example", "", "NOERROR ra 60:0"),
        ("a.example", "s", "NOERROR ra 60:1"),
        ("a.example", "s", "NOERROR aa ra 60:1"),
        ("a.example", "", "NOERROR aa ra 60:0"),
        ("b.example", "s", "NOERROR ra 60:2"),
        ("b.example", "s", "NOERROR ra 60:3"),
    ] {
        assert_eq!(ask(&chain, name, flags).await, expected, "{name} {flags}");
    }
}

fn ex_is(reply: &corten_plugin::wire::Reply, first: &[u8]) -> bool {
    reply.octets()[12..].starts_with(first)
}

#[tokio::test(start_paused = true)]
async fn the_wildcard_of_an_answer_is_remembered() {
    let below = Below::new(|ex, _| {
        ex.set_metadata("zone/wildcard", "*.example.");
        kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 60, 1))
    });
    let chain = chain("cache", &below);
    for _ in 0..2 {
        let mut ex = kit::exchange(&query("a.example", RecordType::A, ""));
        ex.collect_metadata(&Arc::from([]));
        let _ = chain.run(&mut ex);
        assert_eq!(ex.metadata("zone/wildcard").as_deref(), Some("*.example."));
    }
    assert_eq!(below.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn contents_survive_a_reload_of_the_same_block() {
    let below = addresses(60);
    let text = ". {\n cache\n}\n";
    let (chain, cache) = kit::chain(&crate::PLUGIN, text, &below);
    ask(&chain, "a.example", "").await;
    let links = kit::set_up(&crate::PLUGIN, text, &[Arc::clone(&cache)]).unwrap();
    let chain = kit::chain_of(&links[0], &below);
    assert_eq!(ask(&chain, "a.example", "").await, "NOERROR aa ra 60:0");
    for text in [". {\n cache 30\n}\n", ". {\n cache\n other\n}\n"] {
        let links = kit::set_up(&crate::PLUGIN, text, &[Arc::clone(&cache)]).unwrap();
        let chain = kit::chain_of(&links[0], &below);
        assert!(!ask(&chain, "a.example", "").await.contains("aa"), "{text}");
    }
}
