//! Proofs, with the zones and the examples of the RFCs.
use super::*;

/// RFC 4035 appendix A, without its signatures.
fn nsec() -> Slot {
    slot(signed(&zone(
        "example",
        "@ SOA ns1 bugs.x.w 1081539377 3600 300 3600000 3600
@ NS ns1
@ NS ns2
@ MX 1 xx
@ NSEC a NS SOA MX RRSIG NSEC DNSKEY
a NS ns1.a
a NS ns2.a
a DS 57855 5 1 b6dcd485719adca18e5f3d48a2331627fdd3636b
a NSEC ai NS DS RRSIG NSEC
ns1.a A 192.0.2.5
ns2.a A 192.0.2.6
ai A 192.0.2.9
ai HINFO KLH-10 ITS
ai AAAA 2001:db8::f00:baa9
ai NSEC b A HINFO AAAA RRSIG NSEC
b NS ns1.b
b NS ns2.b
b NSEC ns1 NS RRSIG NSEC
ns1.b A 192.0.2.7
ns2.b A 192.0.2.8
ns1 A 192.0.2.1
ns1 NSEC ns2 A RRSIG NSEC
ns2 A 192.0.2.2
ns2 NSEC *.w A RRSIG NSEC
*.w MX 1 ai
*.w NSEC x.w MX RRSIG NSEC
x.w MX 1 xx
x.w NSEC x.y.w MX RRSIG NSEC
x.y.w MX 1 xx
x.y.w NSEC xx MX RRSIG NSEC
xx A 192.0.2.10
xx HINFO KLH-10 TOPS-20
xx AAAA 2001:db8::f00:baaa
xx NSEC @ A HINFO AAAA RRSIG NSEC
",
    )))
}

/// RFC 5155 appendix A, without its signatures: twelve iterations, a salt, opt-out.
fn nsec3() -> Slot {
    let hash = "NSEC3 1 1 12 aabbccdd";
    slot(signed(&zone(
        "example",
        &format!(
            "@ SOA ns1 bugs.x.w 1 3600 300 3600000 3600
@ NS ns1
@ NS ns2
@ MX 1 xx
@ NSEC3PARAM 1 0 12 aabbccdd
a NS ns1.a
a NS ns2.a
a DS 58470 5 1 3079f1593ebad6dc121e202a8b766a6a4837206c
ns1.a A 192.0.2.5
ns2.a A 192.0.2.6
ai A 192.0.2.9
c NS ns1.c
c NS ns2.c
ns1.c A 192.0.2.7
ns2.c A 192.0.2.8
ns1 A 192.0.2.1
ns2 A 192.0.2.2
*.w MX 1 ai
x.w MX 1 xx
x.y.w MX 1 xx
xx A 192.0.2.10
0p9mhaveqvm6t7vbl5lop2u3t2rp3tom {hash} 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG
2t7b4g4vsa5smi47k61mv5bv1a22bojr {hash} 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG
2vptu5timamqttgl4luu9kg21e0aor3s {hash} 35mthgpgcu1qg68fab165klnsnk3dpvl MX RRSIG
35mthgpgcu1qg68fab165klnsnk3dpvl {hash} b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG
b4um86eghhds6nea196smvmlo4ors995 {hash} gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG
gjeqe526plbf1g8mklp59enfd789njgi {hash} ji6neoaepv8b5o6k4ev33abha8ht9fgc A HINFO AAAA RRSIG
ji6neoaepv8b5o6k4ev33abha8ht9fgc {hash} k8udemvp1j2f7eg6jebps17vp3n8i58h
k8udemvp1j2f7eg6jebps17vp3n8i58h {hash} kohar7mbb8dc2ce8a9qvl8hon4k53uhi
kohar7mbb8dc2ce8a9qvl8hon4k53uhi {hash} q04jkcevqvmu85r014c7dkba38o0ji5r A RRSIG
q04jkcevqvmu85r014c7dkba38o0ji5r {hash} r53bq7cc2uvmubfu5ocmm6pers9tk9en A RRSIG
r53bq7cc2uvmubfu5ocmm6pers9tk9en {hash} t644ebqk9bibcna874givr6joj62mlhv MX RRSIG
t644ebqk9bibcna874givr6joj62mlhv {hash} 0p9mhaveqvm6t7vbl5lop2u3t2rp3tom A HINFO AAAA RRSIG
2t7b4g4vsa5smi47k61mv5bv1a22bojr A 192.0.2.127
"
        ),
    )))
}

const SOA: &str = "authority example. 300 SOA SOA*";

fn proved(names: &str, rtype: &str) -> String {
    let line = |name: &str| format!("\nauthority {name} 300 {rtype}*");
    names.split(' ').map(line).collect()
}

#[test]
fn nsec_proves_as_in_rfc_4035_appendix_b() {
    let zone = nsec();
    let by = |names: &str| proved(names, "NSEC");
    check(
        &zone,
        "x.w.example MX do",
        &format!(
            "NOERROR aa
         answer x.w.example. 300 MX 1 xx.example.*
         {}
         additional xx.example. 300 A 192.0.2.10*
         additional xx.example. 300 AAAA 2001:db8::f00:baaa*",
            servers()
        ),
    );
    check(
        &zone,
        "ml.example A do",
        &format!("NXDOMAIN aa\n{SOA}{}", by("b.example. example.")),
    );
    check(
        &zone,
        "ns1.example MX do",
        &format!("NOERROR aa\n{SOA}{}", by("ns1.example.")),
    );
    check(
        &zone,
        "mc.a.example MX do",
        "NOERROR
         authority a.example. 300 NS ns1.a.example.
         authority a.example. 300 NS ns2.a.example.
         authority a.example. 300 DS e1ff0501b6dcd485719adca18e5f3d48a2331627fdd3636b*
         additional ns1.a.example. 300 A 192.0.2.5
         additional ns2.a.example. 300 A 192.0.2.6",
    );
    check(
        &zone,
        "mc.b.example MX do",
        &format!(
            "NOERROR
         authority b.example. 300 NS ns1.b.example.
         authority b.example. 300 NS ns2.b.example.{}
         additional ns1.b.example. 300 A 192.0.2.7
         additional ns2.b.example. 300 A 192.0.2.8",
            by("b.example.")
        ),
    );
    check(
        &zone,
        "a.z.w.example MX do",
        &format!(
            "NOERROR aa
         answer a.z.w.example. 300 MX 1 ai.example.*
         {}{}
         additional ai.example. 300 A 192.0.2.9*
         additional ai.example. 300 AAAA 2001:db8::f00:baa9*",
            servers(),
            by("x.y.w.example.")
        ),
    );
    check(
        &zone,
        "a.z.w.example AAAA do",
        &format!("NOERROR aa\n{SOA}{}", by("x.y.w.example. *.w.example.")),
    );
    check(
        &zone,
        "example DS do",
        &format!("NOERROR aa\n{SOA}{}", by("example.")),
    );
    check(
        &zone,
        "b.example DS do",
        &format!("NOERROR aa\n{SOA}{}", by("b.example.")),
    );
    // An empty non-terminal, and what is below it.
    check(
        &zone,
        "y.w.example A do",
        &format!("NOERROR aa\n{SOA}{}", by("x.w.example.")),
    );
    check(
        &zone,
        "v.y.w.example A do",
        &format!("NXDOMAIN aa\n{SOA}{}", by("x.w.example.")),
    );
    // Behind the last name.
    check(
        &zone,
        "z.example A do",
        &format!("NXDOMAIN aa\n{SOA}{}", by("xx.example. example.")),
    );
    check(
        &zone,
        "ns1.example NSEC do",
        &format!("NOERROR aa\nanswer ns1.example. 300 NSEC*\n{}", servers()),
    );
    // Nobody who does not ask for proofs gets them (RFC 3225 section 3).
    check(
        &zone,
        "ml.example A",
        &format!("NXDOMAIN aa\n{}", SOA.trim_end_matches('*')),
    );
}

fn servers() -> &'static str {
    "authority example. 300 NS ns1.example.
     authority example. 300 NS ns2.example.*"
}

#[test]
fn nsec3_proves_as_in_rfc_5155_appendix_b() {
    let zone = nsec3();
    let by = |names: &str| proved(names, "NSEC3");
    let full = |start: &str| format!("{start}.example.");
    let apex = full("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom");
    let (ns1, a) = (
        full("2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
        full("35mthgpgcu1qg68fab165klnsnk3dpvl"),
    );
    let (x_w, y_w) = (
        full("b4um86eghhds6nea196smvmlo4ors995"),
        full("ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
    );
    let (w, ns2) = (
        full("k8udemvp1j2f7eg6jebps17vp3n8i58h"),
        full("q04jkcevqvmu85r014c7dkba38o0ji5r"),
    );
    let asterisk = full("r53bq7cc2uvmubfu5ocmm6pers9tk9en");
    let soa = SOA;
    // B.1: the closest encloser x.w, the next closer name, the wildcard.
    check(
        &zone,
        "a.c.x.w.example A do",
        &format!("NXDOMAIN aa\n{soa}{}", by(&format!("{x_w} {apex} {a}"))),
    );
    // B.2 and B.2.1.
    check(
        &zone,
        "ns1.example MX do",
        &format!("NOERROR aa\n{soa}{}", by(&ns1)),
    );
    check(
        &zone,
        "y.w.example A do",
        &format!("NOERROR aa\n{soa}{}", by(&y_w)),
    );
    // B.3: opt-out.
    check(
        &zone,
        "mc.c.example MX do",
        &format!(
            "NOERROR
         authority c.example. 300 NS ns1.c.example.
         authority c.example. 300 NS ns2.c.example.{}
         additional ns1.c.example. 300 A 192.0.2.7
         additional ns2.c.example. 300 A 192.0.2.8",
            by(&format!("{apex} {a}"))
        ),
    );
    check(
        &zone,
        "c.example DS do",
        &format!("NOERROR aa\n{soa}{}", by(&format!("{apex} {a}"))),
    );
    // B.4 and B.5.
    check(
        &zone,
        "a.z.w.example MX do",
        &format!(
            "NOERROR aa
         answer a.z.w.example. 300 MX 1 ai.example.*
         {}{}
         additional ai.example. 300 A 192.0.2.9*",
            servers(),
            by(&ns2)
        ),
    );
    check(
        &zone,
        "a.z.w.example AAAA do",
        &format!("NOERROR aa\n{soa}{}", by(&format!("{w} {ns2} {asterisk}"))),
    );
    // B.6.
    check(
        &zone,
        "example DS do",
        &format!("NOERROR aa\n{soa}{}", by(&apex)),
    );
    // Section 7.2.8: the name of a hash is not one, unless it is.
    let hash = "kohar7mbb8dc2ce8a9qvl8hon4k53uhi.example";
    assert!(reply(&zone, &format!("{hash} NSEC3")).starts_with("NXDOMAIN aa"));
    assert!(reply(&zone, "2t7b4g4vsa5smi47k61mv5bv1a22bojr.example A").contains("A 192.0.2.127"));
}

#[test]
fn a_chain_of_aliases_proves_its_end_rfc_4035_section_3_1_3() {
    let zone = slot(signed(&isle(
        "@ NSEC alias NS SOA RRSIG NSEC\nalias CNAME www\nalias NSEC ns CNAME RRSIG NSEC\nns NSEC *.w A RRSIG NSEC\n\
         *.w CNAME gone\n*.w NSEC www CNAME RRSIG NSEC\nwww A 192.0.2.1\nwww NSEC @ A RRSIG NSEC\n",
    )));
    let by = |names: &str| -> String {
        names
            .split(' ')
            .map(|name| format!("\nauthority {name}isle.example. 300 NSEC*"))
            .collect()
    };
    let soa = "authority isle.example. 60 SOA SOA*";
    check(
        &zone,
        "alias.isle.example TXT do",
        &format!(
            "NOERROR aa\nanswer alias.isle.example. 300 CNAME www.isle.example.*\n{soa}{}",
            by("www.")
        ),
    );
    // The wildcard's expansion, and the name that it leads to.
    check(
        &zone,
        "x.w.isle.example A do",
        &format!(
            "NXDOMAIN aa\nanswer x.w.isle.example. 300 CNAME gone.isle.example.*\n{soa}{}",
            by("*.w. alias. ")
        ),
    );
    check(
        &zone,
        "alias.isle.example NSEC do",
        "NOERROR aa\nanswer alias.isle.example. 300 NSEC*\nauthority isle.example. 300 NS ns.isle.example.*",
    );
}
