//! Aliases that lead out of the zone.
use super::*;
use crate::{ZoneTable, follow};
use corten_plugin::wire::Rcode;
use corten_plugin::{Resolve, async_trait};

/// A server with these zones, and a name that it fails for.
struct Server(ZoneTable);

#[async_trait]
impl Resolve for Server {
    async fn resolve(&self, ex: &mut Exchange) {
        if ex.query.question.name.to_string() == "broken.test." {
            let _ = ex.answer(Rcode::SERVFAIL);
            return;
        }
        let Some(slot) = self.0.find(&ex.query.question) else {
            let _ = ex.answer(Rcode::REFUSED);
            return;
        };
        if answer(ex, slot, &Fallthrough::None) == Flow::Wait {
            let _ = Box::pin(follow(ex, slot, &Fallthrough::None)).await;
        }
    }
}

async fn followed(question: &str) -> String {
    let main = isle(
        "gate CNAME gate.main.example.\ngone CNAME nothing.main.example.\ntype CNAME road.main.example.\n\
         far CNAME www.else.test.\nbad CNAME broken.test.\naway DNAME main.example.\nkid CNAME x.kid.main.example.\n\
         back CNAME back.main.example.\nlong CNAME long.main.example.\nfirst CNAME gate\n",
    );
    let label = "a".repeat(63);
    let other = zone(
        "main.example",
        &format!(
            "@ SOA ns post 9 1 2 3 40\n@ NS ns\nns A 192.0.2.54\ngate CNAME road\nroad A 192.0.2.80\nkid NS ns.kid\nns.kid A 192.0.2.9\n\
             back CNAME back.isle.example.\nlong CNAME {label}.{label}.d\nd DNAME {label}.{label}\n"
        ),
    );
    let table = ZoneTable::new([main, other].map(|zone| Arc::new(slot(zone))));
    let zone = Arc::clone(&table.slots()[0]);
    let mut ex = asked(question);
    ex.set_resolver(Arc::new(Server(table)));
    assert_eq!(answer(&mut ex, &zone, &Fallthrough::None), Flow::Wait);
    assert!(!ex.reply.is_started());
    assert_eq!(
        follow(&mut ex, &zone, &Fallthrough::None).await,
        Flow::Respond
    );
    shown(&ex)
}

#[tokio::test]
async fn the_server_resolves_the_target() {
    let other = "authority main.example. 40 SOA SOA";
    let table = [
        (
            "gate",
            format!(
                "NOERROR aa\nanswer gate.isle.example. 300 CNAME gate.main.example.\n\
                 answer gate.main.example. 300 CNAME road.main.example.\nanswer road.main.example. 300 A 192.0.2.80\n{NS}"
            ),
        ),
        (
            "first",
            format!(
                "NOERROR aa\nanswer first.isle.example. 300 CNAME gate.isle.example.\n\
                 answer gate.isle.example. 300 CNAME gate.main.example.\n\
                 answer gate.main.example. 300 CNAME road.main.example.\nanswer road.main.example. 300 A 192.0.2.80\n{NS}"
            ),
        ),
        (
            "road.away",
            format!(
                "NOERROR aa\nanswer away.isle.example. 300 DNAME main.example.\n\
                 answer road.away.isle.example. 300 CNAME road.main.example.\nanswer road.main.example. 300 A 192.0.2.80\n{NS}"
            ),
        ),
        // RFC 2308 section 2.1: who denies proves.
        (
            "gone",
            format!(
                "NXDOMAIN aa\nanswer gone.isle.example. 300 CNAME nothing.main.example.\n{other}"
            ),
        ),
        // Nobody here knows, or it is another's: the client may ask.
        (
            "far",
            format!("NOERROR aa\nanswer far.isle.example. 300 CNAME www.else.test.\n{NS}"),
        ),
        (
            "kid",
            format!("NOERROR aa\nanswer kid.isle.example. 300 CNAME x.kid.main.example.\n{NS}"),
        ),
        // RFC 6604 section 3.
        (
            "bad",
            format!("SERVFAIL aa\nanswer bad.isle.example. 300 CNAME broken.test.\n{NS}"),
        ),
    ];
    for (name, expected) in table {
        assert_eq!(
            followed(&format!("{name}.isle.example A")).await,
            expected,
            "{name}"
        );
    }
    let none = followed("type.isle.example MX").await;
    assert_eq!(
        none,
        format!("NOERROR aa\nanswer type.isle.example. 300 CNAME road.main.example.\n{other}")
    );
    let long = followed("long.isle.example A").await;
    assert!(long.starts_with("YXDOMAIN aa\n"), "{long}");
}

#[tokio::test]
async fn a_loop_through_zones_ends() {
    let text = followed("back.isle.example A").await;
    assert_eq!(
        text,
        format!(
            "NOERROR aa\nanswer back.isle.example. 300 CNAME back.main.example.\n\
             answer back.main.example. 300 CNAME back.isle.example.\n{NS}"
        )
    );
}
