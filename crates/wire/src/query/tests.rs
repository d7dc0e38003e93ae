use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const WWW: &str = "03777777 07657861 6d706c65 00 0001 0001";

#[test]
fn the_gate_sorts_messages() {
    for (what, message, gate) in [
        ("no header", "1234 0100 0001 0000 0000".into(), Gate::Ignore),
        (
            "a response",
            format!("1234 8100 0001 0000 0000 0000 {WWW}"),
            Gate::Ignore,
        ),
        (
            "a query",
            format!("1234 0100 0001 0000 0000 0000 {WWW}"),
            Gate::Pass,
        ),
        (
            "a notification",
            format!("1234 2100 0001 0000 0000 0000 {WWW}"),
            Gate::Pass,
        ),
        (
            "octets behind",
            format!("1234 0100 0001 0000 0000 0000 {WWW} beef"),
            Gate::Pass,
        ),
        (
            "an update",
            format!("1234 2900 0001 0000 0000 0000 {WWW}"),
            Gate::Header(Rcode::NOTIMP),
        ),
        (
            "no question",
            "1234 0100 0000 0000 0000 0000".into(),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "two questions",
            format!("1234 0100 0002 0000 0000 0000 {WWW} {WWW}"),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "two answers",
            format!("1234 0100 0001 0002 0000 0000 {WWW}"),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "cut name",
            "1234 0100 0001 0000 0000 0000 0377".into(),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "no class",
            "1234 0100 0001 0000 0000 0000 0177 00 0001".into(),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "pointer",
            "1234 0100 0001 0000 0000 0000 c00c 0001 0001".into(),
            Gate::Header(Rcode::FORMERR),
        ),
        (
            "missing record",
            format!("1234 0100 0001 0000 0000 0001 {WWW}"),
            Gate::Whole(Rcode::FORMERR),
        ),
        (
            "EDNS",
            format!("1234 0100 0001 0000 0000 0001 {WWW} 00 0029 04d0 00008000 0000"),
            Gate::Pass,
        ),
        (
            "EDNS 1",
            format!("1234 0100 0001 0000 0000 0001 {WWW} 00 0029 04d0 00018000 0000"),
            Gate::Whole(Rcode::BADVERS),
        ),
        (
            "a pointer to itself",
            format!("1234 2100 0001 0001 0000 0000 {WWW} c01d 0006 0001 00000000 0000"),
            Gate::Whole(Rcode::FORMERR),
        ),
        (
            "two OPTs",
            format!(
                "1234 0100 0001 0000 0000 0002 {WWW} 00 0029 04d0 00000000 0000 00 0029 04d0 00000000 0000"
            ),
            Gate::Whole(Rcode::FORMERR),
        ),
        (
            "OPT not at the root",
            format!("1234 0100 0001 0000 0000 0001 {WWW} 0177 00 0029 04d0 00000000 0000"),
            Gate::Whole(Rcode::FORMERR),
        ),
        (
            "cut option",
            format!("1234 0100 0001 0000 0000 0001 {WWW} 00 0029 04d0 00000000 0004 0003 0001"),
            Gate::Whole(Rcode::FORMERR),
        ),
    ] {
        assert_eq!(Query::new().read(&hex(&message)), gate, "{what}");
    }
}

#[test]
fn a_query_shows_what_was_sent() {
    let mut query = Query::new();
    let message = hex(
        "abcd 0130 0001 0000 0000 0001 03575777 07657861 6d706c65 00 001c 0001  00 0029 1000 00008000 000b 0003 0000 000a 0003 010203",
    );
    assert_eq!(query.read(&message), Gate::Pass);
    assert_eq!((query.id(), query.opcode()), (0xabcd, Opcode::QUERY));
    assert!(
        query.recursion_desired()
            && query.authentic_data()
            && query.checking_disabled()
            && query.dnssec_ok()
    );
    assert_eq!(query.question.name.to_string(), "www.example.");
    assert_eq!(query.question.rtype, RecordType::AAAA);
    assert_eq!(&query.question_octets()[..4], b"\x03WWw");
    assert_eq!(query.edns().unwrap().udp_size, 4096);
    assert_eq!(query.edns_option(3), Some(&b""[..]));
    assert_eq!(query.edns_option(10), Some(&[1u8, 2, 3][..]));
    assert_eq!(query.edns_option(8), None);
    assert!(query.question_unchanged());
    query.question.rtype = RecordType::A;
    assert!(!query.question_unchanged());
}

#[test]
fn nothing_is_left_of_the_query_before() {
    let mut query = Query::new();
    let good = hex(&format!("1234 0100 0001 0000 0000 0000 {WWW}"));
    for message in [
        "1234 8100",
        "1234 2900 0001 0000 0000 0000",
        "1234 0100 0001 0000 0000 0000 0161",
        "1234 0100 0001 0000 0000 0000 016100 0001",
    ] {
        assert_eq!(query.read(&good), Gate::Pass);
        assert_ne!(query.read(&hex(message)), Gate::Pass);
        assert!(query.question.name.is_root() && query.question.name.wire() == b"\0");
        assert_eq!(query.question.rtype, RecordType(0), "{message}");
    }
}

#[test]
fn another_question_keeps_header_and_edns() {
    let mut query = Query::new();
    let message =
        format!("abcd 0110 0001 0000 0000 0001 {WWW} 00 0029 1000 00008000 0005 0003 0001 ff");
    assert_eq!(query.read(&hex(&message)), Gate::Pass);
    let question = Question {
        name: "other".parse().unwrap(),
        ..query.question.clone()
    };
    let other = query.with_question(&question);
    let mut read = Query::new();
    assert_eq!(read.read(other.octets()), Gate::Pass);
    assert!(read.dnssec_ok() && read.checking_disabled() && read.question == question);
    assert_eq!(
        (read.edns(), read.edns_option(3)),
        (other.edns(), Some(&[0xff][..]))
    );
}

#[test]
fn a_query_of_our_own_can_be_read_back() {
    let question = Question {
        name: "a.example".parse().unwrap(),
        rtype: RecordType::NS,
        class: Class::IN,
    };
    let made = Query::ask(7, &question);
    let mut read = Query::new();
    assert_eq!(read.read(made.octets()), Gate::Pass);
    assert_eq!(
        (read.id(), read.question, made.question_octets().len()),
        (7, question, 15)
    );
}
