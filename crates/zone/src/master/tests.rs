//! Master files and what is none.
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::record::Record;

const APEX: &[u8] = b"\x04isle\x07example\x00";
const SOA: &str = "@ 60 IN SOA ns post 1 2 3 4 5\n";

fn read_text(text: &str) -> Result<Loaded, MasterError> {
    read(text.as_bytes(), Path::new("db"), APEX)
}

/// Owner and TTL of a record, its type, and its RDATA in hexadecimal but for names and addresses.
fn shown(record: Record<'_>) -> String {
    let owner = Name::from_wire(record.owner).unwrap();
    let rdata = match record.rtype {
        RecordType::A => record
            .rdata
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join("."),
        RecordType::NS | RecordType::CNAME | RecordType::PTR => {
            Name::from_wire(record.rdata).unwrap().to_string()
        }
        RecordType::TXT => String::from_utf8_lossy(&record.rdata[1..]).into_owned(),
        _ => record.rdata.iter().fold(String::new(), |mut text, octet| {
            write!(text, "{octet:02x}").unwrap();
            text
        }),
    };
    format!("{owner} {} {} {rdata}", record.ttl, record.rtype)
}

/// The records behind the SOA record, sorted.
fn records(text: &str) -> Vec<String> {
    let loaded = read_text(text).unwrap();
    let mut records: Vec<_> = loaded.zone.records().skip(1).map(shown).collect();
    records.sort();
    records
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = read_text(text).unwrap().warnings;
    warnings.first.iter().map(ToString::to_string).collect()
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let text = format!("\u{feff}$TTL 60\r\n{SOA}@ NS ns\r\nns A 192.0.2.1\r\n");
    assert_eq!(records(&text), records(text.trim_start_matches('\u{feff}')));
    let error = read_text(&format!("{SOA}\u{feff}@ NS\n")).unwrap_err();
    assert_eq!(error.place.map(|(line, _)| line), Some(2));
}

#[test]
fn the_whole_syntax_is_read() {
    let text = "; a comment
$TTL 1h30m
@  SOA ns post (
        7      ; serial
        2h 15M 1w 2D )
   NS ns
ns  IN 90 A 192.0.2.53
    A 192.0.2.54
$ORIGIN inner.isle.example.
@     TXT ( \"split\"
      )
$origin sub
www   CNAME host.inner.isle.example.
$ORIGIN isle.example.
$TTL 30
late 45 IN A 192.0.2.61
UPPER.isle.example. A 192.0.2.62
u TYPE1 \\# 4 c0000201
v CLASS1 TYPE65400 \\# 2 abcd
";
    assert_eq!(
        records(text),
        [
            "inner.isle.example. 5400 TXT split",
            "isle.example. 5400 NS ns.isle.example.",
            "late.isle.example. 45 A 192.0.2.61",
            "ns.isle.example. 90 A 192.0.2.53",
            // Of several TTLs of one RRset the least.
            "ns.isle.example. 90 A 192.0.2.54",
            "u.isle.example. 30 A 192.0.2.1",
            "upper.isle.example. 30 A 192.0.2.62",
            "v.isle.example. 30 TYPE65400 abcd",
            "www.sub.inner.isle.example. 5400 CNAME host.inner.isle.example.",
        ]
    );
}

#[test]
fn a_ttl_is_stated_or_of_the_directive_or_of_the_record_before() {
    let text = format!(
        "{SOA}@ NS ns\na A 192.0.2.1\nb 70 A 192.0.2.2\nc A 192.0.2.3\n$TTL 20\nd 30 A 192.0.2.4\ne A 192.0.2.5\n"
    );
    let ttls: Vec<_> = records(&text)
        .iter()
        .filter_map(|record| record.split(' ').nth(1)?.parse::<u32>().ok())
        .collect();
    assert_eq!(ttls, [60, 70, 70, 30, 20, 60]);

    let text = "@ SOA ns post 1 2 3 4 77\n@ NS ns.other.\n";
    assert_eq!(records(text), ["isle.example. 77 NS ns.other."]);
    assert_eq!(
        warnings(text),
        ["db:1: there is no TTL yet; the SOA record's minimum, 77, is used"]
    );
    assert_eq!(
        read_text("a A 192.0.2.1\n").unwrap_err().to_string(),
        "db:1:3: the TTL is missing"
    );
}

#[test]
fn ranges_make_records() {
    let made = |directive: &str| {
        records(&format!("{SOA}{directive}\n"))
            .into_iter()
            .map(|record| record.replace(".isle.example.", "").replace(" 60 ", " "))
            .collect::<Vec<_>>()
    };
    for (directive, expected) in [
        (
            "$GENERATE 1-2 h$ A 192.0.2.$",
            &["h1 A 192.0.2.1", "h2 A 192.0.2.2"][..],
        ),
        (
            "$GENERATE 0-20/10 s-${0,3} IN A 192.0.2.$",
            &[
                "s-000 A 192.0.2.0",
                "s-010 A 192.0.2.10",
                "s-020 A 192.0.2.20",
            ],
        ),
        ("$GENERATE 10-10 o${-5} IN CNAME h${-9}", &["o5 CNAME h1"]),
        (
            "$GENERATE 255-255 x${0,4,x} TXT \"$ is ${0,2,X} \\$ $$ ${1,0,o}\"",
            &["x00ff TXT 255 is FF $ $ 400"],
        ),
        ("$GENERATE 300-300 ${0,7,n} PTR a", &["c.2.1.0 PTR a"]),
        ("$GENERATE 300-300 ${0,8,n}x PTR a", &["c.2.1.0.x PTR a"]),
        ("$GENERATE 171-171 ${0,0,N} PTR a", &["B.A PTR a"]),
        ("$GENERATE 7-7 t 99 IN A 192.0.2.$", &["t 99 A 192.0.2.7"]),
    ] {
        let expected: Vec<_> = expected
            .iter()
            .map(|text| text.replace("B.A", "b.a"))
            .collect();
        assert_eq!(made(directive), expected, "{directive}");
    }
    for (directive, error) in [
        ("$GENERATE", "db:2:1: $GENERATE has no range"),
        (
            "$GENERATE 1-2 a",
            "db:2:1: $GENERATE has no owner, type and data",
        ),
        (
            "$GENERATE 2-1 a A 192.0.2.1",
            "db:2:11: '2-1' is not a range such as 1-20 or 1-20/2, of at most 65536 numbers",
        ),
        (
            "$GENERATE 0-65536 a A 192.0.2.1",
            "db:2:11: '0-65536' is not a range such as 1-20 or 1-20/2, of at most 65536 numbers",
        ),
        (
            "$GENERATE 1-2/0 a A 192.0.2.1",
            "db:2:11: '1-2/0' is not a range such as 1-20 or 1-20/2, of at most 65536 numbers",
        ),
        (
            "$GENERATE 1-2 a${0,1,q} A 192.0.2.1",
            "db:2:15: '${0,1,q}' is not ${OFFSET,WIDTH,BASE}; BASE is one of d o x X n N",
        ),
        (
            "$GENERATE 1-2 a${0 A 192.0.2.1",
            "db:2:15: '${0}' is not ${OFFSET,WIDTH,BASE}; BASE is one of d o x X n N",
        ),
        (
            "$GENERATE 1-2 a${-2} A 192.0.2.1",
            "db:2:1: the offset -2 leads out of the numbers from 0 to 2147483647",
        ),
        (
            "$GENERATE 256-256 a A 192.0.2.$",
            "db:2:1: for 256 $GENERATE makes 'a A 192.0.2.256': '192.0.2.256' is not an IPv4 address",
        ),
    ] {
        let text = format!("{SOA}{directive}\n");
        assert_eq!(
            read_text(&text).unwrap_err().to_string(),
            error,
            "{directive}"
        );
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, error) in [
        ("", "file \"db\" has no SOA record for origin isle.example."),
        ("$ORIGIN\n", "db:1:1: $ORIGIN has no name"),
        (
            "$ORIGIN a..b\n",
            "db:1:9: 'a..b' is not a name: a label is empty",
        ),
        ("$TTL x\n", "db:1:6: 'x' is not a TTL"),
        ("$TTL 4294967295\n", "db:1:6: '4294967295' is not a TTL"),
        ("$TTL 1 2\n", "db:1:8: '2' is more than the directive has"),
        ("$INCLUDE other\n", "db:1:10: $INCLUDE is not allowed here"),
        (
            "\n$DATE 1\n",
            "db:2:1: '$DATE' is not a directive; they are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
        ),
        (" A 192.0.2.1\n", "db:1:2: the owner is missing"),
        (
            "a 1 IN A (\n192.0.2.1\n",
            "db:1:10: a parenthesis is never closed",
        ),
        ("a 1 TXT \"b\n", "db:1:9: a quote is never closed"),
        (
            "a 1 BANANA c\n",
            "db:1:5: 'BANANA' is not a type, class or TTL",
        ),
    ] {
        assert_eq!(read_text(text).unwrap_err().to_string(), error, "{text}");
    }
    let two = format!("{SOA}@ 60 SOA ns post 2 2 3 4 5\n");
    assert_eq!(
        read_text(&two).unwrap_err().to_string(),
        "db: the zone has more than one SOA record"
    );
    assert_eq!(
        read_text(&format!("{SOA}{SOA}"))
            .unwrap()
            .zone
            .records()
            .count(),
        1
    );
}

#[test]
fn what_does_not_belong_into_the_zone_is_left_out() {
    let text = format!(
        "{SOA}@ NS ns.other.\nwww.other.example. A 192.0.2.1\nx CH TXT y\nunder SOA ns post 9 2 3 4 5\n$x A 192.0.2.9\n"
    );
    assert_eq!(
        records(&text),
        [
            "\\$x.isle.example. 60 A 192.0.2.9",
            "isle.example. 60 NS ns.other."
        ]
    );
    assert_eq!(
        warnings(&text),
        [
            "db:3: 'www.other.example.' is not in the zone; the record is left out",
            "db:4: a record of class CH is left out",
            "db:5: 'under.isle.example.' has a SOA record, but is not the zone's apex; the record is left out",
        ]
    );
}

#[test]
fn authors_hear_of_what_they_did_not_mean() {
    let zone = |rest: &str| warnings(&format!("{SOA}{rest}"));
    for (rest, expected) in [
        ("@ NS ns.other.\n", &[][..]),
        ("a A 192.0.2.1\n", &["db: the zone has no NS records"]),
        (
            "@ NS ns\n",
            &["db: the name server 'ns.isle.example.' has no address"],
        ),
        ("@ NS ns\n*.isle.example. A 192.0.2.1\n", &[]),
        (
            "@ NS ns\nns CNAME a\n",
            &["db: the name server 'ns.isle.example.' is an alias"],
        ),
        (
            "@ NS ns.other.\nwww CNAME a.ISLE.example\na.isle.example A 192.0.2.1\nm MX 5 isle.example\nb CNAME a.isle\n",
            &[
                "db: 'a.isle.example.isle.example.' has the zone's name twice: is a final dot missing?",
                "db: 'isle.example.isle.example.' has the zone's name twice: is a final dot missing?",
                "db: 'a.isle.example.isle.example.' has the zone's name twice: is a final dot missing?",
            ],
        ),
        (
            "@ NS ns.other.\na CNAME b\na TXT c\n",
            &["db: 'a.isle.example.' has a CNAME record and others as well"],
        ),
        (
            "@ NS ns.other.\na CNAME b\na CNAME c\n",
            &["db: 'a.isle.example.' has more than one CNAME record"],
        ),
        (
            "@ NS ns.other.\nkid NS ns.kid\nns.kid A 192.0.2.1\nx.kid TXT y\nz.kid TXT y\nl A 192.0.2.1\n",
            &[
                "db: 'x.kid.isle.example.' is not served: it is below the NS record of 'kid.isle.example.'",
            ],
        ),
        (
            "@ NS ns.other.\nd DNAME e\nx.d A 192.0.2.1\n",
            &[
                "db: 'x.d.isle.example.' is not served: it is below the DNAME record of 'd.isle.example.'",
            ],
        ),
        (
            "@ NS ns.other.",
            &["db:2: the last line does not end: is the file complete?"],
        ),
    ] {
        assert_eq!(zone(rest), expected, "{rest}");
    }
    let many = "a.other. A 192.0.2.1\n".repeat(100);
    let warnings = read_text(&format!("{SOA}{many}")).unwrap().warnings;
    assert_eq!((warnings.first.len(), warnings.more), (16, 85));
}

/// Files of one test, gone with it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("corten-master-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("below")).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn read(&self) -> Result<Loaded, String> {
        read_file(&self.0.join("db"), APEX).map_err(|error| {
            error
                .to_string()
                .replace(&format!("{}/", self.0.display()), "")
        })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn included_files_are_relative_to_their_file_and_change_nothing_behind_them() {
    let db = format!(
        "{SOA}$TTL 10\n$INCLUDE below/part\n$INCLUDE \"below/part\" east\nafter A 192.0.2.9\n"
    );
    let part = "h A 192.0.2.1\n$INCLUDE more\n$ORIGIN changed.invalid.\n$TTL 99\n";
    let files = Files::new(
        "include",
        &[
            ("db", &db),
            ("below/part", part),
            ("below/more", "m A 192.0.2.2\n"),
        ],
    );
    let loaded = files.read().unwrap();
    let mut records: Vec<_> = loaded.zone.records().skip(1).map(shown).collect();
    records.sort();
    assert_eq!(
        records,
        [
            "after.isle.example. 10 A 192.0.2.9",
            "h.east.isle.example. 10 A 192.0.2.1",
            "h.isle.example. 10 A 192.0.2.1",
            "m.east.isle.example. 10 A 192.0.2.2",
            "m.isle.example. 10 A 192.0.2.2",
        ]
    );
}

#[test]
fn files_that_are_exchanged_meanwhile_are_no_zone() {
    let db = format!("{SOA}$TTL 10\n$INCLUDE part\nlast A 192.0.2.9\n");
    let files = Files::new("exchanged", &[("db", &db), ("part", "h A 192.0.2.1\n")]);
    let read = |exchange: bool| {
        let mut sink = |record: &TextRecord| {
            if exchange && record.owner.starts_with(b"\x04last") {
                fs::write(files.0.join("new"), "h A 192.0.2.2\n").unwrap();
                fs::rename(files.0.join("new"), files.0.join("part")).unwrap();
            }
            Ok(())
        };
        records_of(&files.0.join("db"), APEX, &mut sink)
    };
    let error = read(true).unwrap_err();
    assert!(matches!(error.what, MasterErrorKind::Changed), "{error}");
    assert!(error.path.ends_with("part"));
    assert!(read(false).is_ok());
}

#[test]
fn files_that_include_themselves_or_nothing_are_errors() {
    for (name, files, error) in [
        (
            "loop",
            &[
                ("db", "$INCLUDE below/a\n"),
                ("below/a", "$INCLUDE ../db\n"),
            ][..],
            "below/a:1:10: 'below/../db' includes itself",
        ),
        (
            "none",
            &[("db", "\n$INCLUDE gone\n")],
            "db:2:10: cannot include 'gone': No such file or directory (os error 2)",
        ),
        (
            "folder",
            &[("db", "$INCLUDE below\n")],
            "db:1:10: cannot include 'below': not a file",
        ),
        ("missing", &[], "db: No such file or directory (os error 2)"),
        (
            "owner",
            &[
                ("db", "a 1 A 192.0.2.1\n$INCLUDE a\n"),
                ("a", " A 192.0.2.1\n"),
            ],
            "a:1:2: the owner is missing",
        ),
    ] {
        let files = Files::new(name, files);
        let found = files
            .read()
            .unwrap_err()
            .replace(&format!("{}/", files.0.display()), "");
        assert_eq!(found, error);
    }
    let names: Vec<_> = (0..10).map(|at| format!("f{at}")).collect();
    let texts: Vec<_> = (1..11).map(|at| format!("$INCLUDE f{at}\n")).collect();
    let mut files: Vec<_> = names
        .iter()
        .zip(&texts)
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    files.push(("db", "$INCLUDE f0\n"));
    assert_eq!(
        Files::new("deep", &files).read().unwrap_err(),
        "f6:1:10: files are included more than 7 deep"
    );
}

#[test]
fn long_files_and_entries_are_read_in_pieces() {
    let mut text = format!("$TTL 5\n{SOA}");
    for number in 0..40_000 {
        writeln!(
            text,
            "n{number} TXT ( \"a\" ; comment\n \"b\"\n) ; of {number}"
        )
        .unwrap();
    }
    // An entry over several pieces, longer than what is read at once.
    writeln!(text, "long TXT (").unwrap();
    for _ in 0..254 {
        writeln!(text, "\"{}\" ; {}", "\\065".repeat(255), "x".repeat(500)).unwrap();
    }
    writeln!(text, ")\nbad A 1").unwrap();
    let files = Files::new("long", &[("db", &text)]);
    let lines = text.lines().count();
    assert_eq!(
        files.read().unwrap_err(),
        format!("db:{lines}:7: '1' is not an IPv4 address")
    );
    let sound = text.strip_suffix("bad A 1\n").unwrap();
    let files = Files::new("longer", &[("db", sound)]);
    assert_eq!(files.read().unwrap().zone.records().count(), 40_002);

    let endless = format!("{SOA}{}", "x".repeat(3_000_000));
    let files = Files::new("endless", &[("db", &endless)]);
    assert_eq!(
        files.read().unwrap_err(),
        "db:2:1: an entry is longer than 1048576 octets"
    );
}
