use corten_plugin::wire::{Class, Gate, Name, Query, Question, RecordType};
use corten_plugin::{Fallthrough, Signer, Zones};
use corten_tsig::{Key, Secret};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::catalog::Member;
use crate::client::Primary;
use crate::config::Source;
use crate::held::Membership;
use crate::incoming::Bounds;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn source(zones: &[&str], catalog: Option<&[&str]>) -> Source {
    let names = |list: &[&str]| list.iter().map(|zone| name(zone)).collect::<Vec<_>>();
    Source {
        zones: names(zones),
        primaries: vec![Primary {
            address: "192.0.2.1:53".parse().unwrap(),
            tls: None,
        }],
        key: None,
        source: None,
        catalog: catalog.map(|list| Zones::new(names(list))),
        store: None,
        bounds: Bounds {
            records_max: 100,
            octets_max: 1000,
        },
        under_way: tokio::sync::Semaphore::new(config::UNDER_WAY_MAX),
    }
}

fn secondary(sources: Vec<Source>, before: Option<&Keeper>) -> Secondary {
    let config = Config {
        sources: sources.into_iter().map(Arc::new).collect(),
        fallthrough: Fallthrough::None,
    };
    Secondary {
        keeper: Keeper::new(config, before),
    }
}

fn notify(zone: &str, client: &str) -> Exchange {
    let question = Question {
        name: name(zone),
        rtype: RecordType::SOA,
        class: Class::IN,
    };
    let mut octets = Query::ask(1, &question).octets().to_vec();
    octets[2] = 0x20;
    let mut ex = Exchange::new();
    ex.client = client.parse().unwrap();
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    ex
}

#[test]
fn notifications_count_when_they_come_from_a_primary() {
    let plain = secondary(vec![source(&["example"], None)], None);
    for (zone, client, flow) in [
        ("example", "192.0.2.1:4000", Flow::Respond),
        ("example", "192.0.2.2:53", Flow::Drop),
        ("a.example", "192.0.2.1:53", Flow::Drop),
        ("other", "192.0.2.1:53", Flow::Pass),
    ] {
        let mut ex = notify(zone, client);
        assert_eq!(plain.on_query(&mut ex), flow, "{zone} {client}");
    }

    let key = Key::new(name("one.key"), None, Secret::from_base64("YQ==").unwrap());
    let mark = key.mark();
    let signed = secondary(
        vec![Source {
            key: Some(Arc::new(key)),
            ..source(&["example"], None)
        }],
        None,
    );
    for (key, rcode) in [
        (None, Rcode::NOTAUTH),
        (Some(("two.key", mark)), Rcode::NOTAUTH),
        // Another block's key of that name.
        (Some(("one.key", mark ^ 1)), Rcode::NOTAUTH),
        (Some(("one.key", mark)), Rcode::NOERROR),
    ] {
        let mut ex = notify("example", "192.0.2.1:4000");
        if let Some((key, mark)) = key {
            let key = name(key);
            ex.set_signer(Arc::new(Signer { key, mark }));
        }
        assert_eq!(signed.on_query(&mut ex), Flow::Respond);
        assert_eq!(ex.reply.rcode, rcode, "{key:?}");
    }
}

fn member(id: &str, zone: &str, moves_to: Option<&str>) -> Member {
    Member {
        id: id.as_bytes().into(),
        zone: name(zone),
        moves_to: moves_to.map(name),
    }
}

fn held(secondary: &Secondary, zone: &str) -> Option<Arc<Held>> {
    secondary.keeper.zones().held(name(zone).wire()).cloned()
}

fn apply(secondary: &Secondary, catalog: &str, members: Vec<Member>) {
    let source = Arc::clone(&held(secondary, catalog).unwrap().source);
    secondary
        .keeper
        .apply_catalog(&name(catalog), &source, members);
}

#[test]
fn members_come_go_and_move() {
    let block = || {
        vec![
            source(&["one.cat"], Some(&[])),
            source(&["two.cat"], Some(&["test"])),
            source(&["static.test"], None),
        ]
    };
    let zones = secondary(block(), None);
    let all = vec![
        member("a", "a.test", None),
        member("b", "b.test", None),
        member("s", "static.test", None),
    ];
    apply(&zones, "one.cat", all);
    let first = held(&zones, "a.test").unwrap();
    assert!(held(&zones, "static.test").unwrap().member.is_none());
    // The same once more: nothing happens. Another label: the zone begins anew.
    apply(
        &zones,
        "one.cat",
        vec![member("a", "a.test", None), member("c", "b.test", None)],
    );
    assert!(Arc::ptr_eq(&first, &held(&zones, "a.test").unwrap()));
    // A name of another catalog is not taken away from it …
    apply(
        &zones,
        "two.cat",
        vec![member("a", "a.test", None), member("x", "x.org", None)],
    );
    assert_eq!(
        held(&zones, "a.test")
            .unwrap()
            .member
            .as_ref()
            .unwrap()
            .catalog,
        name("one.cat")
    );
    assert!(held(&zones, "x.org").is_none());
    // … unless that gives it away; its data stay, because the label is the same.
    apply(
        &zones,
        "one.cat",
        vec![member("a", "a.test", Some("two.cat"))],
    );
    apply(&zones, "two.cat", vec![member("a", "a.test", None)]);
    let moved = held(&zones, "a.test").unwrap();
    let membership = Membership {
        catalog: name("two.cat"),
        id: b"a"[..].into(),
    };
    assert_eq!(moved.member, Some(membership));
    assert!(Arc::ptr_eq(&moved.slot, &first.slot) && first.stop.is_cancelled());
    assert!(held(&zones, "b.test").is_none());

    // A reload takes zones over, and members with them.
    let next = secondary(block(), Some(&zones.keeper));
    for zone in ["a.test", "static.test", "one.cat"] {
        let (old, new) = (held(&zones, zone).unwrap(), held(&next, zone).unwrap());
        assert!(Arc::ptr_eq(&old.slot, &new.slot), "{zone}");
    }
    // A member that moved and one that stays, in one version: each is there once.
    apply(
        &next,
        "two.cat",
        vec![member("n", "a.test", None), member("m", "m.test", None)],
    );
    assert!(!Arc::ptr_eq(
        &moved.slot,
        &held(&next, "a.test").unwrap().slot
    ));
    assert_eq!(next.keeper.lock().held.len(), 5);
    let mut other = block();
    other[1].primaries[0].address.set_port(54);
    let next = secondary(other, Some(&zones.keeper));
    assert!(held(&next, "a.test").is_none());
}

/// Two of the three timers need a live task: a notification is heard, and the task ends when told.
#[tokio::test]
async fn a_notification_has_the_primary_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nobody answers by UDP: what is asked by TCP cannot be forged by others.
    let address = listener.local_addr().unwrap();
    let _udp = UdpSocket::bind(address).await.unwrap();
    let mut one = source(&["example"], None);
    one.primaries[0].address = address;
    let zones = secondary(vec![one], None);
    zones.keeper.start().await;
    for _ in 0..2 {
        drop(listener.accept().await.unwrap());
        let mut ex = notify("example", "127.0.0.1:1");
        assert_eq!(zones.on_query(&mut ex), Flow::Respond);
    }
    zones.keeper.stop().await;
}
