use super::*;
use proptest::prelude::*;

const KNOWN: &[&str] = &["whoami", "log", "hosts", "forward", "errors", "cache"];

fn read(text: &str) -> Result<Corefile, ParseError> {
    let source = Source {
        name: "Corefile",
        text,
        path: None,
    };
    parse(&source, KNOWN, &|name| {
        (name == "ZONE").then(|| "env.example".to_owned())
    })
}

/// Blocks as `keys [directive words; …]`.
fn shown(corefile: &Corefile) -> String {
    let words = |line: &Directive| {
        line.tokens
            .iter()
            .fold(line.name.text.clone(), |text, token| {
                format!("{text} {}", token.text)
            })
    };
    let block = |block: &ServerBlock| {
        let keys: Vec<_> = block.keys.iter().map(|key| key.zone.as_str()).collect();
        format!(
            "{} [{}]",
            keys.join(" "),
            block
                .directives
                .iter()
                .map(words)
                .collect::<Vec<_>>()
                .join("; ")
        )
    };
    corefile
        .blocks
        .iter()
        .map(block)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn blocks_are_read_as_coredns_reads_them() {
    for (text, expected) in [
        (".:53 {\n whoami\n}", ". [whoami]"),
        (".\nwhoami\nlog . x", ". [whoami; log . x]"),
        (".", ". []"),
        ("", ""),
        ("# nothing\n", ""),
        ("a b:54 {\n}\nc\n{\n log\n}", "a. b. [] c. [log]"),
        ("a, b,\nc {\n whoami\n}", "a. b. c. [whoami]"),
        (
            "a {\n hosts {\n 1.1.1.1 x {\n }\n }\n log\n log b\n}",
            "a. [hosts { 1.1.1.1 x { } }; log; log b]",
        ),
        ("{$ZONE} {\n whoami\n}", "env.example. [whoami]"),
        (
            "(s) {\n log\n errors {\n }\n}\na {\n import s\n}\nb {\n import s\n whoami\n}",
            "a. [log; errors { }] b. [log; errors { }; whoami]",
        ),
        (
            "(in) {\n log\n}\n(out) {\n import in\n whoami\n}\na {\n import out\n}",
            "a. [log; whoami]",
        ),
        (
            "(opt) {\n ttl 5\n}\na {\n hosts {\n import opt\n }\n}",
            "a. [hosts { ttl 5 }]",
        ),
        ("(keys) {\n a {\n log\n }\n}\nimport keys\n", "a. [log]"),
        (
            "10.2.0.0/23 {\n log\n}",
            "0.2.10.in-addr.arpa. 1.2.10.in-addr.arpa. [log]",
        ),
    ] {
        assert_eq!(shown(&read(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (text, line, error) in [
        (
            ".:53 {\n whoami\n",
            2,
            "Unexpected token 'whoami', expecting '}'",
        ),
        (
            ".:53 {\n hosts {\n  192.0.2.1 www.example",
            3,
            "Unexpected EOF",
        ),
        (
            ".:53 { whoami }",
            1,
            "Unexpected '}' because no matching opening brace",
        ),
        (
            ".:53 {\n cache 30 }\n}",
            2,
            "Unexpected '}' because no matching opening brace",
        ),
        (
            "a, {\n whoami\n}",
            1,
            "Expected another address but had '{' - check for extra comma",
        ),
        ("a,", 1, "Unexpected EOF"),
        ("{\n whoami\n}", 1, "Unexpected token '{', expecting a zone"),
        (
            ".:53{\n whoami\n}",
            1,
            "error inspecting server blocks: zone is not a valid domain name: .:53{",
        ),
        (
            ". {\n whoami\n}\n}",
            4,
            "Unexpected '}' because no matching opening brace",
        ),
        (
            ". {\n hosts {\n 1.1.1.1 a\n }\n",
            4,
            "Unexpected token '}', expecting '}'",
        ),
        (
            "a\n whoami\n}",
            3,
            "Unexpected '}' because no matching opening brace",
        ),
        (". {\n whoami\n nosuch\n}", 3, "Unknown directive 'nosuch'"),
        (
            ". {\n import\n}",
            2,
            "Wrong argument count or unexpected line ending after 'import'",
        ),
        (
            ". {\n import a b\n}",
            2,
            "Import takes only one argument (glob pattern or file)",
        ),
        (
            ". {\n import */*.c\n}",
            2,
            "Glob pattern may only contain one wildcard (*), but has others: */*.c",
        ),
        (". {\n import none\n}", 2, "File to import not found: none"),
        (
            ". {\n import /tmp\n}",
            2,
            "Could not import /tmp: is a directory",
        ),
        (
            "(s) {\n log\n}\n(s) {\n log\n}",
            4,
            "redeclaration of previously declared snippet s",
        ),
        (
            "(s) {\n import s\n}\n. {\n import s\n}",
            3,
            "maximum snippet import depth (1000) exceeded",
        ),
        ("(s) {\n log\n", 2, "Unexpected token 'log', expecting '}'"),
        (
            "a..b {\n}",
            1,
            "error inspecting server blocks: zone is not a valid domain name: a..b",
        ),
    ] {
        let error_found = read(text).expect_err(text);
        assert_eq!(
            (error_found.location().line, error_found.text()),
            (line, error),
            "{text}"
        );
    }
}

#[test]
fn snippets_that_double_themselves_are_stopped() {
    let mut text = "(s0) {\n log\n}\n".to_owned();
    for level in 1..64 {
        text += &format!("(s{level}) {{\n import s{0}\n import s{0}\n}}\n", level - 1);
    }
    let error = read(&(text + ". {\n import s63\n}")).unwrap_err();
    assert_eq!(error.text(), "imports make more than 1000000 words");
}

#[test]
fn an_error_in_an_import_names_both_places() {
    let folder = std::env::temp_dir().join(format!("corten-corefile-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("parts")).unwrap();
    std::fs::write(folder.join("parts/a.conf"), "import b.conf\n").unwrap();
    std::fs::write(folder.join("parts/b.conf"), "log\nfoward . x\n").unwrap();
    let path = folder.join("Corefile");
    let text = ". {\n import parts/*.conf\n}";
    let error = parse(
        &Source {
            name: "Corefile",
            text,
            path: Some(&path),
        },
        KNOWN,
        &|_| None,
    )
    .unwrap_err()
    .to_string();
    std::fs::remove_dir_all(&folder).unwrap();
    let parts = folder.join("parts");
    let expected = format!(
        "{0}/b.conf:2 - Error during parsing: Unknown directive 'foward'\n  --> {0}/b.conf:2:1\n   |\n 2 | foward . x\n   | ^\n  \
         help: did you mean 'forward'?\n  imported at {0}/a.conf:1\n  imported at Corefile:2",
        parts.display()
    );
    assert_eq!(error, expected);
}

#[test]
fn a_pattern_without_files_is_a_warning() {
    let corefile = read(". {\n import nothing/*.conf\n log\n}").unwrap();
    assert_eq!(
        corefile.warnings,
        ["No files matching import glob pattern: nothing/*.conf"]
    );
    assert_eq!(shown(&corefile), ". [log]");
}

#[test]
fn the_fingerprint_sees_lines_and_not_comments_at_the_end() {
    let one = read(". {\n log\n}").unwrap().fingerprint_input();
    assert_eq!(
        read(". {\n log\n}\n# the end").unwrap().fingerprint_input(),
        one
    );
    assert_ne!(read(". {\n\n log\n}").unwrap().fingerprint_input(), one);
    assert_ne!(read(". {\n log a\n}").unwrap().fingerprint_input(), one);
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_panic(text in "(?s).{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn words_of_the_grammar_do_not_either(words in proptest::collection::vec(
        prop_oneof![Just("{"), Just("}"), Just("\n"), Just("log"), Just("hosts"), Just("import"), Just("(s)"), Just("s"),
            Just("a.b"), Just(","), Just("\""), Just("{$ZONE}"), Just("#"), Just(".:53")], 0..60)) {
        if let Err(error) = read(&words.join(" ")) {
            let lines = words.join(" ").lines().count().max(1);
            prop_assert!((1..=lines).contains(&(error.location().line as usize)), "{}", error);
            prop_assert!(error.to_string().starts_with("Corefile:"));
        }
    }

    #[test]
    fn what_was_written_is_read_back(blocks in proptest::collection::vec(
        ("[a-z]{1,8}\\.[a-z]{2,3}", proptest::collection::vec(("log|hosts|cache", proptest::collection::vec("[a-z0-9\\\\\" #{}]{1,8}", 0..3)), 0..4)), 0..4)) {
        let mut text = String::new();
        let mut expected = Vec::new();
        for (zone, lines) in &blocks {
            text += &format!("{zone} {{\n");
            let mut shown = Vec::new();
            for (name, args) in lines {
                // A backslash in front of a quote cannot be written.
                let args: Vec<_> = args.iter().map(|arg| arg.replace('\\', "").replace("{", "(")).collect();
                let quoted: Vec<_> = args.iter().map(|arg| format!("\"{}\"", arg.replace('"', "\\\""))).collect();
                text += &format!("  {name} {}\n", quoted.join(" "));
                shown.push(args.iter().fold(name.clone(), |text, arg| format!("{text} {arg}")));
            }
            text += "}\n";
            expected.push(format!("{zone}. [{}]", shown.join("; ")));
        }
        prop_assert_eq!(shown(&read(&text).unwrap()), expected.join(" "));
    }
}
