//! Rules, by examples.
use std::sync::Arc;

use corten_plugin::corefile::{Source, parse};
use corten_plugin::metrics::registry;
use corten_plugin::wire::{Class, Query, Question, RecordType};
use corten_plugin::{
    Block, Chain, Exchange, Parts, Peers, Plugin, Process, Progress, ServerOptions, Setup,
};

use super::*;

fn build(lines: &str) -> Result<Vec<Arc<dyn Plugin>>, String> {
    let text = format!("example {{\n{lines}\n}}\n");
    let source = Source {
        name: "Corefile",
        text: &text,
        path: None,
    };
    let corefile = parse(&source, &["template"], &|_| None).map_err(|error| error.to_string())?;
    let block = Block {
        zones: vec!["example".parse().unwrap()],
        transports: Vec::new(),
    };
    let (mut made, mut everywhere) = (Vec::new(), Vec::new());
    let mut setup = Setup {
        directive: "template",
        block: &block,
        options: &mut ServerOptions::default(),
        process: &Arc::new(Process::default()),
        parts: Parts {
            lines: &corefile.blocks[0].directives,
            before: &[],
            made: &mut made,
            everywhere: &mut everywhere,
            offers: &mut Peers::default(),
        },
    };
    (PLUGIN.setup)(&mut setup).map_err(|error| error.to_string())?;
    Ok(made)
}

fn ask(chain: &Chain, name: &str, rtype: RecordType) -> Exchange {
    let mut ex = Exchange::new();
    let question = Question {
        name: name.parse().unwrap(),
        rtype,
        class: Class::IN,
    };
    ex.query = Query::ask(7, &question);
    ex.client = ([192, 0, 2, 1], 4000).into();
    assert!(matches!(chain.run(&mut ex), Progress::Done(_)));
    ex
}

/// RDATA of the answers, or the RCODE when there are none.
fn answers(ex: &Exchange) -> Vec<String> {
    let reply = &ex.reply;
    let octets = |record: &corten_plugin::wire::Record| {
        let rdata = &reply.octets()[usize::from(record.rdata)..usize::from(record.end)];
        rdata.escape_ascii().to_string()
    };
    match reply.records() {
        [] => vec![reply.rcode.to_string()],
        records => records.iter().map(octets).collect(),
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (lines, error) in [
        (
            "template",
            "Corefile:2 - Error during parsing: Wrong argument count",
        ),
        ("template IN", "Wrong argument count"),
        ("template in A", "invalid query class in"),
        ("template IN TYPE1", "invalid RR class TYPE1"),
        ("template IN A {\n answer\n}", "Wrong argument count"),
        (
            "template IN A {\n answer \"{{ .Name\"\n}",
            "template: answer:1: unclosed action",
        ),
        (
            "template IN A {\n answer \"{{ foo }}\"\n}",
            "function \"foo\" not defined",
        ),
        ("template IN A {\n match (\n}", "could not parse regex: (, "),
        (
            "template IN A {\n rcode noerror\n}",
            "unknown rcode noerror",
        ),
        (
            "template IN A {\n ederror x\n}",
            "error parsing extended DNS error code x",
        ),
        ("template IN A {\n anser x\n}", "unknown property 'anser'"),
        (
            "template IN A {\n var len 1\n}",
            "variable name \"len\" is reserved",
        ),
        (
            "template IN A {\n var a-b 1\n}",
            "invalid variable name \"a-b\"",
        ),
        (
            "template IN A {\n expr name( == 'x'\n}",
            "could not compile expression",
        ),
        (
            "template IN A {\n expr later\n var later true\n}",
            "unknown name later",
        ),
    ] {
        let got = build(lines).map(|_| ()).unwrap_err();
        assert!(got.contains(error), "{lines}\n{got}");
    }
    let long = format!("template IN A {{\n match {}\n}}", "x".repeat(10_001));
    assert!(
        build(&long)
            .map(|_| ())
            .unwrap_err()
            .contains("regex pattern too long: 10001 > 10000")
    );
}

#[test]
fn fixed_and_executed_templates_give_the_same() {
    let fixed = "\"{{ .Name }} 60 {{ .Class }} TXT {{ .Zone }} {{ .Type }}\"";
    let executed = "\"{{ .Name }} 60 {{ .Class }} TXT {{ print .Zone }} {{ .Type }}\"";
    let chain = Chain::new(
        build(&format!(
            "template IN TXT a.example b.example {{\n answer {fixed} {executed}\n}}"
        ))
        .unwrap(),
    )
    .unwrap();
    for (name, rdata) in [
        ("x.a.example", r"\na.example.\x03TXT"),
        ("b.example", r"\nb.example.\x03TXT"),
    ] {
        let ex = ask(&chain, name, RecordType::TXT);
        assert_eq!(answers(&ex), [rdata, rdata]);
        let any = ask(&chain, name, RecordType::ANY);
        assert_eq!(answers(&any), [rdata, rdata]);
        let [one, other] = ex.reply.records() else {
            panic!("two records")
        };
        assert_eq!(
            one.end - one.start,
            other.end - other.start,
            "owners are compressed alike"
        );
    }
}

#[test]
fn fields_are_the_querys() {
    let chain = Chain::new(build(
        "template IN TXT {\n match ^(?P<a>\\w+)[.](x)?\n answer \"{{ .Name }} TXT {{ .Group.a }}/{{ index .Match 2 }}/{{ len .Match }}/{{ .Group }}\"\n answer \"{{ .Name }} TXT {{ .Remote }}/{{ .Message.Id }}/{{ .Message.IsEdns0 }}/{{ .Regex }}\"\n answer \"{{ if false }}x{{ end }}\"\n}",
    ).unwrap()).unwrap();
    let got = answers(&ask(&chain, "www.example", RecordType::TXT));
    // Two records; the third template gave nothing. A blank separates texts.
    let [one, other] = &got[..] else {
        panic!("{got:?}")
    };
    assert!(one.contains("www//3/map[0:www."), "{one}");
    assert!(one.contains("a:www]"), "{one}");
    assert!(
        other.contains("192.0.2.1/7/<no") && other.contains("value>/"),
        "{other}"
    );
}

#[test]
fn failures_are_counted_and_said() {
    let chain = Chain::new(build(
        "template IN A {\n answer \"{{ .Name }} A {{ index .Match 5 }}\"\n}\ntemplate IN AAAA {\n answer \"{{ .Name }} AAAA 192.0.2.1\"\n}",
    ).unwrap()).unwrap();
    let ex = ask(&chain, "failing.example", RecordType::A);
    assert_eq!(answers(&ex), ["SERVFAIL"]);
    let error = ex.failure().unwrap().to_string();
    assert!(
        error.starts_with("template: answer:1:17: executing \"answer\" at <index .Match 5>"),
        "{error}"
    );
    let ex = ask(&chain, "failing.example", RecordType::AAAA);
    let error = ex.failure().unwrap().to_string();
    assert!(error.starts_with("not a record: line 1, column"), "{error}");
    let text = registry().expose();
    assert!(
        text.contains("coredns_template_template_failures_total{server="),
        "{text}"
    );
    assert!(
        text.contains("template=\"{{.Name}} AAAA 192.0.2.1\""),
        "{text}"
    );
}

#[test]
fn what_is_the_same_for_all_allocates_nothing() {
    let chain =
        Chain::new(build("template IN A {\n answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n}").unwrap())
            .unwrap();
    let mut ex = ask(&chain, "www.example", RecordType::A);
    let counted = allocation_counter::measure(|| {
        ex.reply.clear();
        let _ = chain.run(&mut ex);
    });
    assert_eq!(answers(&ex), [r"\xc0\x00\x02\x01"]);
    assert_eq!(counted.count_total, 0);
}
