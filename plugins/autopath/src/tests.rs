//! Walks over a plugin below that knows a few names.
use std::sync::Mutex;

use corten_plugin::wire::{Gate, Owner, RecordType, Section};
use corten_plugin::{Progress, Site};

use super::*;

/// What a name gets.
#[derive(Clone, Copy)]
enum Says {
    Address,
    NoData,
    Unwritten,
    Upstream,
    Fails,
    Refuses,
    Drops,
}

/// Knows these names; others do not exist.
struct Knows(&'static [(&'static str, Says)], Mutex<Vec<String>>);

impl Plugin for Knows {
    fn name(&self) -> &'static str {
        "knows"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let name = ex.query.question.name.to_string();
        self.1.lock().unwrap().push(name.clone());
        let known = self.0.iter().find(|(own, _)| *own == name);
        match known.map(|(_, says)| says) {
            None => ex.answer(Rcode::NXDOMAIN),
            Some(Says::Address) => {
                let reply = ex.start(Rcode::NOERROR);
                reply.push(
                    Section::Answer,
                    Owner::Question,
                    RecordType::A,
                    9,
                    |rdata| {
                        rdata.octets(&[192, 0, 2, 1]);
                    },
                );
                Flow::Respond
            }
            Some(Says::NoData) => ex.answer(Rcode::NOERROR),
            Some(Says::Unwritten) => ex.answer(Rcode::SERVFAIL),
            Some(Says::Upstream) => {
                ex.start(Rcode::SERVFAIL).recursion_available = true;
                Flow::Respond
            }
            Some(Says::Fails) => ex.fail(Rcode::SERVFAIL, "no upstream"),
            Some(Says::Refuses) => ex.answer(Rcode::REFUSED),
            Some(Says::Drops) => Flow::Drop,
        }
    }
}

struct Ran {
    shown: Vec<String>,
    asked: Vec<String>,
    ex: Exchange,
    end: Flow,
}

fn run(path: &[&str], known: &'static [(&'static str, Says)], name: &str) -> Ran {
    let names = path.iter().map(|name| name.parse().unwrap());
    let autopath = Autopath {
        zones: Zones::new(vec!["test".parse().unwrap()]),
        source: Source::File(names.collect()),
        successes: BySite::new(|_| Counter::default()),
    };
    let below = Arc::new(Knows(known, Mutex::default()));
    let chain = Chain::new(vec![Arc::new(autopath), Arc::clone(&below) as _]).unwrap();
    let mut octets = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    octets.extend_from_slice(name.parse::<Name>().unwrap().wire());
    octets.extend_from_slice(b"\0\x01\0\x01");
    let mut ex = Exchange::new();
    ex.site = Site::new("dns://:53", "");
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    let Progress::Done(end) = chain.run(&mut ex) else {
        panic!("nothing waits");
    };
    assert_eq!(ex.query.question.name, name.parse().unwrap(), "put back");
    let shown = match end {
        Flow::Drop => Vec::new(),
        _ => {
            let message = ex.reply.to_message(&ex.query).unwrap();
            assert_eq!(message.queries[0].name().to_string(), format!("{name}."));
            let records = message.answers.iter();
            records
                .map(|record| format!("{} {}", record.name, record.data))
                .collect()
        }
    };
    let asked = below.1.lock().unwrap().clone();
    Ran {
        shown,
        asked,
        ex,
        end,
    }
}

const PATH: &[&str] = &["ns.test", "test", "."];

#[test]
fn the_first_name_that_exists_is_found() {
    let own: &[_] = &[("own.ns.test.", Says::Address)];
    let ran = run(PATH, own, "own.ns.test");
    assert_eq!(ran.shown, ["own.ns.test. 192.0.2.1"]);
    let ran = run(PATH, &[("far.test.", Says::Address)], "far.ns.test");
    let cname = "far.ns.test. far.test.";
    assert_eq!(ran.shown, [cname, "far.test. 192.0.2.1"]);
    let ran = run(PATH, &[("www.org.", Says::Address)], "www.org.ns.test");
    assert_eq!(ran.shown[0], "www.org.ns.test. www.org.");
    assert_eq!(ran.asked, ["www.org.ns.test.", "www.org.test.", "www.org."]);
    let ran = run(PATH, &[("near.test.", Says::NoData)], "near.ns.test");
    assert_eq!((ran.ex.reply.rcode, ran.asked.len()), (Rcode::NOERROR, 2));
}

#[test]
fn without_any_the_first_answer_stays() {
    let ran = run(PATH, &[], "no.ns.test");
    assert_eq!((ran.ex.reply.rcode, ran.asked.len()), (Rcode::NXDOMAIN, 3));
    let ran = run(PATH, &[("a.ns.test.", Says::Unwritten)], "a.ns.test");
    assert_eq!((ran.ex.reply.rcode, ran.asked.len()), (Rcode::SERVFAIL, 3));
}

#[test]
fn other_names_are_passed() {
    for name in ["a.test", "ns.test", "xns.test", "ns.test.other"] {
        assert_eq!(run(PATH, &[], name).asked.len(), 1, "{name}");
    }
    assert_eq!(run(&["."], &[], "a.test").asked.len(), 1);
    let elsewhere = &["ns.other", "."];
    assert_eq!(run(elsewhere, &[], "a.ns.other").asked.len(), 1, "zones");
}

#[test]
fn failures_refusals_and_drops_end_the_walk() {
    for (says, rcode) in [
        (Says::Fails, Rcode::SERVFAIL),
        (Says::Upstream, Rcode::SERVFAIL),
        (Says::Refuses, Rcode::REFUSED),
    ] {
        for (at, asked) in [("a.ns.test.", 1), ("a.test.", 2)] {
            // Tables of tests are leaked: they are short and static.
            let known = Vec::leak(vec![(at, says), ("a.", Says::Address)]);
            let ran = run(PATH, known, "a.ns.test");
            assert_eq!((ran.ex.reply.rcode, ran.asked.len()), (rcode, asked));
            assert!(ran.shown.is_empty());
        }
    }
    let ran = run(PATH, &[("a.test.", Says::Drops)], "a.ns.test");
    assert_eq!((ran.end, ran.asked.len()), (Flow::Drop, 2));
}

#[test]
fn long_paths_and_long_names_end() {
    let path: Vec<String> = (0..40).map(|n| format!("s{n}.test")).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let ran = run(&path, &[], "a.s0.test");
    assert_eq!(ran.ex.reply.rcode, Rcode::NXDOMAIN);
    assert_eq!(ran.asked.len(), usize::from(Chain::ROUNDS_MAX) + 1);
    let label = "x".repeat(60);
    let name = format!("{label}.{label}.{label}.t.test");
    let long = format!("{label}.{label}.test");
    let ran = run(&["t.test", &long, "."], &[], &name);
    assert_eq!(ran.asked.len(), 2, "a name that is too long is not asked");
}
