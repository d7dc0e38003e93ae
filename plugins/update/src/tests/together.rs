//! Updates that are done together.
use super::*;
use crate::commit::{Refusal, Waiting, Wish};

fn store(name: &str, zone: Arc<Zone>) -> (Folder, Arc<Slot>, Arc<Store>, Arc<Owner>) {
    let folder = Folder::new(name);
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone);
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    (folder, slot, store, owner)
}

/// Each sees what those before it did and has an answer of its own; they make one version and one change.
#[test]
fn updates_that_wait_are_done_in_their_order() {
    let (folder, slot, store, _owner) = store("order", zone(5, &["a A 192.0.2.1"]));
    let owner = |text: &str| name(text).wire().to_vec();
    let when = |prerequisite, change| Update {
        prerequisites: vec![prerequisite],
        changes: vec![change],
    };
    let outcomes = store.commit_all(vec![
        update(vec![add("b A 192.0.2.2")]),
        // What the first one made.
        when(
            Prerequisite::NameInUse(owner("b.example")),
            add("c A 192.0.2.3"),
        ),
        when(
            Prerequisite::NameNotInUse(owner("b.example")),
            add("d A 192.0.2.4"),
        ),
        update(vec![add("a A 192.0.2.1")]),
        update(vec![delete("b A 192.0.2.2"), add("x.y A 192.0.2.5")]),
        when(
            Prerequisite::NameInUse(owner("b.example")),
            add("e A 192.0.2.4"),
        ),
        update(vec![delete("a A 192.0.2.1")]),
    ]);
    let shown: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(serial) => format!("{serial:?}"),
            Err(Refusal::Rcode(rcode)) => rcode.to_string(),
            Err(other) => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Some(6)", "Some(6)", "YXDOMAIN", "None", "Some(6)", "NXDOMAIN", "Some(6)"
        ]
    );
    let now = ["c.example. 60 A", "example. 60 NS", "x.y.example. 60 A"];
    let now = (6, now.map(str::to_owned).to_vec());
    assert_eq!(served(&slot), now);
    let History::Deltas(deltas) = slot.since(5) else {
        panic!("the change is known");
    };
    assert_eq!(deltas.len(), 1);
    assert_eq!(super::shown(&deltas[0].removed), ["a.example. 60 A"]);
    assert_eq!(
        super::shown(&deltas[0].added),
        ["c.example. 60 A", "x.y.example. 60 A"]
    );
    drop(store);
    // The journal has them one by one.
    let again = Arc::new(Slot::new(apex().wire()));
    again.set(zone(5, &["a A 192.0.2.1"]));
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let next = Owner::new();
    assert!(store.attach(&again, &next));
    assert_eq!(served(&again), now);
}

/// One that makes no zone does not take the others along.
#[test]
fn what_makes_no_zone_is_refused_alone() {
    let (_folder, slot, store, _owner) = store("alone", zone(5, &[]));
    let soa = |length: usize| Change::Add {
        owner: apex().wire().to_vec(),
        rtype: RecordType::SOA,
        ttl: 60,
        rdata: [&[0, 0][..], &[9; 4], &vec![0; length]].concat(),
    };
    let outcomes = store.commit_all(vec![
        update(vec![add("a A 192.0.2.1")]),
        // More octets than a record has.
        update(vec![Change::Add {
            owner: name("long.example").wire().to_vec(),
            rtype: RecordType::TXT,
            ttl: 60,
            rdata: vec![0; 70_000],
        }]),
        update(vec![add("b A 192.0.2.1")]),
        // The serial is the update's own.
        update(vec![soa(16)]),
    ]);
    assert!(matches!(outcomes[0], Ok(Some(6))), "{outcomes:?}");
    assert!(
        matches!(outcomes[1], Err(Refusal::Zone(_))),
        "{:?}",
        outcomes[1]
    );
    assert!(matches!(outcomes[2], Ok(Some(7))));
    assert!(matches!(outcomes[3], Ok(Some(0x0909_0909))));
    assert_eq!(served(&slot).0, 0x0909_0909);
}

/// Nothing is lost between those that come and those that are being done.
#[test]
fn many_at_once_are_all_done() {
    let (_folder, slot, store, _owner) = store("many-at-once", zone(1, &[]));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..40 {
                    let change = add(&format!("n{thread}-{number} A 192.0.2.1"));
                    let done = store.commit(update(vec![change]), Anything).unwrap();
                    assert!(done.is_some());
                }
            });
        }
    });
    let (serial, records) = served(&slot);
    assert_eq!(records.len(), 321);
    assert!(serial <= 321);
}

/// Those that come while others are done are done next, all of them, and a panic in a turn is not the last one.
#[test]
fn those_that_wait_have_one_turn() {
    let waiting = Waiting::default();
    let turns = std::sync::Mutex::new(Vec::new());
    let wish = || Wish::new(Update::default(), Box::new(Anything));
    let done = |wishes: &[Arc<Wish>]| {
        turns.lock().unwrap().push(wishes.len());
        wishes.iter().for_each(|wish| wish.end(Ok(None)));
    };
    std::thread::scope(|scope| {
        let first = |wishes: &[Arc<Wish>]| {
            for _ in 0..7 {
                scope.spawn(|| assert!(waiting.run(&wish(), done).is_ok()));
            }
            while waiting.count() < 7 {
                std::thread::yield_now();
            }
            done(wishes);
        };
        assert!(waiting.run(&wish(), first).is_ok());
    });
    assert_eq!(*turns.lock().unwrap(), [1, 7]);

    let lost = wish();
    std::thread::scope(|scope| {
        let fails = scope.spawn(|| waiting.run(&lost, |_| panic!("it does not come to an end")));
        assert!(fails.join().is_err());
    });
    let next = waiting.run(&wish(), done);
    assert!(next.is_ok(), "{next:?}");
}
