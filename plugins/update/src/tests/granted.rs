//! What keys may do.
use super::*;
use crate::policy::{Denied, Grant, Limits, Policy, Wanted, What};

/// Limits that none of these tests comes to.
const WIDE: Limits = Limits {
    expire_seconds: 60,
    ttl_min: 0,
    ttl_max: 300,
    values_max: 16,
    value_octets_max: 255,
    rate: 0,
};

fn delete_name(text: &str) -> Change {
    Change::DeleteName(name(&format!("{text}.example")).wire().to_vec())
}

fn wanted(text: &str, below: bool) -> Wanted {
    Wanted {
        name: name(text),
        below,
    }
}

#[test]
fn keys_do_what_they_are_granted() {
    let grants = vec![
        Grant {
            key: name("dhcp"),
            what: What::Names {
                names: vec![name("lan.example")],
                types: vec![RecordType::A],
            },
        },
        Grant {
            key: name("web"),
            what: What::Challenges(vec![
                wanted("www.example", false),
                wanted("apps.example", true),
            ]),
        },
    ];
    let limits = Limits {
        expire_seconds: 60,
        ttl_min: 5,
        ttl_max: 10,
        values_max: 2,
        value_octets_max: 4,
        rate: 30,
    };
    let policy = Policy::new(grants, limits);
    let permitted = |key: &str, change: Change| {
        let permitted = policy.permit(&name(key), vec![change], 1_000)?;
        Ok::<_, Denied>(permitted.changes)
    };
    for (key, change, allowed) in [
        ("dhcp", add("a.lan A 192.0.2.1"), true),
        ("dhcp", add("lan A 192.0.2.1"), true),
        ("dhcp", add("a A 192.0.2.1"), false),
        ("dhcp", add("a.lan TXT x"), false),
        ("dhcp", delete_name("a.lan"), true),
        ("dhcp", delete_name("a"), false),
        ("other", add("a.lan A 192.0.2.1"), false),
        ("web", add("_acme-challenge.www TXT x"), true),
        ("web", delete("_acme-challenge.www TXT x"), true),
        ("web", add("_acme-challenge.www TXT abcde"), false),
        ("web", add("_acme-challenge.b.a.apps TXT x"), true),
        ("web", add("_acme-challenge.apps TXT x"), false),
        ("web", add("_acme-challenge.other TXT x"), false),
        ("web", add("www TXT x"), false),
        ("web", delete_name("_acme-challenge.www"), true),
        ("web", delete_name("_acme-challenge.apps"), false),
        ("web", delete_name("www"), false),
    ] {
        assert_eq!(
            permitted(key, change.clone()).is_ok(),
            allowed,
            "{key} {change:?}"
        );
    }
    let changes = permitted("web", add("_acme-challenge.www 9000 TXT x")).unwrap();
    assert!(matches!(changes[..], [Change::Add { ttl: 10, .. }]));
    let last = (0..30).find_map(|_| permitted("dhcp", add("lan A 192.0.2.1")).err());
    assert_eq!(last, Some(Denied::Rate(30)));
}

/// Some clients take everything of a name away when they are done.
#[test]
fn whoever_may_write_challenges_deletes_their_names_and_nothing_else() {
    let grant = |key: &str, what| Grant {
        key: name(key),
        what,
    };
    let challenges = || What::Challenges(vec![wanted("www.example", false)]);
    let everything = What::Names {
        names: vec![apex()],
        types: Vec::new(),
    };
    let grants = vec![
        grant("web", challenges()),
        grant("all", challenges()),
        grant("all", everything),
    ];
    let policy = Policy::new(grants, WIDE);
    let folder = Folder::new("granted");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(1, &["_acme-challenge.www CAA 0 issue ca.example"]));
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    let commit = |key: &str, change: Change| {
        let permitted = policy.permit(&name(key), vec![change], 1_000).unwrap();
        let changes = update(permitted.changes.clone());
        store.commit(changes, permitted)
    };
    let challenge = "_acme-challenge.www";
    let text = || add(&format!("{challenge} TXT x"));
    assert_eq!(commit("web", text()).unwrap(), Some(2));
    let refused = commit("web", delete_name(challenge)).unwrap_err();
    assert!(matches!(refused, Refusal::Others));
    // The other grant is for all of it, although it comes second.
    assert_eq!(commit("all", delete_name(challenge)).unwrap(), Some(3));
    assert!(
        !served(&slot)
            .1
            .iter()
            .any(|record| record.contains("_acme"))
    );
    assert_eq!(commit("web", text()).unwrap(), Some(4));
    assert_eq!(commit("web", delete_name(challenge)).unwrap(), Some(5));
    assert_eq!(commit("web", delete_name(challenge)).unwrap(), None);
}

/// DHCP servers delete everything of a name when its lease ends (RFC 4703 section 5.5).
#[test]
fn a_name_of_granted_types_may_be_deleted_as_a_whole() {
    let grant = |types: &[RecordType]| Grant {
        key: name("dhcp"),
        what: What::Names {
            names: vec![apex()],
            types: types.to_vec(),
        },
    };
    let grants = vec![
        grant(&[RecordType::A]),
        grant(&[RecordType::AAAA, RecordType::DHCID]),
    ];
    let policy = Policy::new(grants, WIDE);
    let folder = Folder::new("typed");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(1, &["b TXT x", "@ A 192.0.2.1"]));
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    let commit = |changes: Vec<Change>| {
        let permitted = policy.permit(&name("dhcp"), changes, 1_000).unwrap();
        let changes = update(permitted.changes.clone());
        store.commit(changes, permitted)
    };
    let lease = |text: &str| {
        vec![
            add(&format!("{text} A 192.0.2.1")),
            add(&format!("{text} AAAA 2001:db8::1")),
            add(&format!(
                "{text} DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="
            )),
        ]
    };
    assert_eq!(commit(lease("a")).unwrap(), Some(2));
    assert_eq!(commit(vec![delete_name("a")]).unwrap(), Some(3));
    assert_eq!(commit(lease("b")).unwrap(), Some(4));
    let refused = commit(vec![delete_name("b")]).unwrap_err();
    assert!(matches!(refused, Refusal::Others));
    // What is added behind it is no rest.
    let again = [vec![delete_name("c")], lease("c")].concat();
    assert_eq!(commit(again).unwrap(), Some(5));
    // The zone stays one.
    let all = Change::DeleteName(apex().wire().to_vec());
    assert_eq!(commit(vec![all]).unwrap(), Some(6));
    assert!(!served(&slot).1.contains(&"example. 60 A".to_owned()));
}
