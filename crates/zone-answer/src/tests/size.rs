//! What fits, and what an answer costs.
use super::*;
use corten_plugin::wire::finish::Carrier;

#[test]
fn glue_that_does_not_fit_cuts_a_referral_and_nothing_else_does_rfc_9471_section_3_1() {
    let mut text = String::new();
    for number in 0..13 {
        text.push_str(&format!(
            "kid NS ns{number}.kid\nns{number}.kid AAAA 2001:db8::{number}\n"
        ));
        text.push_str(&format!("side NS ns{number}.kid\n"));
    }
    let zone = slot(isle(&text));
    let small = reply_as_sent(&zone, "x.kid.isle.example A");
    assert!(small.len() <= 512 && small[2] & 2 != 0, "cut");
    let large = reply_as_sent(&zone, "x.kid.isle.example A size=1232");
    assert!(large.len() > 512 && large[2] & 2 == 0);
    assert_eq!(large[11], 13 + 1);
    // Addresses of servers elsewhere are good to have.
    let side = reply_as_sent(&zone, "x.side.isle.example A");
    assert!(
        side[2] & 2 == 0 && (1..13).contains(&side[11]),
        "{}",
        side[11]
    );
}

#[test]
fn what_may_be_left_out_does_not_cut_rfc_2181_section_9() {
    let mut text = "@ MX 1 mail\n".to_owned();
    for number in 1..60 {
        text.push_str(&format!("mail A 192.0.2.{number}\n"));
    }
    let zone = slot(isle(&text));
    check(
        &zone,
        "isle.example MX",
        &format!("NOERROR aa\nanswer isle.example. 300 MX 1 mail.isle.example.\n{NS}"),
    );
    let sent = reply_as_sent(&zone, "mail.isle.example A");
    assert!(
        sent[2] & 2 != 0 && sent.len() <= 512,
        "the answer itself is cut"
    );
}

#[test]
fn names_are_compressed() {
    let zone = slot(isle("www CNAME host\nhost A 192.0.2.1\n"));
    // Header, question; twelve octets each for owner and numbers: CNAME host and a pointer, A, NS ns
    // and a pointer.
    let expected = 12 + 22 + (12 + 7) + (12 + 4) + (12 + 5);
    assert_eq!(reply_as_sent(&zone, "www.isle.example A").len(), expected);
}

#[test]
fn an_answer_allocates_nothing() {
    let zone = slot(signed(&isle(
        "www A 192.0.2.1\nalias CNAME www\n* MX 5 www\nold DNAME new\nx.new A 192.0.2.2\nkid NS ns.kid\nns.kid A 192.0.2.3\n\
         @ NSEC www NS SOA RRSIG NSEC\nwww NSEC @ A\n",
    )));
    for question in [
        "www.isle.example A",
        "alias.isle.example A",
        "any.isle.example MX do",
        "any.isle.example A do",
        "x.www.isle.example A do",
        "x.old.isle.example A do",
        "x.kid.isle.example A do",
        "www.isle.example ANY tcp",
        "isle.example DS do",
    ] {
        let mut ex = asked(question);
        // The first one makes room in the buffers.
        for round in 0..2 {
            let counted = allocation_counter::measure(|| {
                assert_eq!(answer(&mut ex, &zone, &Fallthrough::None), Flow::Respond);
            });
            assert!(
                round == 0 || counted.count_total == 0,
                "{question}: {counted:?}"
            );
        }
    }
}

fn reply_as_sent(zone: &Slot, question: &str) -> Vec<u8> {
    let mut ex = asked(question);
    assert_eq!(answer(&mut ex, zone, &Fallthrough::None), Flow::Respond);
    let mut sent = Vec::new();
    ex.reply.finish(&ex.query, Carrier::Datagram, &mut sent);
    sent
}
