use corten_plugin::corefile::{Source, parse};

use super::*;

/// The rule of a Corefile's line, or what is wrong with it.
fn read(line: &str) -> Result<Rule, String> {
    let text = format!(".:53 {{\n{line}\n}}\n");
    let source = Source {
        name: "Corefile",
        path: None,
        text: &text,
    };
    let corefile = parse(&source, &["rewrite"], &|_| None).map_err(|error| error.to_string())?;
    let line = corefile.blocks[0].directives[0].occurrence();
    line.and_then(|line| rule(&line))
        .map_err(|error| error.to_string())
}

#[test]
fn mistakes_are_told_in_coredns_words() {
    for (line, told) in [
        ("rewrite", "no rule type specified for rewrite"),
        ("rewrite stop", "stop rule must begin with a rule type"),
        (
            "rewrite continue",
            "continue rule must begin with a rule type",
        ),
        ("rewrite label a b", "invalid rule type \"label\""),
        (
            "rewrite answer name a b",
            "response rewrites must begin with a name rule",
        ),
        (
            "rewrite name a.example",
            "too few arguments for a name rule",
        ),
        (
            "rewrite name glob *.a b",
            "name rule supports only exact, prefix, suffix, substring, and regex name matching, received: glob",
        ),
        (
            "rewrite name regex (.* b",
            "invalid regex matching pattern: (.*",
        ),
        (
            "rewrite name regex (.*) {1}.{2}",
            "uses more subexpressions",
        ),
        (
            "rewrite name suffix a b answer",
            "invalid arguments for suffix rule",
        ),
        (
            "rewrite name suffix a b c d",
            "exceeded the number of arguments for a non-answer rule argument for suffix rule",
        ),
        (
            "rewrite name suffix a b answer auto answer",
            "type missing for answer rule for suffix rule",
        ),
        (
            "rewrite name suffix a b answer data",
            "invalid type \"data\" for answer rule for suffix rule",
        ),
        (
            "rewrite name suffix a b answer name x",
            "name answer rule for suffix rule: 2 arguments required",
        ),
        (
            "rewrite name suffix a b answer auto name (.*) {1}",
            "auto name answer rule cannot be combined",
        ),
        (
            "rewrite type A",
            "type rules must have exactly two arguments",
        ),
        ("rewrite type A QUAD", "invalid type \"QUAD\""),
        (
            "rewrite class IN",
            "class rules must have exactly two arguments",
        ),
        ("rewrite class IN xx", "invalid class \"XX\""),
        ("rewrite ttl a", "too few (1) arguments for a ttl rule"),
        (
            "rewrite ttl exact a 1 2",
            "too many arguments for a ttl rule",
        ),
        ("rewrite ttl glob a 1", "ttl rule supports only exact"),
        (
            "rewrite ttl a 300-30",
            "invalid TTL '300-30' for a ttl rule",
        ),
        ("rewrite ttl a -", "invalid TTL '-' for a ttl rule"),
        ("rewrite ttl a 1-2-3", "invalid TTL '1-2-3' for a ttl rule"),
        (
            "rewrite ttl regex ( 3",
            "invalid regex pattern in a ttl rule: (",
        ),
        (
            "rewrite rcode a SERVFAIL",
            "too few (2) arguments for a rcode rule",
        ),
        (
            "rewrite rcode a SERVFAIL X",
            "invalid replacement RCODE 'X' for a rcode rule",
        ),
        (
            "rewrite rcode a 24 0",
            "invalid matching RCODE '24' for a rcode rule",
        ),
        ("rewrite cname a", "too few (1) arguments for a cname rule"),
        ("rewrite cname glob a b", "unknown cname rewrite type: glob"),
        ("rewrite edns0 local", "too few arguments for an EDNS0 rule"),
        ("rewrite edns0 padding set", "invalid rule type \"padding\""),
        ("rewrite edns0 local add 1 a", "invalid action: \"add\""),
        (
            "rewrite edns0 local set 1",
            "EDNS0 local rules require three or four args",
        ),
        (
            "rewrite edns0 local set 0x1ffee a",
            "'0x1ffee' is not a number up to 65535",
        ),
        (
            "rewrite edns0 local set 1 0xabc",
            "'0xabc' is not pairs of hexadecimal digits",
        ),
        (
            "rewrite edns0 local set 1 {nonsense}",
            "unsupported variable name \"{nonsense}\"",
        ),
        (
            "rewrite edns0 local unset",
            "local unset action requires exactly two arguments",
        ),
        (
            "rewrite edns0 nsid set x",
            "EDNS0 NSID rules can accept no more than one arg",
        ),
        (
            "rewrite edns0 nsid unset x",
            "nsid unset action requires exactly one argument",
        ),
        (
            "rewrite edns0 subnet set 24",
            "EDNS0 subnet rules require three or four args",
        ),
        (
            "rewrite edns0 subnet set 33 56",
            "invalid IPv4 bit mask length 33",
        ),
        (
            "rewrite edns0 subnet set 24 129",
            "invalid IPv6 bit mask length 129",
        ),
        (
            "rewrite edns0 subnet unset 24",
            "subnet unset action requires exactly one argument",
        ),
        (
            "rewrite type A AAAA {\n continue\n}",
            "no rule type specified for rewrite",
        ),
    ] {
        let error = read(line).map(|_| ()).expect_err(line);
        assert!(
            error.contains(told) && error.contains("Corefile:"),
            "{line}: {error}"
        );
    }
}

#[test]
fn all_words_between_braces_are_one_rule() {
    let rule = read("rewrite continue {\n name regex (.*)\\.a {1}.b\n answer name (.*)\\.b {1}.a\n value x y\n}").unwrap();
    assert!(rule.continues);
    let Kind::Name(rule) = rule.kind else {
        panic!("{rule:?}");
    };
    let places: Vec<_> = rule.answers.iter().map(|answer| answer.place).collect();
    assert_eq!(places, [Place::Owner, Place::Value]);
    assert!(!read("rewrite {\n type A AAAA\n}").unwrap().continues);
    assert!(matches!(
        read("rewrite type {\n A\n AAAA\n}").unwrap().kind,
        Kind::Type(..)
    ));
}

#[test]
fn names_may_be_mapped_back() {
    for (line, back) in [
        ("rewrite name a b", "remap"),
        ("rewrite name exact a b", "remap"),
        ("rewrite name prefix a. b.", "no"),
        ("rewrite name prefix a. b. answer auto", "remap"),
        ("rewrite name suffix a b answer auto", "suffix"),
        ("rewrite name regex a b answer auto", "remap"),
        ("rewrite name exact *.a *.b answer value a b", "remap"),
    ] {
        let Kind::Name(rule) = read(line).unwrap().kind else {
            panic!("{line}");
        };
        let shown = match rule.back {
            Back::No => "no",
            Back::Remap => "remap",
            Back::Suffix(_) => "suffix",
        };
        assert_eq!(shown, back, "{line}");
    }
}

#[test]
fn dots_of_parts_are_those_of_the_other() {
    for (line, parts) in [
        ("prefix dev- prod-", ("dev-", "prod-")),
        ("prefix dev. prod", ("dev.", "prod.")),
        ("prefix Dev prod.", ("dev.", "prod.")),
        ("substring dev. \"\"", ("dev.", "")),
        ("suffix .a .b", (".a.", ".b.")),
    ] {
        let Kind::Name(rule) = read(&format!("rewrite name {line}")).unwrap().kind else {
            panic!("{line}");
        };
        match rule.question {
            Change::Prefix(from, to) | Change::Suffix(from, to) | Change::Substring(from, to) => {
                assert_eq!((&from[..], &to[..]), parts);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn numbers_are_read_as_go_does() {
    for (line, rule) in [
        (
            "local set 0xffee 0x0102",
            (0xffee, Action::Set, Data::Octets(vec![1, 2]), false),
        ),
        (
            "local append 65518 text revert",
            (0xffee, Action::Append, Data::Octets(b"text".to_vec()), true),
        ),
        (
            "local replace 017 {qname}",
            (15, Action::Replace, Data::Variable(Variable::Qname), false),
        ),
        (
            "LOCAL UNSET 0b11",
            (3, Action::Unset, Data::Octets(vec![]), false),
        ),
        (
            "nsid set revert",
            (3, Action::Set, Data::Octets(vec![]), true),
        ),
        (
            "subnet set 24 56",
            (8, Action::Set, Data::Subnet(24, 56), false),
        ),
    ] {
        let Kind::Edns(found) = read(&format!("rewrite edns0 {line}")).unwrap().kind else {
            panic!("{line}");
        };
        assert_eq!(
            (found.code, found.action, found.data, found.revert),
            rule,
            "{line}"
        );
    }
    for (text, range) in [
        ("77", Some((77, 77))),
        ("30-300", Some((30, 300))),
        ("-40", Some((0, 40))),
        ("50-", Some((50, TTL_MAX))),
        ("4294967296", None),
        ("+1", None),
    ] {
        assert_eq!(ttl_range(text), range, "{text}");
    }
    for (text, rcode) in [
        ("3", Some(3)),
        ("refused", Some(5)),
        ("NOTIMPL", Some(4)),
        ("24", None),
    ] {
        assert_eq!(read_rcode(text), rcode.map(Rcode), "{text}");
    }
}
