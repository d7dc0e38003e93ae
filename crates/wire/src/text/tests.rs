//! Records and what is no record.
use super::entry::Token;
use super::*;

/// Records, each with the octets that CoreDNS's library makes of it, or `!` where it makes none.
const RECORDED: &str = include_str!("recorded.txt");

fn root() -> Name {
    Name::root()
}

fn wire(record: &TextRecord) -> String {
    let mut octets = record.owner.clone();
    octets.extend(record.rtype.0.to_be_bytes());
    octets.extend(record.class.0.to_be_bytes());
    octets.extend(record.ttl.to_be_bytes());
    octets.extend((record.rdata.len() as u16).to_be_bytes());
    octets.extend(&record.rdata);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn records_are_what_coredns_makes_of_them() {
    let mut lines = RECORDED.lines();
    let (mut count, mut wrong) = (0, Vec::new());
    while let (Some(text), Some(expected)) = (lines.next(), lines.next()) {
        count += 1;
        let got = record(text, &root(), Some(3600));
        let same = match (&got, expected.strip_prefix("= ")) {
            (Ok(got), Some(octets)) => wire(got) == octets,
            (Err(_), None) => true,
            _ => false,
        };
        if !same {
            let got = got
                .map(|record| wire(&record))
                .map_err(|error| error.to_string());
            wrong.push(format!("{text}\n  theirs: {expected}\n  ours:   {got:?}"));
        }
    }
    assert!(count > 120, "the records are read");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, error) in [
        ("", "line 1, column 1: there is no record"),
        (" ; nothing\n\n", "line 1, column 1: there is no record"),
        (
            "a. 1 IN A 192.0.2",
            "line 1, column 11: '192.0.2' is not an IPv4 address",
        ),
        ("a. 1 IN A", "line 1, column 9: an IPv4 address is missing"),
        (
            "a. 1 IN A 192.0.2.1 x",
            "line 1, column 21: 'x' is more than the record's type has",
        ),
        ("a. 1 IN", "line 1, column 6: the type is missing"),
        (
            "a. 1 IN AA 192.0.2.1",
            "line 1, column 9: 'AA' is not a type, class or TTL",
        ),
        (
            "a. 1 2 A 192.0.2.1",
            "line 1, column 6: '2' is not a type, class or TTL",
        ),
        (
            "a. 2147483648 A 192.0.2.1",
            "line 1, column 4: TTL '2147483648' is greater than 2147483647 (RFC 2181, section 8)",
        ),
        (
            "a. IN ANY",
            "line 1, column 7: 'ANY' is not a type of records",
        ),
        (
            "a. IN NULL x",
            "line 1, column 7: type 'NULL' has no presentation form; write '\\# LENGTH HEX' (RFC 3597, section 5)",
        ),
        (
            "a..b. IN A 192.0.2.1",
            "line 1, column 1: 'a..b.' is not a name: a label is empty",
        ),
        (
            "a. IN TXT \"x",
            "line 1, column 11: a quote is never closed",
        ),
        (
            "a. IN TXT ( x\n\n",
            "line 1, column 11: a parenthesis is never closed",
        ),
        (
            "a. IN TXT x )",
            "line 1, column 13: a parenthesis is closed that was never opened",
        ),
        (
            "a. IN TXT \\25",
            "line 1, column 11: an escape is not \\DDD or \\X",
        ),
        (
            "a. IN A 192.0.2.1\nb. IN A 192.0.2.2",
            "line 2, column 1: there is more than one record",
        ),
        (" IN A 192.0.2.1", "line 1, column 2: the owner is missing"),
        (
            "\n\na. IN SOA . . (\n 1 1 1\n 1 x)",
            "line 5, column 4: 'x' is not a number of seconds",
        ),
        (
            "a. IN A \\# 3 010203",
            "line 1, column 9: the octets are no RDATA of type 'A'",
        ),
        (
            "a. IN TYPE9 \\# 2 010203",
            "line 1, column 13: the generic RDATA does not hold as many octets as it says",
        ),
    ] {
        let got = record(text, &root(), Some(1)).map_err(|error| error.to_string());
        assert_eq!(got, Err(error.to_owned()), "{text:?}");
    }
    let error = record("a. IN A 192.0.2.1", &root(), None).unwrap_err();
    assert_eq!(error.what, TextErrorKind::NoTtl);
}

/// Where that library is wrong: a relay's name is cut off, and RDATA may be missing or half there.
#[test]
fn rdata_is_whole() {
    let relay = record("a. 60 AMTRELAY 10 1 3 r.example.", &root(), None).unwrap();
    assert_eq!(relay.rdata, b"\x0a\x83\x01r\x07example\0");
    for text in [
        " 60 IN A 192.0.2.1",
        "a. 60 IN A",
        "a. 60 IN TXT",
        r"a. 60 IN MX \# 2 000a",
        r"a. 60 IN SOA \# 2 0000",
        r"a. 60 IN CNAME \# 2 c00c",
        r"a. 60 IN NS \# 3 000000",
        "a. 60 IN CAA 0 is-sue x",
    ] {
        assert!(record(text, &root(), None).is_err(), "{text}");
    }
}

#[test]
fn relative_names_end_in_the_origin() {
    let origin: Name = "example.org".parse().unwrap();
    for (text, owner, target) in [
        (
            "a 1 CNAME b",
            &b"\x01a\x07example\x03org\0"[..],
            &b"\x01b\x07example\x03org\0"[..],
        ),
        (
            "@ 1 CNAME @",
            b"\x07example\x03org\0",
            b"\x07example\x03org\0",
        ),
        ("a. 1 CNAME .", b"\x01a\0", b"\0"),
        (
            r"a\. 1 CNAME b\\.",
            b"\x02a.\x07example\x03org\0",
            b"\x02b\\\0",
        ),
        (
            r"\@ 1 CNAME B.c.",
            b"\x01@\x07example\x03org\0",
            b"\x01B\x01c\0",
        ),
    ] {
        let record = record(text, &origin, None).unwrap();
        assert_eq!(
            (&record.owner[..], &record.rdata[..]),
            (owner, target),
            "{text}"
        );
    }
    let long = format!("{}.a 1 CNAME b", ["abc"; 60].join("."));
    assert!(record(&long, &origin, None).is_ok());
    let longer = format!("{}.a 1 CNAME b", ["abc"; 61].join("."));
    assert!(record(&longer, &origin, None).is_err());
}

#[test]
fn entries_are_logical_lines() {
    let text = b"$TTL 60\na A 192.0.2.1 ; one\n\n  A ( 192.0.2.2\n ) \n\t; none\n\"x y\"z";
    let entries: Vec<_> = Entries::new(text).map(Result::unwrap).collect();
    let shown = |entry: &Entry<'_>| {
        let words: Vec<_> = entry.tokens.iter().map(Token::shown).collect();
        (
            entry.begins_with_blank,
            words.join("|"),
            entry.tokens[0].place,
        )
    };
    assert_eq!(
        entries.iter().map(shown).collect::<Vec<_>>(),
        [
            (false, "$TTL|60".to_owned(), (1, 1)),
            (false, "a|A|192.0.2.1".to_owned(), (2, 1)),
            (true, "A|192.0.2.2".to_owned(), (4, 3)),
            (false, "x y|z".to_owned(), (7, 1)),
        ]
    );
    let record = entries[2]
        .record(&root(), Some(7), Some(b"\x01o\0"))
        .unwrap();
    assert_eq!((&record.owner[..], record.ttl), (&b"\x01o\0"[..], 7));
}

/// Words of a file stand in a log, where nobody wants a megabyte or a command for his terminal.
#[test]
fn what_is_wrong_is_shown_so_that_it_can_be() {
    for (text, wrong) in [
        (
            "a 1 A \x1b[31mred\x07",
            "'\\027[31mred\\007' is not an IPv4 address".to_owned(),
        ),
        ("a 1 A\0 1", "'A\\000' is not a type".to_owned()),
        (
            &format!("a 1 TXT {}", "é".repeat(100_000)),
            format!("'{}…' is not a text", "é".repeat(80)),
        ),
        (
            &format!("a 1 DNSKEY 256 3 13 x {}", "!".repeat(100_000)),
            format!("'x{}…' is not", "!".repeat(79)),
        ),
    ] {
        let error = record(text, &root(), None).unwrap_err().to_string();
        assert!(error.contains(&wrong), "{error}");
    }
}

/// A zone that holds what nobody can read is nothing for secondaries.
#[test]
fn generic_data_of_a_known_type_has_its_fields() {
    for (text, sound) in [
        ("a 1 TYPE257 \\# 0", false),
        ("a 1 CAA \\# 9 00056973737565 6361", true),
        ("a 1 DS \\# 4 c0000201", false),
        ("a 1 DS \\# 5 c000020101", true),
        ("a 1 TYPE16 \\# 3 046162", false),
        ("a 1 TYPE16 \\# 3 026162", true),
        ("a 1 TYPE65400 \\# 0", true),
    ] {
        assert_eq!(record(text, &root(), None).is_ok(), sound, "{text}");
    }
}
