//! Replies that deny or refer.
use corten_dnssec::bitmap::Types;
use corten_dnssec::denial::{self, hash};

use super::*;

/// The next name and the types of the one NSEC record.
fn nsec(ex: &Exchange) -> (Name, Vec<String>) {
    let view = ex.reply.view();
    let record = view
        .records()
        .iter()
        .find(|record| record.rtype == RecordType::NSEC)
        .unwrap();
    let mut next = Name::root();
    let end = next.read(view.rdata(record), 0).unwrap();
    let types = Types::decode(&view.rdata(record)[end..]).unwrap();
    (next, types.iter().map(|rtype| rtype.to_string()).collect())
}

/// Parent and child are both signed here.
fn plugin_of_two_zones() -> Dnssec {
    Dnssec {
        zones: Zones::new(vec![name("isle.example"), name("kid.isle.example")]),
        ..plugin(Denial::BlackLies)
    }
}

fn denial(records: Vec<(Section, &'static str)>, rcode: Rcode) -> Fixed {
    let mut records = records;
    records.push((Section::Authority, SOA));
    Fixed { rcode, records }
}

#[tokio::test]
async fn a_denial_at_the_end_of_a_chain_is_proved_there() {
    for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN] {
        let fixed = denial(
            vec![(
                Section::Answer,
                "www.isle.example. 60 CNAME gone.isle.example.",
            )],
            rcode,
        );
        let ex = ask(
            plugin(Denial::BlackLies),
            fixed,
            query("www.isle.example", RecordType::A, 0x80),
        )
        .await;
        assert_eq!(ex.reply.rcode, Rcode::NOERROR);
        assert_eq!(
            shown(&ex),
            [
                "Answer www.isle.example. CNAME",
                "Answer www.isle.example. RRSIG CNAME",
                "Authority isle.example. SOA",
                "Authority isle.example. RRSIG SOA",
                "Authority gone.isle.example. NSEC",
                "Authority gone.isle.example. RRSIG NSEC",
            ]
        );
        assert_eq!(nsec(&ex).0, name(r"\000.gone.isle.example"));
    }
}

#[tokio::test]
async fn only_a_delegation_is_said_to_be_one() {
    // The plugins below know no NS records: the name is no delegation.
    let ex = ask(
        plugin(Denial::BlackLies),
        denial(vec![], Rcode::NOERROR),
        query("www.isle.example", RecordType::DS, 0x80),
    )
    .await;
    assert!(!nsec(&ex).1.contains(&"NS".to_owned()));
    let servers = vec![(
        Section::Answer,
        "NS? kid.isle.example. 60 NS ns.other.example.",
    )];
    let ex = ask(
        plugin(Denial::BlackLies),
        denial(servers, Rcode::NOERROR),
        query("kid.isle.example", RecordType::DS, 0x80),
    )
    .await;
    let (next, types) = nsec(&ex);
    assert!(types.contains(&"NS".to_owned()) && !types.contains(&"DS".to_owned()));
    assert_eq!(next, name(r"\000.kid.isle.example"));
}

#[tokio::test]
async fn a_referral_without_ds_is_proved_at_the_cut() {
    let fixed = || Fixed {
        rcode: Rcode::NOERROR,
        records: vec![(
            Section::Authority,
            "kid.isle.example. 60 NS ns.other.example.",
        )],
    };
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed(),
        query("a.kid.isle.example", RecordType::A, 0x80),
    )
    .await;
    assert_eq!(
        shown(&ex),
        [
            "Authority kid.isle.example. NS",
            "Authority kid.isle.example. NSEC",
            "Authority kid.isle.example. RRSIG NSEC",
        ]
    );
    assert_eq!(nsec(&ex).0, name(r"kid\000.isle.example"));
    let ex = ask(
        plugin(Denial::Compact),
        fixed(),
        query("a.kid.isle.example", RecordType::A, 0x80),
    )
    .await;
    assert_eq!(nsec(&ex).1, ["NS", "RRSIG", "NSEC"]);
}

#[tokio::test]
async fn compact_denials_tell_names_that_do_not_exist() {
    for (flags, rcode) in [(0x80, Rcode::NOERROR), (0xc0, Rcode::NXDOMAIN)] {
        let fixed = denial(vec![], Rcode::NXDOMAIN);
        let ex = ask(
            plugin(Denial::Compact),
            fixed,
            query("gone.isle.example", RecordType::A, flags),
        )
        .await;
        assert_eq!(ex.reply.rcode, rcode);
        assert_eq!(nsec(&ex).1, ["RRSIG", "NSEC", "TYPE128"]);
    }
    let fixed = denial(vec![], Rcode::NXDOMAIN);
    let ex = ask(
        plugin(Denial::Compact),
        fixed,
        query("gone.isle.example", NXNAME, 0x80),
    )
    .await;
    assert_eq!(
        (ex.reply.rcode, ex.reply.option(15)),
        (Rcode::FORMERR, Some(&[0, 30][..]))
    );
}

#[tokio::test]
async fn nsec3_records_cover_the_name_and_its_wildcard_only() {
    let fixed = denial(vec![], Rcode::NXDOMAIN);
    let ex = ask(
        plugin(Denial::Nsec3),
        fixed,
        query("gone.isle.example", RecordType::A, 0x80),
    )
    .await;
    assert_eq!(ex.reply.rcode, Rcode::NXDOMAIN);
    assert_eq!(
        shown(&ex)
            .iter()
            .filter(|line| line.contains("RRSIG NSEC3"))
            .count(),
        3
    );
    let view = ex.reply.view();
    let spans: Vec<(Vec<u8>, Vec<u8>)> = view
        .records()
        .iter()
        .filter(|record| record.rtype == RecordType::NSEC3)
        .map(|record| {
            let next = view.rdata(record)[6..26].try_into().unwrap();
            let next = denial::nsec3_owner(&next, &name("isle.example")).unwrap();
            (
                view.owner(record).unwrap().wire().to_vec(),
                next.wire().to_vec(),
            )
        })
        .collect();
    let at = |text: &str| {
        let owner = denial::nsec3_owner(&hash(&name(text), 0, &[]), &name("isle.example"));
        owner.unwrap().wire().to_vec()
    };
    assert_eq!(spans[0].0, at("isle.example"));
    for (span, covered) in spans[1..]
        .iter()
        .zip(["gone.isle.example", "*.isle.example"])
    {
        assert!(span.0 < at(covered) && at(covered) < span.1, "{covered}");
    }
}

#[tokio::test]
async fn a_question_for_nsec_is_answered_with_the_proof() {
    let fixed = denial(vec![], Rcode::NXDOMAIN);
    let ex = ask(
        plugin(Denial::BlackLies),
        fixed,
        query("gone.isle.example", RecordType::NSEC, 0x80),
    )
    .await;
    assert_eq!(
        shown(&ex),
        [
            "Answer gone.isle.example. NSEC",
            "Answer gone.isle.example. RRSIG NSEC",
        ]
    );
}

#[tokio::test]
async fn a_delegation_is_the_parents_matter_where_both_are_signed() {
    let servers = (
        Section::Authority,
        "kid.isle.example. 60 NS ns.other.example.",
    );
    let ds = (
        Section::Authority,
        "kid.isle.example. 60 DS 1 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    );
    for (records, covered) in [(vec![servers], "NSEC"), (vec![servers, ds], "DS")] {
        let fixed = Fixed {
            rcode: Rcode::NOERROR,
            records,
        };
        let asked = query("a.kid.isle.example", RecordType::A, 0x80);
        let ex = ask(plugin_of_two_zones(), fixed, asked).await;
        // The signatures are checked to be the parent's: the key's owner is the signer.
        let line = format!("Authority kid.isle.example. RRSIG {covered}");
        assert!(shown(&ex).contains(&line), "{:?}", shown(&ex));
        let view = ex.reply.view();
        let signature = view
            .records()
            .iter()
            .find(|record| record.rtype == RecordType::RRSIG)
            .unwrap();
        let signer = rrsig::Rrsig::read(view.rdata(signature)).unwrap().signer;
        assert_eq!(signer, name("isle.example").wire());
    }
}
