//! Names, wildcards and delegations.
use super::*;
use corten_plugin::Flow;

#[test]
fn data_no_data_and_no_name_rfc_1034_section_4_3_2() {
    let zone = slot(isle(
        "www A 192.0.2.1\nwww A 192.0.2.2\na.b.c TXT deep\n@ MX 5 www\n",
    ));
    check(
        &zone,
        "www.isle.example A",
        &format!(
            "NOERROR aa
         answer www.isle.example. 300 A 192.0.2.1
         answer www.isle.example. 300 A 192.0.2.2
         {NS}"
        ),
    );
    check(
        &zone,
        "www.isle.example AAAA",
        &format!("NOERROR aa\n{SOA}"),
    );
    check(
        &zone,
        "nothing.isle.example A",
        &format!("NXDOMAIN aa\n{SOA}"),
    );
    check(
        &zone,
        "x.www.isle.example A",
        &format!("NXDOMAIN aa\n{SOA}"),
    );
    // Letter case is the client's.
    check(
        &zone,
        "WWW.Isle.example AAAA",
        "NOERROR aa\nauthority Isle.example. 60 SOA SOA"
            .replace("Isle", "isle")
            .as_str(),
    );
}

#[test]
fn an_empty_non_terminal_exists_rfc_8020() {
    let zone = slot(isle("a.b.c TXT deep\n"));
    for name in ["c", "b.c"] {
        check(
            &zone,
            &format!("{name}.isle.example A"),
            &format!("NOERROR aa\n{SOA}"),
        );
    }
    for name in ["x.c", "x.b.c", "x.a.b.c", "x.y.c"] {
        check(
            &zone,
            &format!("{name}.isle.example A"),
            &format!("NXDOMAIN aa\n{SOA}"),
        );
    }
}

#[test]
fn the_soa_of_a_denial_has_the_lesser_ttl_rfc_2308_section_3() {
    let low = slot(zone("e", "@ 20 SOA ns post 7 1 2 3 60\n@ NS ns\n"));
    check(&low, "x.e A", "NXDOMAIN aa\nauthority e. 20 SOA SOA");
    check(
        &low,
        "e SOA",
        "NOERROR aa\nanswer e. 20 SOA SOA\nauthority e. 300 NS ns.e.",
    );
    let high = slot(zone("e", "@ 90 SOA ns post 7 1 2 3 60\n@ NS ns\n"));
    check(&high, "x.e A", "NXDOMAIN aa\nauthority e. 60 SOA SOA");
    check(
        &high,
        "e SOA",
        "NOERROR aa\nanswer e. 90 SOA SOA\nauthority e. 300 NS ns.e.",
    );
}

/// The zone and the examples of RFC 4592 section 2.2.1.
#[test]
fn wildcards_are_those_of_rfc_4592() {
    let zone = slot(zone(
        "example",
        "@ SOA ns post 7 1 2 3 60
         @ NS ns.example.com.
         @ NS ns.example.net.
         * TXT \"this is a wildcard\"
         * MX 10 host1
         sub.* TXT \"this is not a wildcard\"
         host1 A 192.0.2.1
         _ssh._tcp.host1 SRV 0 0 22 host1
         _ssh._tcp.host2 SRV 0 0 22 host2
         subdel NS ns.example.com.
         subdel NS ns.example.net."
            .replace("\n         ", "\n")
            .as_str(),
    ));
    let servers =
        "authority example. 300 NS ns.example.com.\nauthority example. 300 NS ns.example.net.";
    let soa = "authority example. 60 SOA SOA";
    let mail = |name: &str| {
        format!(
            "NOERROR aa\nanswer {name} 300 MX 10 host1.example.\n{servers}\n\
             additional host1.example. 300 A 192.0.2.1"
        )
    };
    check(&zone, "host3.example MX", &mail("host3.example."));
    check(&zone, "host3.example A", &format!("NOERROR aa\n{soa}"));
    check(
        &zone,
        "foo.bar.example TXT",
        &format!("NOERROR aa\nanswer foo.bar.example. 300 TXT this is a wildcard\n{servers}"),
    );
    check(&zone, "host1.example MX", &format!("NOERROR aa\n{soa}"));
    // sub.*.example. exists, and does not stand for anything.
    check(&zone, "sub.*.example MX", &format!("NOERROR aa\n{soa}"));
    check(&zone, "ghost.*.example MX", &format!("NXDOMAIN aa\n{soa}"));
    check(
        &zone,
        "_telnet._tcp.host1.example SRV",
        &format!("NXDOMAIN aa\n{soa}"),
    );
    check(
        &zone,
        "_telnet._tcp.host2.example SRV",
        &format!("NXDOMAIN aa\n{soa}"),
    );
    check(
        &zone,
        "host.subdel.example A",
        "NOERROR\nauthority subdel.example. 300 NS ns.example.com.\nauthority subdel.example. 300 NS ns.example.net.",
    );
    // The asterisk is a label like others when it is asked for (section 2.1).
    check(&zone, "*.example MX", &mail("*.example."));
}

#[test]
fn an_empty_non_terminal_stops_a_wildcard_rfc_4592_section_2_2_2() {
    let zone = slot(isle(
        "* A 192.0.2.99\nb.ent A 192.0.2.3\n*.sub A 192.0.2.77\nx.*.w TXT below\n",
    ));
    let nothing = format!("NOERROR aa\n{SOA}");
    check(&zone, "ent.isle.example A", &nothing);
    check(&zone, "sub.isle.example A", &nothing);
    check(
        &zone,
        "c.ent.isle.example A",
        &format!("NXDOMAIN aa\n{SOA}"),
    );
    check(
        &zone,
        "a.b.sub.isle.example A",
        &format!("NOERROR aa\nanswer a.b.sub.isle.example. 300 A 192.0.2.77\n{NS}"),
    );
    // A wildcard without records stands for names without records (section 4.9).
    check(&zone, "any.w.isle.example A", &nothing);
}

#[test]
fn below_a_delegation_nothing_is_served_rfc_1034_section_4_2() {
    let zone = slot(isle(
        "kid NS ns1.kid\nkid NS ns2.other\nkid DS 1 13 2 00\nns1.kid A 192.0.2.61\nns1.kid AAAA 2001:db8::61\n\
         *.kid A 192.0.2.1\nwww.kid A 192.0.2.2\na.deep.kid NS ns\nother NS ns2.other\nns2.other A 192.0.2.62\n",
    ));
    let referral = "NOERROR
         authority kid.isle.example. 300 NS ns1.kid.isle.example.
         authority kid.isle.example. 300 NS ns2.other.isle.example.
         additional ns1.kid.isle.example. 300 A 192.0.2.61
         additional ns1.kid.isle.example. 300 AAAA 2001:db8::61
         additional ns2.other.isle.example. 300 A 192.0.2.62";
    for question in [
        "kid.isle.example A",
        "kid.isle.example NS",
        "kid.isle.example SOA",
        "kid.isle.example ANY",
        "www.kid.isle.example A",
        "any.kid.isle.example A",
        "ns1.kid.isle.example A",
        "x.a.deep.kid.isle.example A",
        "www.kid.isle.example DS",
    ] {
        check(&zone, question, referral);
    }
    // RFC 4035 section 3.1.4.1: DS is the parent's.
    check(
        &zone,
        "kid.isle.example DS",
        &format!("NOERROR aa\nanswer kid.isle.example. 300 DS 00010d0200\n{NS}"),
    );
    check(
        &zone,
        "other.isle.example DS",
        &format!("NOERROR aa\n{SOA}"),
    );
    check(&zone, "isle.example DS", &format!("NOERROR aa\n{SOA}"));
}

#[test]
fn addresses_come_with_the_names_that_need_them() {
    let zone = slot(isle(
        "@ NS far.example.\nmail A 192.0.2.25\nmail AAAA 2001:db8::25\n@ MX 10 Mail\n@ MX 20 mAIL\n@ MX 30 far.example.\n\
         _s._tcp SRV 0 0 1 mail\nsvc SVCB 1 mail\nweb HTTPS 1 .\nkid NS ns.kid\nns.kid A 192.0.2.9\nin MX 1 ns.kid\n\
         alias CNAME mail\nto MX 1 alias\n",
    ));
    let servers = format!("{NS}\nauthority isle.example. 300 NS far.example.");
    let more = "additional mail.isle.example. 300 A 192.0.2.25\nadditional mail.isle.example. 300 AAAA 2001:db8::25";
    for (question, answers, more) in [
        (
            "isle.example MX",
            "isle.example. 300 MX 10 Mail.isle.example.\nanswer isle.example. 300 MX 20 mAIL.isle.example.\nanswer isle.example. 300 MX 30 far.example.",
            more,
        ),
        (
            "_s._tcp.isle.example SRV",
            "_s._tcp.isle.example. 300 SRV 0 0 1 mail.isle.example.",
            more,
        ),
        (
            "svc.isle.example SVCB",
            "svc.isle.example. 300 SVCB 1 mail.isle.example.",
            more,
        ),
        (
            "web.isle.example HTTPS",
            "web.isle.example. 300 HTTPS 1 .",
            "",
        ),
        (
            "to.isle.example MX",
            "to.isle.example. 300 MX 1 alias.isle.example.",
            "",
        ),
        // What is below a delegation is not this zone's to say, but as part of a referral.
        (
            "in.isle.example MX",
            "in.isle.example. 300 MX 1 ns.kid.isle.example.",
            "",
        ),
    ] {
        let expected = format!("NOERROR aa\nanswer {answers}\n{servers}\n{more}");
        // The owner is the name where it stands first.
        let first = if question.starts_with("isle") {
            "additional Mail"
        } else {
            "additional mail"
        };
        check(&zone, question, &expected.replace("additional mail", first));
    }
    check(
        &zone,
        "isle.example NS",
        "NOERROR aa
         answer isle.example. 300 NS ns.isle.example.
         answer isle.example. 300 NS far.example.
         additional ns.isle.example. 300 A 192.0.2.53",
    );
}

#[test]
fn any_is_one_rrset_over_udp_rfc_8482_section_4_1() {
    let zone = slot(signed(&isle(
        "two A 192.0.2.1\ntwo AAAA 2001:db8::1\nalias CNAME two\n",
    )));
    check(
        &zone,
        "two.isle.example ANY",
        &format!("NOERROR aa\nanswer two.isle.example. 300 A 192.0.2.1\n{NS}"),
    );
    check(
        &zone,
        "two.isle.example ANY do",
        &format!("NOERROR aa\nanswer two.isle.example. 300 A 192.0.2.1*\n{NS}*"),
    );
    check(
        &zone,
        "two.isle.example ANY tcp",
        &format!(
            "NOERROR aa\nanswer two.isle.example. 300 A 192.0.2.1*\nanswer two.isle.example. 300 AAAA 2001:db8::1*\n{NS}"
        ),
    );
    check(
        &zone,
        "alias.isle.example ANY",
        &format!("NOERROR aa\nanswer alias.isle.example. 300 CNAME two.isle.example.\n{NS}"),
    );
    check(
        &zone,
        "none.isle.example ANY",
        &format!("NXDOMAIN aa\n{SOA}"),
    );
    assert!(reply(&zone, "two.isle.example RRSIG tcp").contains("RRSIG of AAAA"));
    assert!(!reply(&zone, "two.isle.example RRSIG").contains("RRSIG of AAAA"));
}

#[test]
fn what_is_no_lookup() {
    let zone = slot(isle(""));
    for rtype in ["AXFR", "IXFR"] {
        check(&zone, &format!("isle.example {rtype}"), "REFUSED");
    }
    let mut notify = asked("isle.example SOA");
    let mut octets = notify.query.octets().to_vec();
    octets[2] = 0x20;
    let _ = notify.query.read(&octets);
    assert_eq!(answer(&mut notify, &zone, &Fallthrough::None), Flow::Drop);
    check(
        &Slot::new(b"\x04isle\x07example\0"),
        "isle.example SOA",
        "SERVFAIL",
    );
}

#[test]
fn fallthrough_is_for_names_that_are_not_there() {
    let zone = slot(isle(
        "www A 192.0.2.1\na.ent A 192.0.2.2\n*.w A 192.0.2.3\ngone CNAME nothing\n",
    ));
    for (name, flow) in [
        ("www.isle.example A", Flow::Respond),
        ("www.isle.example AAAA", Flow::Respond),
        ("ent.isle.example A", Flow::Pass),
        ("none.isle.example A", Flow::Pass),
        ("x.w.isle.example AAAA", Flow::Respond),
        ("gone.isle.example A", Flow::Respond),
    ] {
        let mut ex = asked(name);
        assert_eq!(answer(&mut ex, &zone, &Fallthrough::All), flow, "{name}");
        assert_eq!(ex.reply.is_started(), flow == Flow::Respond, "{name}");
    }
}

#[test]
fn the_root_is_a_zone() {
    let zone = slot(zone(
        ".",
        "@ SOA a.root b.root 7 1 2 3 60\n@ NS a.root\na.root A 198.51.100.4\ntest NS ns.test\nns.test A 198.51.100.5\n",
    ));
    check(
        &zone,
        ". NS",
        "NOERROR aa\nanswer . 300 NS a.root.\nadditional a.root. 300 A 198.51.100.4",
    );
    check(
        &zone,
        ". SOA",
        "NOERROR aa\nanswer . 300 SOA SOA\nauthority . 300 NS a.root.",
    );
    check(
        &zone,
        "a.root A",
        "NOERROR aa\nanswer a.root. 300 A 198.51.100.4\nauthority . 300 NS a.root.",
    );
    check(
        &zone,
        "x.test A",
        "NOERROR\nauthority test. 300 NS ns.test.\nadditional ns.test. 300 A 198.51.100.5",
    );
    check(&zone, "x A", "NXDOMAIN aa\nauthority . 60 SOA SOA");
    check(&zone, ". A", "NOERROR aa\nauthority . 60 SOA SOA");
}
