//! Replies made by hand, signed, and checked signature by signature.
use corten_dnssec::canonical::Rrset;
use corten_dnssec::dnskey::Dnskey;
use corten_dnssec::{keyfile, rrsig};
use corten_plugin::wire::{Gate, Query, text};
use corten_plugin::{Chain, Progress};

use super::*;
use crate::keyring::Keyring;

mod denials;

const PUBLIC: &str = "isle.example. IN DNSKEY 257 3 13 5FH4KREs5OvsiSGg9g8H9ylkcb3CYSCRAVn1XKgPfLS5mC6ZEFZt7NT8 m3MogOvZ0saJy/j2l4+QloStht+TSg==";
const PRIVATE: &str = "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: pUgsTAV2c6i8w8uT6/LfnAzpCfFTcDBvyMe/82/GPOA=\n";
const SOA: &str = "isle.example. 3600 SOA ns.isle.example. post.isle.example. 1 2 3 4 300";

/// Answers with the same records whatever is asked.
struct Fixed {
    rcode: Rcode,
    records: Vec<(Section, &'static str)>,
}

#[async_trait]
impl Plugin for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let records: Vec<_> = self.records.clone();
        let asked_for_servers = ex.query.question.rtype == RecordType::NS;
        let reply = ex.start(self.rcode);
        reply.authoritative = true;
        for (section, line) in records {
            // Answers to a question for NS are marked; the others leave them out.
            let line = match line.strip_prefix("NS? ") {
                Some(line) if asked_for_servers => line,
                Some(_) => continue,
                None => line,
            };
            let record = text::record(line, &Name::root(), None).unwrap();
            reply.push(
                section,
                Owner::Wire(&record.owner),
                record.rtype,
                record.ttl,
                |out| {
                    out.octets(&record.rdata);
                },
            );
        }
        Flow::Respond
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn plugin(denial: Denial) -> Dnssec {
    let mut keys = Keyring::default();
    keys.add(keyfile::read(PUBLIC, PRIVATE).unwrap());
    Dnssec {
        zones: Zones::new(vec![name("isle.example")]),
        denial,
        signer: Signer {
            keys: Arc::new(keys),
            cache: Arc::new(Cache::new(1_024)),
        },
        pool: Arc::default(),
        counters: Counters::by_site(),
        catalogues: OnceLock::new(),
        tasks: Tasks::default(),
    }
}

fn query(qname: &str, rtype: RecordType, flags: u8) -> Query {
    let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01".to_vec();
    octets.extend(name(qname).wire());
    octets.extend(rtype.0.to_be_bytes());
    octets.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, flags, 0, 0, 0]);
    let mut query = Query::new();
    assert_eq!(query.read(&octets), Gate::Pass);
    query
}

/// Asks, waits for the pool if need be, and asks again: the second time nothing may wait.
async fn ask(dnssec: Dnssec, fixed: Fixed, query: Query) -> Exchange {
    let chain = Chain::new(vec![Arc::new(dnssec), Arc::new(fixed)]).unwrap();
    let run = async |again: bool| {
        let mut ex = Exchange::new();
        ex.query = query.clone();
        match chain.run(&mut ex) {
            Progress::Done(_) => (),
            Progress::Waits(at, phase) => {
                assert!(!again, "everything is in the cache");
                assert_eq!(chain.resume(&mut ex, at, phase).await, Flow::Respond);
            }
        }
        ex
    };
    let first = run(false).await;
    let delegation_is_asked_for = query.question.rtype == RecordType::DS;
    if !delegation_is_asked_for {
        let second = run(true).await;
        assert_eq!(first.reply.octets(), second.reply.octets());
    }
    first
}

/// Owner and type of each record by section, RRSIG records as what they cover; all signatures are checked.
fn shown(ex: &Exchange) -> Vec<String> {
    let view = ex.reply.view();
    let key = Dnskey::from_rdata(&text::record(PUBLIC, &Name::root(), Some(1)).unwrap().rdata);
    let key = key.unwrap();
    let rdata = |record| {
        let mut rdata = Vec::new();
        assert!(view.expanded_rdata(record, &mut rdata));
        rdata
    };
    let mut lines = Vec::new();
    for record in view.records() {
        let owner = view.owner(record).unwrap();
        let section = format!("{:?}", record.section);
        if record.rtype != RecordType::RRSIG {
            lines.push(format!("{section} {owner} {}", record.rtype));
            continue;
        }
        let rdata = rdata(record);
        let read = rrsig::Rrsig::read(&rdata).unwrap();
        let over: Vec<_> = view
            .records()
            .iter()
            .filter(|other| {
                (other.section, other.rtype) == (record.section, read.covered)
                    && view.owner(other).as_ref() == Some(&owner)
            })
            .collect();
        assert!(!over.is_empty() && over.iter().all(|other| view.ttl(other) == view.ttl(record)));
        let rdatas: Vec<_> = over
            .iter()
            .map(|other| {
                let mut octets = Vec::new();
                assert!(view.expanded_rdata(other, &mut octets));
                octets
            })
            .collect();
        let set = Rrset::new(&owner, read.covered, rdatas.iter().map(|rdata| &rdata[..]));
        assert_eq!(rrsig::verify(&key, &set, &rdata, now()), Ok(()), "{owner}");
        lines.push(format!("{section} {owner} RRSIG {}", read.covered));
    }
    lines
}

#[tokio::test]
async fn answers_are_signed_where_they_are_the_zones() {
    let records = vec![
        (
            Section::Answer,
            "www.isle.example. 60 CNAME host.isle.example.",
        ),
        (Section::Answer, "host.isle.example. 60 A 192.0.2.1"),
        (Section::Answer, "host.isle.example. 60 A 192.0.2.2"),
        (Section::Authority, "isle.example. 60 NS ns.other.example."),
        (Section::Additional, "ns.other.example. 60 A 192.0.2.3"),
    ];
    let fixed = Fixed {
        rcode: Rcode::NOERROR,
        records,
    };
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed,
        query("www.isle.example", RecordType::A, 0x80),
    )
    .await;
    assert_eq!(
        shown(&ex),
        [
            "Answer www.isle.example. CNAME",
            "Answer www.isle.example. RRSIG CNAME",
            "Answer host.isle.example. A",
            "Answer host.isle.example. A",
            "Answer host.isle.example. RRSIG A",
            "Authority isle.example. NS",
            "Authority isle.example. RRSIG NS",
            "Additional ns.other.example. A",
        ]
    );
}

#[tokio::test]
async fn a_synthesised_cname_needs_no_signature() {
    let records = vec![
        (
            Section::Answer,
            "old.isle.example. 60 DNAME new.isle.example.",
        ),
        (
            Section::Answer,
            "a.old.isle.example. 60 CNAME a.new.isle.example.",
        ),
        (Section::Answer, "a.new.isle.example. 60 A 192.0.2.1"),
    ];
    let fixed = Fixed {
        rcode: Rcode::NOERROR,
        records,
    };
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed,
        query("a.old.isle.example", RecordType::A, 0x80),
    )
    .await;
    assert_eq!(
        shown(&ex),
        [
            "Answer old.isle.example. DNAME",
            "Answer old.isle.example. RRSIG DNAME",
            "Answer a.old.isle.example. CNAME",
            "Answer a.new.isle.example. A",
            "Answer a.new.isle.example. RRSIG A",
        ]
    );
}

#[tokio::test]
async fn keys_are_answered_at_the_apex() {
    let fixed = || Fixed {
        rcode: Rcode::REFUSED,
        records: vec![],
    };
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed(),
        query("isle.example", RecordType::DNSKEY, 0x80),
    )
    .await;
    assert_eq!(
        shown(&ex),
        [
            "Answer isle.example. DNSKEY",
            "Answer isle.example. RRSIG DNSKEY"
        ]
    );
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed(),
        query("isle.example", RecordType::DNSKEY, 0),
    )
    .await;
    assert_eq!(shown(&ex), ["Answer isle.example. DNSKEY"]);
    let ex = ask(
        plugin(Denial::Nsec3),
        fixed(),
        query("isle.example", RecordType::NSEC3PARAM, 0x80),
    )
    .await;
    assert_eq!(shown(&ex).len(), 2);
}

#[tokio::test]
async fn what_is_signed_already_or_fails_stays_as_it_is() {
    let signed =
        "www.isle.example. 60 RRSIG A 13 3 60 20490101000000 20240101000000 1 isle.example. AAAA";
    let fixed = Fixed {
        rcode: Rcode::NOERROR,
        records: vec![
            (Section::Answer, "www.isle.example. 60 A 192.0.2.1"),
            (Section::Answer, signed),
        ],
    };
    let mut ex = Exchange::new();
    ex.query = query("www.isle.example", RecordType::A, 0x80);
    let chain =
        |fixed| Chain::new(vec![Arc::new(plugin(Denial::BlackLies)), Arc::new(fixed)]).unwrap();
    assert_eq!(chain(fixed).run(&mut ex), Progress::Done(Flow::Respond));
    assert_eq!(ex.reply.records().len(), 2);
    let failed = Fixed {
        rcode: Rcode::SERVFAIL,
        records: vec![(Section::Answer, "www.isle.example. 60 A 192.0.2.1")],
    };
    assert_eq!(chain(failed).run(&mut ex), Progress::Done(Flow::Respond));
    assert_eq!(ex.reply.records().len(), 1);
}

/// More RRsets than anybody has at a name.
#[tokio::test]
async fn a_reply_is_bounded_work() {
    let lines: Vec<&'static str> = (0..70)
        .map(|number| {
            &*Box::leak(format!("n{number}.isle.example. 60 A 192.0.2.1").into_boxed_str())
        })
        .collect();
    let of = |section| Fixed {
        rcode: Rcode::NOERROR,
        records: [(Section::Answer, "www.isle.example. 60 A 192.0.2.1")]
            .into_iter()
            .chain(lines.iter().map(|line| (section, *line)))
            .collect(),
    };
    let chain = |section| {
        Chain::new(vec![
            Arc::new(plugin(Denial::BlackLies)),
            Arc::new(of(section)),
        ])
        .unwrap()
    };
    let mut ex = Exchange::new();
    ex.query = query("www.isle.example", RecordType::A, 0x80);
    assert_eq!(
        chain(Section::Answer).run(&mut ex),
        Progress::Done(Flow::Respond)
    );
    assert_eq!(ex.reply.rcode, Rcode::SERVFAIL);
    let ex = ask(
        plugin(Denial::BlackLies),
        of(Section::Additional),
        query("www.isle.example", RecordType::A, 0x80),
    )
    .await;
    let signatures = shown(&ex)
        .iter()
        .filter(|line| line.contains("RRSIG"))
        .count();
    assert_eq!(signatures, 64);
}
