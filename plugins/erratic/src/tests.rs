use std::sync::Arc;
use std::time::Instant;

use corten_plugin::corefile::{Source, parse};
use corten_plugin::wire::{Class, Gate, Query, Question};
use corten_plugin::{Chain, Progress};

use super::*;

fn config(lines: &str) -> Result<Config, String> {
    let source = Source {
        name: "Corefile",
        text: &format!(". {{\n erratic {lines}\n}}\n"),
        path: None,
    };
    let corefile = parse(&source, &["erratic"], &|_| None).unwrap();
    let line = corefile.blocks[0].directives[0].occurrence().unwrap();
    Config::read(&[line]).map_err(|error| error.to_string())
}

#[test]
fn options_are_read() {
    let config = |text| {
        let found: Config = config(text).unwrap();
        let delay_by = found.delay_by.as_millis();
        (
            found.drop,
            found.delay,
            delay_by,
            found.truncate,
            found.large,
        )
    };
    for (text, expected) in [
        ("", (2, 0, 100, 0, false)),
        ("{\n drop 3\n }", (3, 0, 100, 0, false)),
        ("{\n drop 0\n }", (0, 0, 100, 0, false)),
        ("{\n delay\n }", (0, 2, 100, 0, false)),
        ("{\n delay 3 5ms\n truncate 5\n }", (0, 3, 5, 5, false)),
        ("{\n drop\n delay 1\n }", (2, 1, 100, 0, false)),
        ("{\n delay 0\n truncate 0\n }", (2, 0, 100, 0, false)),
        ("{\n truncate\n large\n }", (0, 0, 100, 2, true)),
    ] {
        assert_eq!(config(text), expected, "{text}");
    }
}

#[test]
fn mistakes_are_told() {
    for (text, error) in [
        ("x", "Wrong argument count"),
        ("{\n drop -1\n }", "illegal amount value given \"-1\""),
        ("{\n drop 1 2\n }", "Wrong argument count"),
        ("{\n truncate often\n }", "amount 'often' is not a number"),
        ("{\n truncate 3000000000\n }", "is not a number"),
        ("{\n delay 1 soon\n }", "invalid duration 'soon'"),
        ("{\n delay 1 2ms 3\n }", "Wrong argument count"),
        ("{\n large 5\n }", "Wrong argument count"),
        ("{\n explode\n }", "unknown property 'explode'"),
        ("{\n dorp\n }", "did you mean 'drop'?"),
    ] {
        let found = config(text).unwrap_err();
        assert!(found.contains(error), "{text}: {found}");
    }
}

#[test]
fn one_in_n_is_one_in_n() {
    for (amount, expected) in [
        (0, [false; 5]),
        (1, [true; 5]),
        (2, [true, false, true, false, true]),
        (3, [true, false, false, true, false]),
    ] {
        let found: Vec<_> = (0..5).map(|number| hits(amount, number)).collect();
        assert_eq!(found, expected, "{amount}");
    }
}

fn asking(rtype: RecordType) -> Exchange {
    let question = Question {
        name: "isle.example".parse().unwrap(),
        rtype,
        class: Class::IN,
    };
    let mut ex = Exchange::new();
    let octets = Query::ask(1, &question);
    assert_eq!(ex.query.read(octets.octets()), Gate::Pass);
    ex
}

fn erratic(lines: &str) -> Arc<Erratic> {
    Arc::new(Erratic {
        config: config(lines).unwrap(),
        queries: AtomicU64::new(0),
    })
}

#[test]
fn answers_are_large_or_cut_when_asked_for() {
    let plugin = erratic("{\n truncate 2\n large\n }");
    for (rtype, records, truncated) in [
        (RecordType::A, 30, true),
        (RecordType::AAAA, 1, false),
        (RecordType::AXFR, 5, false),
        (RecordType::AXFR, 6, false),
    ] {
        let mut ex = asking(rtype);
        assert_eq!(plugin.on_query(&mut ex), Flow::Respond);
        let reply = &ex.reply;
        assert_eq!(
            (reply.records().len(), reply.truncated),
            (records, truncated)
        );
        assert!(reply.authoritative && reply.records().iter().all(|record| reply.ttl(record) == 0));
    }
    let mut ex = asking(RecordType::MX);
    assert_eq!(plugin.on_query(&mut ex), Flow::Respond);
    assert_eq!(
        (ex.reply.rcode, ex.reply.truncated),
        (Rcode::SERVFAIL, false)
    );
}

#[test]
fn it_is_ready_from_the_third_query_to_the_fourth() {
    let plugin = erratic("{\n drop 0\n }");
    let ready: Vec<_> = (0..6)
        .map(|_| {
            let ready = plugin.ready();
            let _ = plugin.on_query(&mut asking(RecordType::A));
            ready
        })
        .collect();
    assert_eq!(ready, [false, false, false, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_answer_is_the_same_but_later() {
    let plugin = erratic("{\n delay 1 700ms\n }");
    let chain = Chain::new(vec![plugin]).unwrap();
    let mut ex = asking(RecordType::A);
    let Progress::Waits(at, phase) = chain.run(&mut ex) else {
        panic!("it waits");
    };
    let (real, started) = (Instant::now(), tokio::time::Instant::now());
    assert_eq!(chain.resume(&mut ex, at, phase).await, Flow::Respond);
    assert_eq!(started.elapsed().as_millis(), 700);
    assert!(real.elapsed().as_millis() < 700, "the clock is paused");
    assert_eq!(ex.reply.records().len(), 1);
}
