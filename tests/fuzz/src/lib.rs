//! What must hold for any input. One function a target; the fuzzer and the smoke run share them.
use corten_corefile::Source;
use corten_wire::finish::Carrier;
use corten_wire::{Gate, Name, Query, Question, Rcode, RecordType, Reply};

/// Every target with its name.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("corefile", corefile),
    ("name", name),
    ("query", query),
    ("reply", reply),
];

/// A Corefile is read or refused with a place inside it.
pub fn corefile(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // An import would read files, and what is in them decides then.
    if text.contains("import") {
        return;
    }
    let known = ["errors", "forward", "hosts", "log", "tls", "whoami"];
    let source = Source {
        name: "Corefile",
        text: &text,
        path: None,
    };
    // A value that has everything in it that could matter.
    let env = |name: &str| (name != "UNSET").then(|| "a {b} \"c".to_owned());
    match corten_corefile::parse(&source, &known, &env) {
        Ok(corefile) => {
            for block in &corefile.blocks {
                assert!(!block.keys.is_empty(), "a block has keys");
                for directive in &block.directives {
                    // Lines of a directive are whole, or refused with their place.
                    let _ = directive.occurrence().map(|line| line.lines().len());
                }
            }
            let _ = corefile.fingerprint_input();
        }
        Err(error) => {
            let lines = text.lines().count().max(1);
            assert!(error.location().line as usize <= lines + 1, "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// What a name is printed as is that name.
pub fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(name) = text.parse::<Name>() {
        let again: Name = name.to_string().parse().expect("printed names are names");
        assert_eq!(name.wire(), again.wire());
    }
    if let Ok(name) = Name::from_wire(input) {
        let again: Name = name.to_string().parse().expect("printed names are names");
        assert_eq!(name.wire(), again.wire());
    }
}

/// What passes the gate can be answered, and the answer is a response to it.
pub fn query(input: &[u8]) {
    let mut query = Query::new();
    let gate = query.read(input);
    if !matches!(gate, Gate::Pass | Gate::Whole(_)) {
        return;
    }
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    reply.set_option(3, b"identifier");
    for carrier in [Carrier::Datagram, Carrier::Stream] {
        let mut out = Vec::new();
        reply.finish(&query, carrier, &mut out);
        assert_eq!(out[..2], input[..2], "the ID is the query's");
        assert!(out.len() <= 512, "{} octets without a record", out.len());
        if gate == Gate::Pass {
            reply
                .clone()
                .load(&query, &out)
                .expect("a response to the query");
        }
    }
    let sent = query.to_send().into_owned();
    let mut again = Query::new();
    assert_eq!(again.read(&sent), gate, "what is sent on is the same query");
}

/// What an upstream sends is refused, or can be passed on within the client's limits.
pub fn reply(input: &[u8]) {
    let question = Question {
        name: "www.example".parse().expect("a name"),
        rtype: RecordType::A,
        class: corten_wire::Class::IN,
    };
    let mut query = Query::new();
    // A client without EDNS, and one that takes 1232 octets.
    for opt in [&b""[..], b"\0\0\x29\x04\xd0\0\0\0\0\0\0"] {
        let mut octets = Query::ask(7, &question).octets().to_vec();
        octets[11] = u8::from(!opt.is_empty());
        octets.extend_from_slice(opt);
        assert_eq!(query.read(&octets), Gate::Pass);
        let mut reply = Reply::new();
        if reply.load(&query, input).is_err() {
            assert!(!reply.is_started(), "what is refused leaves nothing");
            continue;
        }
        let limit = if opt.is_empty() { 512 } else { 1232 };
        for (carrier, limit) in [(Carrier::Datagram, limit), (Carrier::Stream, 65_535)] {
            let mut out = Vec::new();
            reply.finish(&query, carrier, &mut out);
            assert!(out.len() <= limit, "{} octets of {limit}", out.len());
            let mut again = Reply::new();
            again
                .load(&query, &out)
                .expect("what is passed on is a response");
            assert!(again.records().len() <= reply.records().len());
        }
        // Code that looks into records may refuse what it cannot read, and no more.
        let _ = reply.to_message(&query);
    }
}
