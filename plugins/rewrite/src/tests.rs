use std::sync::{Arc, Mutex};

use corten_plugin::corefile::{Source, parse};
use corten_plugin::wire::{Class, Gate, Name, Owner, RecordType, Reply, Section};
use corten_plugin::{Chain, Progress};
use proptest::prelude::*;

use super::*;

fn rewrite(lines: &str) -> Rewrite {
    let text = format!(".:53 {{\n{lines}\n}}\n");
    let source = Source {
        name: "Corefile",
        path: None,
        text: &text,
    };
    let corefile = parse(&source, &["rewrite"], &|_| None).unwrap();
    let directives = corefile.blocks[0].directives.iter();
    let rules = directives.map(|line| config::rule(&line.occurrence().unwrap()).unwrap());
    Rewrite::new(rules.collect(), Arc::default())
}

/// Answers with what it was asked, and remembers it.
#[derive(Default)]
struct Below {
    asked: Mutex<Vec<String>>,
    /// Owner and target of CNAME records.
    aliases: Vec<(&'static str, &'static str)>,
}

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().unwrap().wire().to_vec()
}

impl Plugin for Below {
    fn name(&self) -> &'static str {
        "below"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let question = ex.query.question.clone();
        let option = ex.query.edns_option(65_001).map(<[u8]>::to_vec);
        let option = option.map(|data| format!(" {}", String::from_utf8_lossy(&data)));
        let asked = format!(
            "{} {}{}",
            question.name,
            question.rtype,
            option.unwrap_or_default()
        );
        self.asked.lock().unwrap().push(asked);
        let reply = ex.start(Rcode::NOERROR);
        let mut owner = question.name.wire().to_vec();
        while let Some((_, target)) = self.aliases.iter().find(|(from, _)| wire(from) == owner) {
            let target = wire(target);
            reply.push(
                Section::Answer,
                Owner::Wire(&owner),
                RecordType::CNAME,
                60,
                |rdata| rdata.octets(&target),
            );
            owner = target;
        }
        reply.push(
            Section::Answer,
            Owner::Wire(&owner),
            RecordType::MX,
            60,
            |rdata| {
                rdata.u16(10);
                rdata.octets(b"\x04mail");
                rdata.octets(&owner);
            },
        );
        Flow::Respond
    }
}

fn query(name: &str, options: Option<&[u8]>) -> Exchange {
    let mut octets = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    octets.extend(wire(name));
    octets.extend(b"\0\x0f\0\x01");
    if let Some(options) = options {
        octets[11] = 1;
        octets.extend(b"\0\0\x29\x04\xd0\0\0\0\0");
        octets.extend((options.len() as u16).to_be_bytes());
        octets.extend(options);
    }
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    ex
}

/// Asks, checks that the query is as it was, and returns the answer's records.
fn ask(rewrite: Rewrite, below: Below, ex: &mut Exchange) -> (Vec<String>, Vec<String>) {
    let below = Arc::new(below);
    let chain = Chain::new(vec![Arc::new(rewrite), below.clone()]).unwrap();
    let before = ex.query.clone();
    assert_eq!(chain.run(ex), Progress::Done(Flow::Respond));
    assert_eq!(ex.query.question, before.question);
    assert_eq!(ex.query.octets(), before.octets());
    assert_eq!(ex.query.edns(), before.edns());
    let answered = ex.reply.to_message(&ex.query).unwrap();
    let question = &ex.reply.octets()[12..];
    assert!(question.starts_with(before.question_octets()));
    let records = answered.answers.iter().map(ToString::to_string).collect();
    let asked = below.asked.lock().unwrap().clone();
    (asked, records)
}

#[test]
fn rules_run_forwards_and_their_responses_backwards() {
    let rules = "rewrite continue name a.test b.test
        rewrite continue name b.test c.test
        rewrite name c.test d.test
        rewrite name d.test e.test";
    let (asked, records) = ask(rewrite(rules), Below::default(), &mut query("a.test", None));
    assert_eq!(asked, ["d.test. MX"]);
    assert_eq!(records, ["a.test. 60 IN MX 10 mail.a.test."]);
}

#[test]
fn other_parts_of_the_response_are_changed() {
    let rules = "rewrite continue ttl prefix w 10-30
        rewrite continue rcode suffix test NOERROR NXDOMAIN
        rewrite continue type MX TXT
        rewrite continue class IN CH
        rewrite name substring idd entr answer value (.*)\\.mentrle\\.test {1}.shown.test";
    let mut ex = query("w.middle.test", None);
    let (asked, records) = ask(rewrite(rules), Below::default(), &mut ex);
    assert_eq!(asked, ["w.mentrle.test. TXT"]);
    assert_eq!(records, ["w.mentrle.test. 30 IN MX 10 mail.w.shown.test."]);
    assert_eq!(ex.reply.rcode, Rcode::NXDOMAIN);
}

#[test]
fn a_result_that_is_no_name_is_a_failure_and_leaves_the_query() {
    let rules = "rewrite continue edns0 local set 65001 x
        rewrite continue name a.test b.test
        rewrite name regex (.*) {1}..x";
    let mut ex = query("a.test", None);
    let (asked, records) = ask(rewrite(rules), Below::default(), &mut ex);
    assert_eq!(
        (asked.len(), records.len(), ex.reply.rcode),
        (0, 0, Rcode::SERVFAIL)
    );
    let error = ex.failure().map(ToString::to_string);
    assert_eq!(
        error.as_deref(),
        Some("invalid name after rewrite: b.test...x.")
    );
}

#[test]
fn targets_are_looked_up_below() {
    let below = || Below {
        aliases: vec![
            ("www.test", "mid.test"),
            ("mid.test", "cdn.net"),
            ("other.net", "cdn.org"),
        ],
        ..Below::default()
    };
    for rules in [
        "rewrite cname exact cdn.net other.net",
        "rewrite continue cname cdn.net other.net\n rewrite ttl www.test 60",
        "rewrite continue ttl www.test 60\n rewrite cname prefix cdn.n other.n",
        "rewrite cname regex ^cdn\\.(.*)\\.$ other.{1}\n rewrite name www.test never.test",
    ] {
        let (asked, records) = ask(rewrite(rules), below(), &mut query("www.test", None));
        if rules.contains("regex") {
            // The rule's result leads to another target that it is for, again and again.
            assert_eq!(asked, ["www.test. MX", "other.net. MX", "other.org. MX"]);
            continue;
        }
        assert_eq!(asked, ["www.test. MX", "other.net. MX"], "{rules}");
        let expected = [
            "www.test. 60 IN CNAME mid.test.",
            "mid.test. 60 IN CNAME other.net.",
            "other.net. 60 IN CNAME cdn.org.",
            "cdn.org. 60 IN MX 10 mail.cdn.org.",
        ];
        assert_eq!(records, expected, "{rules}");
    }
    let (asked, records) = ask(
        rewrite("rewrite cname a.b c.d"),
        below(),
        &mut query("www.test", None),
    );
    assert_eq!((asked.len(), records.len()), (1, 3));
}

#[test]
fn lookups_come_to_an_end() {
    let below = Below {
        aliases: vec![("www.test", "a.net"), ("xa.net", "a.net")],
        ..Below::default()
    };
    let rules = rewrite("rewrite cname prefix a. xa.");
    let (asked, records) = ask(rules, below, &mut query("www.test", None));
    assert_eq!(asked.len(), 7);
    assert_eq!(records.len(), 6 + 2);
}

#[test]
fn options_are_shown_to_whoever_speaks_edns() {
    for (rules, client, below, shown) in [
        ("set 65001 new", Some(&b""[..]), " new", Some(&b"new"[..])),
        ("set 65001 new revert", Some(b""), " new", None),
        (
            "set 65001 new revert",
            Some(b"\xfd\xe9\0\x03old"),
            " new",
            Some(b"old"),
        ),
        ("append 65001 new", Some(b"\xfd\xe9\0\x03old"), " old", None),
        ("replace 65001 new", Some(b""), "", None),
        ("unset 65001", Some(b"\xfd\xe9\0\x03old"), "", None),
        ("set 65001 new", None, " new", Some(b"new")),
        ("unset 65001", None, "", None),
    ] {
        let rewrite = rewrite(&format!("rewrite edns0 local {rules}"));
        let mut ex = query("a.test", client);
        let (asked, _) = ask(rewrite, Below::default(), &mut ex);
        assert_eq!(asked, [format!("a.test. MX{below}")], "{rules}");
        assert_eq!(ex.reply.option(65_001), shown, "{rules}");
        let answered = ex.reply.to_message(&ex.query).unwrap();
        assert_eq!(
            answered.edns.is_some(),
            client.is_some(),
            "RFC 6891 section 6.1.1"
        );
    }
}

#[test]
fn a_query_that_no_rule_is_for_allocates_nothing() {
    /// Answers without allocating.
    struct Plain;
    impl Plugin for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }
        fn on_query(&self, ex: &mut Exchange) -> Flow {
            ex.answer(Rcode::NOERROR)
        }
    }
    let rules = "rewrite continue cname a.test b.test
        rewrite name a.test b.test
        rewrite name prefix a. b.
        rewrite name regex ^a(.*)\\.test {1}.b
        rewrite ttl suffix .b. 30
        rewrite type A AAAA
        rewrite edns0 local replace 65001 x";
    let chain = Chain::new(vec![Arc::new(rewrite(rules)), Arc::new(Plain)]).unwrap();
    let mut ex = query("www.test", Some(b""));
    let mut serve = || {
        let _ = chain.run(&mut ex);
        ex.recycle();
    };
    serve();
    assert_eq!(allocation_counter::measure(serve).count_total, 0);
}

fn label() -> impl Strategy<Value = String> {
    "[a-c]{1,2}"
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(label(), 1..4).prop_map(|labels| labels.join("."))
}

/// Lines of rules that map names back.
fn line() -> impl Strategy<Value = String> {
    let mode = prop_oneof![Just("stop"), Just("continue")];
    let kind = prop_oneof![
        (text(), text()).prop_map(|(from, to)| format!("name exact {from} {to}")),
        (label(), label()).prop_map(|(from, to)| format!("name prefix {from} {to} answer auto")),
        (text(), text()).prop_map(|(from, to)| format!("name suffix {from} {to}")),
        (label(), label()).prop_map(|(from, to)| format!("name substring {from} {to} answer auto")),
        label().prop_map(|to| format!("name regex ^(.*)\\.(.*)\\.$ {{2}}.{{1}}.{to} answer auto")),
        Just("type MX TXT".to_owned()),
        Just("class IN CH".to_owned()),
        Just("edns0 local set 65001 {qname}".to_owned()),
        Just("edns0 local append 65002 x revert".to_owned()),
        Just("edns0 subnet set 24 56 revert".to_owned()),
        Just("edns0 local unset 65001".to_owned()),
        (text(), text()).prop_map(|(from, to)| format!("cname suffix {from} {to}")),
        text().prop_map(|name| format!("ttl suffix {name} 30-40")),
    ];
    (mode, kind).prop_map(|(mode, kind)| format!("rewrite {mode} {kind}"))
}

/// What the client gets: the reply as it leaves, read again as a response to the client's query.
fn loads(ex: &Exchange) -> bool {
    let mut out = Vec::new();
    let carrier = corten_plugin::wire::finish::Carrier::Stream;
    ex.reply.finish(&ex.query, carrier, &mut out);
    Reply::new().load(&ex.query, &out).is_ok()
}

proptest! {
    /// Whatever the rules: the query is as it was (`ask` compares), and the response is one to it.
    #[test]
    fn what_rules_changed_is_put_back(
        lines in proptest::collection::vec(line(), 1..6),
        name in text(),
        edns in prop_oneof![Just(None), Just(Some(&b""[..])), Just(Some(&b"\xfd\xe9\0\x03old"[..]))],
    ) {
        let mut ex = query(&name, edns);
        let below = Below {
            aliases: vec![("a", "b.a"), ("b.a", "c.a")],
            ..Below::default()
        };
        let _ = ask(rewrite(&lines.join("\n")), below, &mut ex);
        prop_assert!(loads(&ex));
    }

    /// One rule that maps back: the owner of the answer is the client's name.
    #[test]
    fn one_rule_is_undone(line in line(), name in text()) {
        prop_assume!(line.contains(" exact ") && !line.contains("cname") || line.contains("answer auto"));
        let mut ex = query(&name, None);
        let (_, records) = ask(rewrite(&line), Below::default(), &mut ex);
        if ex.reply.rcode == Rcode::NOERROR {
            prop_assert_eq!(&records[0], &format!("{name}. 60 IN MX 10 mail.{name}."));
        }
    }
}

#[test]
fn classes_decide_who_is_asked_below() {
    /// For class IN alone.
    struct Internet;
    impl Plugin for Internet {
        fn name(&self) -> &'static str {
            "internet"
        }
        fn on_query(&self, ex: &mut Exchange) -> Flow {
            ex.answer(Rcode::NOERROR)
        }
    }
    for (rules, class, rcode) in [
        ("rewrite class CH IN", Class::CH, Rcode::NOERROR),
        ("rewrite class HS IN", Class::CH, Rcode::REFUSED),
        ("rewrite class IN CH", Class::IN, Rcode::REFUSED),
    ] {
        let chain = Chain::new(vec![Arc::new(rewrite(rules)), Arc::new(Internet)]).unwrap();
        let mut ex = query("a.test", None);
        ex.query.question.class = class;
        let _ = chain.run(&mut ex);
        assert_eq!(
            (ex.reply.rcode, ex.query.question.class),
            (rcode, class),
            "{rules}"
        );
    }
}
