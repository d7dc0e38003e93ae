//! CNAME and DNAME.
use super::*;

#[test]
fn aliases_are_followed_in_the_zone_rfc_1034_section_3_6_2() {
    let zone = slot(isle(
        "one 1 CNAME two\ntwo 2 CNAME three\nthree A 192.0.2.3\ngone CNAME nothing\n*.w CNAME three\nto CNAME x.w\nkid NS ns.kid\n\
         ns.kid A 192.0.2.9\nin CNAME host.kid\n",
    ));
    check(
        &zone,
        "one.isle.example A",
        &format!(
            "NOERROR aa
         answer one.isle.example. 1 CNAME two.isle.example.
         answer two.isle.example. 2 CNAME three.isle.example.
         answer three.isle.example. 300 A 192.0.2.3
         {NS}"
        ),
    );
    check(
        &zone,
        "one.isle.example CNAME",
        &format!("NOERROR aa\nanswer one.isle.example. 1 CNAME two.isle.example.\n{NS}"),
    );
    // RFC 2308 section 2.2, RFC 6604 section 3: the RCODE is that of the last name, and its zone denies.
    check(
        &zone,
        "two.isle.example MX",
        &format!("NOERROR aa\nanswer two.isle.example. 2 CNAME three.isle.example.\n{SOA}"),
    );
    check(
        &zone,
        "gone.isle.example A",
        &format!("NXDOMAIN aa\nanswer gone.isle.example. 300 CNAME nothing.isle.example.\n{SOA}"),
    );
    check(
        &zone,
        "to.isle.example A",
        &format!(
            "NOERROR aa
         answer to.isle.example. 300 CNAME x.w.isle.example.
         answer x.w.isle.example. 300 CNAME three.isle.example.
         answer three.isle.example. 300 A 192.0.2.3
         {NS}"
        ),
    );
    check(
        &zone,
        "in.isle.example A",
        "NOERROR aa
         answer in.isle.example. 300 CNAME host.kid.isle.example.
         authority kid.isle.example. 300 NS ns.kid.isle.example.
         additional ns.kid.isle.example. 300 A 192.0.2.9",
    );
}

#[test]
fn loops_and_long_chains_end() {
    let mut text = "ping CNAME pong\npong CNAME ping\nself CNAME self\nd DNAME e\ne DNAME d\nm DNAME m\ng DNAME x.g\n".to_owned();
    for number in 0..40 {
        text.push_str(&format!("c{number} CNAME c{}\n", number + 1));
    }
    let zone = slot(isle(&text));
    check(
        &zone,
        "ping.isle.example A",
        &format!(
            "NOERROR aa
         answer ping.isle.example. 300 CNAME pong.isle.example.
         answer pong.isle.example. 300 CNAME ping.isle.example.
         {NS}"
        ),
    );
    check(
        &zone,
        "self.isle.example A",
        &format!("NOERROR aa\nanswer self.isle.example. 300 CNAME self.isle.example.\n{NS}"),
    );
    check(
        &zone,
        "x.m.isle.example A",
        &format!(
            "NOERROR aa
         answer m.isle.example. 300 DNAME m.isle.example.
         answer x.m.isle.example. 300 CNAME x.m.isle.example.
         {NS}"
        ),
    );
    check(
        &zone,
        "x.d.isle.example A",
        &format!(
            "NOERROR aa
         answer d.isle.example. 300 DNAME e.isle.example.
         answer x.d.isle.example. 300 CNAME x.e.isle.example.
         answer e.isle.example. 300 DNAME d.isle.example.
         answer x.e.isle.example. 300 CNAME x.d.isle.example.
         {NS}"
        ),
    );
    let count = |question: &str| reply(&zone, question).matches("CNAME").count();
    assert_eq!(count("c0.isle.example A tcp"), 17);
    assert_eq!(count("x.g.isle.example A tcp"), 16, "each name is another");
    let dnames = reply(&zone, "x.g.isle.example A tcp")
        .matches("DNAME")
        .count();
    assert_eq!(dnames, 1, "the same one each time");
}

#[test]
fn dname_redirects_what_is_below_rfc_6672() {
    let zone = slot(isle(
        "old 90 DNAME new\nold A 192.0.2.9\nwww.new A 192.0.2.80\nhidden.old A 192.0.2.1\n*.w.new TXT w\ntwice DNAME old\nto CNAME www.old\n",
    ));
    check(
        &zone,
        "www.old.isle.example A",
        &format!(
            "NOERROR aa
         answer old.isle.example. 90 DNAME new.isle.example.
         answer www.old.isle.example. 90 CNAME www.new.isle.example.
         answer www.new.isle.example. 300 A 192.0.2.80
         {NS}"
        ),
    );
    // Section 2.3: not the owner itself; section 2.4: what is below it is not there.
    check(
        &zone,
        "old.isle.example A",
        &format!("NOERROR aa\nanswer old.isle.example. 300 A 192.0.2.9\n{NS}"),
    );
    check(
        &zone,
        "old.isle.example DNAME",
        &format!("NOERROR aa\nanswer old.isle.example. 90 DNAME new.isle.example.\n{NS}"),
    );
    check(&zone, "old.isle.example MX", &format!("NOERROR aa\n{SOA}"));
    check(
        &zone,
        "hidden.old.isle.example A",
        &format!(
            "NXDOMAIN aa
         answer old.isle.example. 90 DNAME new.isle.example.
         answer hidden.old.isle.example. 90 CNAME hidden.new.isle.example.
         {SOA}"
        ),
    );
    check(
        &zone,
        "a.b.w.old.isle.example TXT",
        &format!(
            "NOERROR aa
         answer old.isle.example. 90 DNAME new.isle.example.
         answer a.b.w.old.isle.example. 90 CNAME a.b.w.new.isle.example.
         answer a.b.w.new.isle.example. 300 TXT w
         {NS}"
        ),
    );
    check(
        &zone,
        "www.old.isle.example CNAME",
        &format!(
            "NOERROR aa
         answer old.isle.example. 90 DNAME new.isle.example.
         answer www.old.isle.example. 90 CNAME www.new.isle.example.
         {NS}"
        ),
    );
    check(
        &zone,
        "www.twice.isle.example A",
        &format!(
            "NOERROR aa
         answer twice.isle.example. 300 DNAME old.isle.example.
         answer www.twice.isle.example. 300 CNAME www.old.isle.example.
         answer old.isle.example. 90 DNAME new.isle.example.
         answer www.old.isle.example. 90 CNAME www.new.isle.example.
         answer www.new.isle.example. 300 A 192.0.2.80
         {NS}"
        ),
    );
    check(
        &zone,
        "to.isle.example A",
        &format!(
            "NOERROR aa
         answer to.isle.example. 300 CNAME www.old.isle.example.
         answer old.isle.example. 90 DNAME new.isle.example.
         answer www.old.isle.example. 90 CNAME www.new.isle.example.
         answer www.new.isle.example. 300 A 192.0.2.80
         {NS}"
        ),
    );
}

#[test]
fn a_dname_that_a_chain_passes_twice_is_there_once_rfc_2181_section_5() {
    let zone = slot(isle(
        "old 90 DNAME new\nx.new CNAME y.old\ny.new A 192.0.2.80\n",
    ));
    check(
        &zone,
        "x.old.isle.example A",
        &format!(
            "NOERROR aa
         answer old.isle.example. 90 DNAME new.isle.example.
         answer x.old.isle.example. 90 CNAME x.new.isle.example.
         answer x.new.isle.example. 300 CNAME y.old.isle.example.
         answer y.old.isle.example. 90 CNAME y.new.isle.example.
         answer y.new.isle.example. 300 A 192.0.2.80
         {NS}"
        ),
    );
}

#[test]
fn a_dname_that_leads_to_itself_is_there_once() {
    let zone = slot(isle("m 90 DNAME @\n"));
    for question in ["m.m.isle.example DNAME", "m.m.isle.example ANY"] {
        check(
            &zone,
            question,
            &format!(
                "NOERROR aa
             answer m.isle.example. 90 DNAME isle.example.
             answer m.m.isle.example. 90 CNAME m.isle.example.
             {NS}"
            ),
        );
    }
}

#[test]
fn a_dname_at_the_apex_redirects_the_whole_zone_rfc_6672_section_2_3() {
    let zone = slot(isle("@ DNAME new.example.\nwww A 192.0.2.1\n"));
    assert_eq!(reply(&zone, "www.isle.example A"), "Wait");
    check(
        &zone,
        "isle.example NS",
        "NOERROR aa\nanswer isle.example. 300 NS ns.isle.example.",
    );
    check(&zone, "isle.example A", &format!("NOERROR aa\n{SOA}"));
}

#[test]
fn a_substitution_that_is_too_long_is_yxdomain_rfc_6672_section_2_2() {
    let label = "a".repeat(63);
    let zone = slot(isle(&format!(
        "old DNAME {label}.{label}\nto CNAME {label}.{label}.old\n"
    )));
    let long = format!("{label}.{label}.old.isle.example A");
    let answer = format!("answer old.isle.example. 300 DNAME {label}.{label}.isle.example.");
    check(&zone, &long, &format!("YXDOMAIN aa\n{answer}"));
    check(
        &zone,
        "to.isle.example A",
        &format!(
            "YXDOMAIN aa\nanswer to.isle.example. 300 CNAME {label}.{label}.old.isle.example.\n{answer}"
        ),
    );
}

#[test]
fn what_leads_out_of_the_zone_waits() {
    let zone = slot(isle(
        "far CNAME www.example.\naway DNAME example.\nfirst CNAME far\n",
    ));
    for name in ["far", "x.away", "first"] {
        assert_eq!(
            reply(&zone, &format!("{name}.isle.example A")),
            "Wait",
            "{name}"
        );
        let text = reply(&zone, &format!("{name}.isle.example CNAME"));
        assert!(text.starts_with("NOERROR aa\nanswer "), "{text}");
    }
}
