use super::*;
use crate::tests::kit;
use corten_plugin::wire::Owner;

fn config(text: &str) -> Config {
    let corefile = format!(". {{\n cache {{\n {text}\n }}\n}}\n");
    let links = kit::set_up(&crate::PLUGIN, &corefile, &[]).unwrap();
    let cache = (&*links[0] as &dyn std::any::Any)
        .downcast_ref::<crate::Cache>()
        .unwrap();
    cache.inner.config.clone()
}

/// Kind, store and TTL of a reply from upstream to a query for the address of `q.example`.
fn verdict(config: &Config, rcode: Rcode, fill: impl FnOnce(&mut Reply)) -> String {
    let mut ex = kit::exchange(&kit::query("q.example", RecordType::A, ""));
    let _ = kit::upstream(&mut ex, rcode, fill);
    said(judge(config, &ex.query, &ex.reply, || 1000))
}

fn said(verdict: Verdict) -> String {
    let keep = verdict
        .keep
        .map_or_else(|| "-".to_owned(), |shelf| format!("{shelf:?}"));
    format!("{:?} {keep} {}", verdict.kind, verdict.ttl)
}

fn cname(reply: &mut Reply, target: &str) {
    let target = kit::wire(target);
    reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::CNAME,
        40,
        |rdata| rdata.octets(&target),
    );
}

fn name_server(reply: &mut Reply, section: Section, ttl: u32) {
    let zone = kit::wire("example");
    reply.push(section, Owner::Wire(&zone), RecordType::NS, ttl, |rdata| {
        rdata.octets(&zone)
    });
}

#[test]
fn what_is_kept_and_for_how_long() {
    let config = config("success 1000 300 5\n denial 1000 200 5");
    let judged = |rcode, fill: &dyn Fn(&mut Reply)| verdict(&config, rcode, fill);
    let ok = Rcode::NOERROR;
    // What is in the reply, and what becomes of it.
    type Row<'r> = (Rcode, &'r dyn Fn(&mut Reply), &'r str);
    let table: &[Row<'_>] = &[
        (ok, &|r| kit::address(r, 60, 1), "Positive Success 60"),
        (ok, &|r| kit::address(r, 0, 1), "Positive Success 5"),
        (ok, &|r| kit::address(r, 900, 1), "Positive Success 300"),
        (
            ok,
            &|r| {
                kit::address(r, 60, 1);
                name_server(r, Section::Authority, 30);
            },
            "Positive Success 30",
        ),
        (
            ok,
            &|r| {
                cname(r, "q2.example");
                r.push(
                    Section::Answer,
                    Owner::Wire(&kit::wire("q2.example")),
                    RecordType::A,
                    60,
                    |rdata| rdata.octets(&[192, 0, 2, 1]),
                );
            },
            "Positive Success 40",
        ),
        (ok, &|r| cname(r, "nowhere.example"), "Positive - 40"),
        (
            ok,
            &|r| {
                cname(r, "nowhere.example");
                kit::soa(r, 30, 30);
            },
            "NoData Denial 30",
        ),
        (ok, &|r| kit::soa(r, 90, 600), "NoData Denial 90"),
        (ok, &|r| kit::soa(r, 90, 25), "NoData Denial 25"),
        (ok, &|r| kit::soa(r, 900, 900), "NoData Denial 200"),
        (ok, &|r| kit::soa(r, 1, 900), "NoData Denial 5"),
        (ok, &|_| (), "Positive - 5"),
        (
            ok,
            &|r| name_server(r, Section::Authority, 100),
            "Referral Success 100",
        ),
        (
            ok,
            &|r| name_server(r, Section::Additional, 100),
            "Positive Success 100",
        ),
        (
            Rcode::NXDOMAIN,
            &|r| kit::soa(r, 90, 60),
            "NameError Denial 60",
        ),
        (Rcode::NXDOMAIN, &|_| (), "NameError - 5"),
        (
            Rcode::NXDOMAIN,
            &|r| {
                cname(r, "nowhere.example");
                kit::soa(r, 90, 90);
            },
            "NameError Denial 40",
        ),
        (Rcode::SERVFAIL, &|_| (), "Failure Denial 5"),
        (Rcode::NOTIMP, &|_| (), "Failure Denial 5"),
        (Rcode::REFUSED, &|r| kit::address(r, 60, 1), "Other - 5"),
        (Rcode::FORMERR, &|_| (), "Other - 5"),
        (
            ok,
            &|r| {
                kit::address(r, 60, 1);
                r.truncated = true;
            },
            "Positive - 60",
        ),
    ];
    for (row, (rcode, fill, expected)) in table.iter().enumerate() {
        assert_eq!(judged(*rcode, fill), *expected, "row {row}");
    }
}

#[test]
fn no_ttl_and_no_minimum_is_not_kept() {
    let config = config("success 1000 300 0\n servfail 0");
    assert_eq!(
        verdict(&config, Rcode::NOERROR, |reply| kit::address(reply, 0, 1)),
        "Positive - 0"
    );
    assert_eq!(verdict(&config, Rcode::SERVFAIL, |_| ()), "Failure - 0");
}

#[test]
fn failures_of_our_own_are_not_kept() {
    let config = config("");
    let mut ex = kit::exchange(&kit::query("q.example", RecordType::A, ""));
    let _ = ex.answer(Rcode::SERVFAIL);
    let judged = judge(&config, &ex.query, &ex.reply, || 1000);
    assert_eq!(said(judged), "Failure - 5");
}

#[test]
fn expired_signatures_count_for_those_who_want_signatures() {
    let config = config("");
    for (flags, now, expected) in [
        ("d", 150, "Positive Success 60"),
        ("d", 201, "Other - 5"),
        ("", 201, "Positive Success 60"),
    ] {
        let mut ex = kit::exchange(&kit::query("q.example", RecordType::A, flags));
        let _ = kit::upstream(&mut ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 60, 1);
            reply.push(
                Section::Answer,
                Owner::Question,
                RecordType::RRSIG,
                60,
                |rdata| {
                    rdata.octets(&[0, 1, 13, 2, 0, 0, 0, 60]);
                    rdata.u32(200);
                    rdata.u32(100);
                    rdata.octets(&[0, 1, 0]);
                },
            );
        });
        assert_eq!(
            said(judge(&config, &ex.query, &ex.reply, || now)),
            expected,
            "{flags} {now}"
        );
    }
}

#[test]
fn answers_for_one_subnet_are_not_kept() {
    let config = config("");
    for (scope, expected) in [(0, "Positive Success 60"), (24, "Positive - 60")] {
        let judged = verdict(&config, Rcode::NOERROR, |reply| {
            kit::address(reply, 60, 1);
            reply.set_option(CLIENT_SUBNET, &[0, 1, 24, scope, 192, 0, 2]);
        });
        // Without EDNS of the client's the option does not get through the reply.
        assert_eq!(judged, "Positive Success 60");
        let mut ex = kit::exchange(&kit::query("q.example", RecordType::A, "s"));
        let _ = kit::upstream(&mut ex, Rcode::NOERROR, |reply| {
            kit::address(reply, 60, 1);
            reply.set_option(CLIENT_SUBNET, &[0, 1, 24, scope, 192, 0, 2]);
        });
        assert_eq!(
            said(judge(&config, &ex.query, &ex.reply, || 0)),
            expected,
            "{scope}"
        );
    }
}
