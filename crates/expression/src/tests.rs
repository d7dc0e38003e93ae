//! The language, by examples.
use std::net::IpAddr;

use super::*;

/// A query that asks for `www.example.` from 192.0.2.7.
struct Query;

const FUNCTIONS: &[Function] = &[
    function("name", Type::Text),
    function("type", Type::Text),
    function("client_ip", Type::Text),
    function("port", Type::Text),
    function("size", Type::Int),
    function("do", Type::Bool),
    Function {
        name: "metadata",
        parameters: &[Type::Text],
        result: Type::Text,
    },
    function("anything", Type::Any),
];

const fn function(name: &'static str, result: Type) -> Function {
    Function {
        name,
        parameters: &[],
        result,
    }
}

impl Host for Query {
    fn call(&self, function: usize, arguments: &[Argument<'_>], text: &mut String) -> Returned {
        match FUNCTIONS[function].name {
            "name" => text.push_str("www.example."),
            "type" => text.push('A'),
            "client_ip" => return Returned::Address(IpAddr::from([192, 0, 2, 7])),
            "port" => text.push_str("5353"),
            "size" => return Returned::Int(45),
            "do" => return Returned::Bool(true),
            "metadata" if arguments == [Argument::Text("a/b")] => text.push_str("meta"),
            "metadata" => (),
            _ => return Returned::Nil,
        }
        Returned::Text
    }
}

fn run(text: &str) -> Result<Option<bool>, RunError> {
    let program = compile(text, FUNCTIONS).unwrap_or_else(|error| panic!("{text}: {error}"));
    program.try_holds(&Query, &mut Scratch::default())
}

#[test]
fn these_hold_and_their_contraries_do_not() {
    for text in [
        "true",
        "name() == 'www.example.'",
        r#"name() == "www.example.""#,
        "name() == `www.example.`",
        "type() in ['A', 'AAAA']",
        "type() not in ['MX', 'TXT']",
        "not (type() in ['MX'])",
        "client_ip() in ['192.0.2.7', '192.0.2.8']",
        "client_ip() == '192.0.2.7'",
        "client_ip() == client_ip()",
        "client_ip() != '192.0.2.70'",
        "incidr(client_ip(), '192.0.2.0/24')",
        "incidr(client_ip(), '::ffff:192.0.2.0/120')",
        "not incidr(client_ip(), '::/0')",
        "incidr('[2001:db8::1]', '2001:db8::/32')",
        "incidr(client_ip(), client_ip() + '/32')",
        r"name() matches '^w+\\.example\\.$'",
        r"not (name() matches '^\\d')",
        "name() startsWith 'www.' && name() endsWith '.' and name() contains 'exam'",
        "name() not startsWith 'x'",
        "false || size() > 40 or false",
        "size() >= 45 && size() <= 45 && size() < 46",
        "40 < size() < 50",
        "!(1 < 3 < 2)",
        "size() in 1..45",
        "45.0 in 1..45",
        "size() + 5 * 2 == 55",
        "(size() + 5) * 2 == 100",
        "7 / 2 == 3.5",
        "-7 % 4 == -3",
        "2 ** 3 ** 2 == 512",
        "-2 ** 2 == 4 or -2 ** 2 == -4",
        "0x10 == 16 and 0b11 == 3 and 0o17 == 15 and 1_000 == 1000 and 1e3 == 1000 and .5 < 1",
        "do()",
        "do() ? size() == 45 : false",
        "false ?: true",
        "metadata('a/b') == 'meta'",
        "metadata('c/d') == ''",
        "int(port()) > 1023",
        "float('1.5') == 1.5",
        "string(size()) == '45'",
        "len(name()) == 12 and len([1, 2]) == 2 and len(1..3) == 3",
        "lower('AB') + upper('cd') == 'abCD'",
        "split(name(), '.')[1] == 'example'",
        "split(name(), '.')[-1] == ''",
        "name() | trimSuffix('.') | split('.') | len() == 2",
        "trimPrefix(name(), 'www.') == 'example.'",
        "trim('  x ') == 'x' and indexOf('abc', 'c') == 2 and indexOf('abc', 'd') == -1",
        "hasPrefix(name(), 'www') and hasSuffix(name(), '.')",
        "any(split(name(), '.'), # == 'example')",
        "all([1, 2, 3], {# > 0}) and none([1, 2], # > 2) and one([1, 2], # == 2)",
        "count(1..10, # % 2 == 0) == 5",
        "any(1..3, any(4..6, # == 5))",
        "[1, size()] == [1, 45] and [1, 2] == 1..2 and [1] != [2]",
        "max(1, size()) == 45 and min(1, 2.5) == 1 and abs(-3) == 3",
        "nil ?? true",
        "anything() == nil",
        "(anything() ?? 'x') == 'x'",
        "'a' + 'b' == 'ab' and 'a' < 'b'",
        r"'\x41\u0042\t\103' == 'AB	C'",
        "size() /* octets */ > 0 // yes",
        "[do(), size() > 3][0]",
    ] {
        assert_eq!(run(text), Ok(Some(true)), "{text}");
        assert_eq!(
            run(&format!("!({})", text.trim_end_matches("// yes"))),
            Ok(Some(false))
        );
    }
}

#[test]
fn what_fails_is_no_match() {
    for (text, error) in [
        ("incidr(name(), '10.0.0.0/8')", RunError::Address),
        ("incidr(client_ip(), name())", RunError::Network),
        ("incidr(client_ip(), '10.0.0.0')", RunError::Network),
        ("int(name()) > 1", RunError::Number),
        ("1 % (size() - 45) == 0", RunError::Number),
        ("split(name(), '.')[7] == ''", RunError::Index),
        ("all(1..1000000000, # > 0)", RunError::TooMuch),
        ("anything() > 1", RunError::Mismatch),
        ("anything() and true", RunError::Mismatch),
    ] {
        assert_eq!(run(text), Err(error), "{text}");
        let program = compile(text, FUNCTIONS).unwrap();
        assert!(!program.holds(&Query, &mut Scratch::default()));
    }
    assert_eq!(run("'text'"), Ok(None));
}

#[test]
fn errors_have_their_place() {
    for (text, error) in [
        (
            "name( ==",
            "unexpected token Operator(\"==\") (1:7)\n | name( ==\n | ......^",
        ),
        (
            "nosuchfunction()",
            "unknown name nosuchfunction (1:1)\n | nosuchfunction()\n | ^",
        ),
        (
            "Client_IP() == ''",
            "unknown name Client_IP, did you mean client_ip? (1:1)",
        ),
        (
            "name == 'x'",
            "name is a function and needs parentheses: name() (1:1)",
        ),
        (
            "name() + 1",
            "invalid operation: + (mismatched types string and int) (1:8)",
        ),
        (
            "type() in 'A'",
            "invalid operation: in (mismatched types string and string) (1:8)",
        ),
        (
            "size() == 'x'",
            "invalid operation: == (mismatched types int and string) (1:8)",
        ),
        (
            "not name() == 'x'",
            "invalid operation: not (mismatched type string) (1:1)",
        ),
        (
            "true and name()",
            "invalid operation: and (mismatched type string) (1:10)",
        ),
        (
            "size() ? 1 : 2",
            "non-bool expression (type int) used as condition (1:1)",
        ),
        (
            "incidr(client_ip())",
            "not enough arguments to call incidr (1:1)",
        ),
        ("name(1)", "too many arguments to call name (1:1)"),
        (
            "metadata(1)",
            "cannot use int as argument (type string) to call metadata (1:10)",
        ),
        ("name() matches '('", "error parsing regexp:"),
        ("name() matches name()", "the pattern of 'matches' must be"),
        ("true true", "unexpected token Identifier(\"true\") (1:6)"),
        ("(true", "unexpected token EOF (1:6)"),
        ("", "unexpected token EOF (1:1)"),
        ("'abc", "literal not terminated (1:1)"),
        ("'\\d'", "invalid char escape (1:2)"),
        ("a @ b", "unrecognized character: U+0040 '@' (1:3)"),
        ("1 ??", "unexpected token EOF (1:5)"),
        (
            "nil ?? 1 == 1",
            "Operator (??) and coalesce expressions (==) cannot be mixed.",
        ),
        (
            "# == 1",
            "cannot use pointer accessor outside predicate (1:1)",
        ),
        (
            "true &&\n nope()",
            "unknown name nope (2:2)\n |  nope()\n | .^",
        ),
        (
            "99999999999999999999 == 1",
            "invalid number literal: \"99999999999999999999\" (1:1)",
        ),
        ("1 not 2", "unexpected token Number(\"2\") (1:7)"),
        ("name().x", "unexpected token Operator(\".\") (1:7)"),
        (
            "any(size(), true)",
            "builtin any takes only array (got int) (1:5)",
        ),
    ] {
        let shown = compile(text, FUNCTIONS)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(shown.starts_with(error), "{text}: {shown}");
    }
}

#[test]
fn what_cannot_be_meant_is_warned_of() {
    for (text, warning) in [
        ("name()", "the expression is a string, which is never true"),
        (
            "incidr(client_ip(), '10.1/8')",
            "invalid CIDR address: 10.1/8",
        ),
        ("anything()", ""),
        ("do()", ""),
    ] {
        let program = compile(text, FUNCTIONS).unwrap();
        let said = program.warnings().first().map_or("", |said| said.message());
        assert!(
            said.starts_with(warning) && said.is_empty() == warning.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    assert!(compile(&deep(90), &[]).is_ok());
    assert!(compile(&deep(50_000 / 2), &[]).is_err());
    assert!(compile(&"!".repeat(60_000), &[]).is_err());
    assert!(compile(&"-".repeat(60_000), &[]).is_err());
    assert!(compile(&"[".repeat(60_000), &[]).is_err());
    let doubled = format!("{}true{}", "(".repeat(60), " ?: true)".repeat(60));
    assert!(compile(&doubled, &[]).is_err());
    let chained = format!("{}1{}", "(".repeat(60), " < 2 < 3 ? 1 : 2)".repeat(60));
    assert!(compile(&chained, &[]).is_err());
    assert!(compile(&format!("1{} == 1", " + 1".repeat(5000)), &[]).is_err());
    let many = vec!["incidr(client_ip(), '10.0.0.0/8')"; 1500].join(" || ");
    let program = compile(&many, FUNCTIONS).unwrap();
    assert!(!program.holds(&Query, &mut Scratch::default()));
    assert!(compile(&" ".repeat(TEXT_OCTETS_MAX + 1), &[]).is_err());
}

#[test]
fn running_allocates_nothing_once_the_scratch_is_large_enough() {
    for text in [
        "incidr(client_ip(), '192.0.2.0/24')",
        "client_ip() in ['192.0.2.6', '192.0.2.7']",
        "type() in ['A', 'AAAA'] && name() startsWith 'www.' && size() > 40",
        "name() matches '^www\\\\..*'",
        "split(name(), '.')[0] == 'www' and [size(), 1] == [45, 1]",
        "metadata('a/b') == 'meta'",
    ] {
        let program = compile(text, FUNCTIONS).unwrap();
        let mut scratch = Scratch::default();
        assert!(program.holds(&Query, &mut scratch), "{text}");
        let info = allocation_counter::measure(|| {
            assert!(program.holds(&Query, &mut scratch));
        });
        assert_eq!(info.count_total, 0, "{text}");
    }
}

#[test]
fn variables_stand_for_expressions() {
    let mut variables = Variables::default();
    variables
        .define("two", "1 + 1", FUNCTIONS_OF_VARIABLES)
        .unwrap();
    variables
        .define("four", "two * two", FUNCTIONS_OF_VARIABLES)
        .unwrap();
    let list = variables
        .define("list", "[four, 'x', [1.5]]", FUNCTIONS_OF_VARIABLES)
        .unwrap();
    struct Nobody;
    impl Host for Nobody {
        fn call(&self, _: usize, _: &[Argument<'_>], _: &mut String) -> Returned {
            Returned::Nil
        }
    }
    let mut scratch = Scratch::default();
    let text = Output::Text("x".into());
    let inner = Output::Array(vec![Output::Float(1.5)]);
    let expected = Output::Array(vec![Output::Int(4), text, inner]);
    assert_eq!(list.value(&Nobody, &mut scratch), Ok(expected));
    let holds = variables
        .compile("any([3, 4], # == four)", FUNCTIONS_OF_VARIABLES)
        .unwrap();
    assert!(holds.holds(&Nobody, &mut scratch));
    let error = variables
        .compile("four + five", FUNCTIONS_OF_VARIABLES)
        .unwrap_err();
    assert!(
        error.to_string().starts_with("unknown name five (1:8)"),
        "{error}"
    );
    // What doubles with each name ends.
    for step in 0.. {
        let (name, last) = (format!("v{}", step + 1), format!("v{step}"));
        let text = if step == 0 {
            "1".to_owned()
        } else {
            format!("{last} + {last}")
        };
        match variables.define(&name, &text, FUNCTIONS_OF_VARIABLES) {
            Ok(_) => assert!(step < 20),
            Err(error) => {
                assert!(error.to_string().contains("too large"), "{error}");
                break;
            }
        }
    }
    for (name, error) in [
        ("ok_1", Ok(())),
        ("1st", Err(NameError::Invalid)),
        ("", Err(NameError::Invalid)),
        ("a-b", Err(NameError::Invalid)),
        ("len", Err(NameError::Reserved)),
        ("port", Err(NameError::Reserved)),
        ("true", Err(NameError::Reserved)),
        ("not", Err(NameError::Reserved)),
        ("nil", Err(NameError::Reserved)),
    ] {
        assert_eq!(
            Variables::check_name(name, FUNCTIONS_OF_VARIABLES),
            error,
            "{name}"
        );
    }
}

const FUNCTIONS_OF_VARIABLES: &[Function] = &[Function {
    name: "port",
    parameters: &[],
    result: Type::Int,
}];
