//! What is kept of updates, and whose it is.
use super::*;
use crate::journal::replace;
use crate::store::{EXPIRING_MAX, journal_path};

/// Octets in front of the zone's name in a journal.
const MAGIC_OCTETS: usize = 8;

/// What the file has is not what is served: a serial of the file may be one that updates came to.
#[test]
fn a_slot_knows_what_its_file_brought() {
    let folder = Folder::new("brought");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(5, &["a A 192.0.2.1"]));
    assert_eq!(slot.brought().unwrap().soa().serial, 5);
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    let change = update(vec![delete("a A 192.0.2.1")]);
    assert_eq!(store.commit(change, Anything).unwrap(), Some(6));
    let brought = slot.brought().unwrap();
    assert_eq!((brought.soa().serial, served(&slot).0), (5, 6));
    slot.set(zone(6, &["a A 192.0.2.1", "b A 192.0.2.1"]));
    assert_eq!(slot.brought().unwrap().soa().serial, 6);
    let now = ["b.example. 60 A", "example. 60 NS"];
    assert_eq!(served(&slot), (7, now.map(str::to_owned).to_vec()));
}

/// Two blocks do not take a journal from each other; a later generation takes it, and what updates
/// deleted stays deleted when it goes from slot to slot.
#[test]
fn a_journal_belongs_to_one_block() {
    let folder = Folder::new("owner");
    let file = |serial| zone(serial, &["a A 192.0.2.1", "b A 192.0.2.1"]);
    let slots: Vec<_> = (0..2)
        .map(|_| {
            let slot = Arc::new(Slot::new(apex().wire()));
            slot.set(file(5));
            slot
        })
        .collect();
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let (one, other) = (Owner::new(), Owner::new());
    one.start();
    other.start();
    assert!(store.attach(&slots[0], &one));
    assert!(!store.attach(&slots[1], &other), "its neighbour's");
    let change = update(vec![delete("a A 192.0.2.1")]);
    assert_eq!(store.commit(change, Anything).unwrap(), Some(6));
    let now = |serial| {
        (
            serial,
            ["b.example. 60 A", "example. 60 NS"]
                .map(str::to_owned)
                .to_vec(),
        )
    };
    assert_eq!(served(&slots[0]), now(6));
    assert_eq!(served(&slots[1]).1.len(), 3);

    let next = Owner::new();
    next.start();
    assert!(store.attach(&slots[1], &next));
    assert_eq!(served(&slots[1]), now(6));
    assert!(!store.attach(&slots[0], &one), "it has been followed");
    let last = Owner::new();
    last.start();
    assert!(store.attach(&slots[0], &last));
    slots[0].set(file(7));
    assert_eq!(served(&slots[0]), now(8));
    // Nobody is left who could want it.
    drop(last);
    assert!(store.attach(&slots[1], &other));
}

#[test]
fn every_zone_has_files_of_its_own() {
    let folder = Folder::new("names");
    let names = ["0/25.2.0.192.in-addr.arpa", "0_25.2.0.192.in-addr.arpa"];
    let paths = names.map(|text| journal_path(&folder.0, &name(text)));
    assert_ne!(paths[0], paths[1]);
    assert_ne!(
        journal_path(&folder.0, &Name::root()),
        journal_path(&folder.0, &name("root"))
    );
    let neighbour = folder.0.join("db.example.new");
    fs::write(&neighbour, "its own").unwrap();
    replace(&folder.0.join("db.example.org"), b"another's").unwrap();
    assert_eq!(fs::read_to_string(&neighbour).unwrap(), "its own");
}

/// Whatever stands in a message or a journal: it is read or refused.
#[test]
fn octets_of_any_kind_are_read_or_refused() {
    let folder = Folder::new("any");
    let path = folder.0.join("z.journal");
    let mut journal = Journal::open(&path, apex().wire()).unwrap().journal;
    for number in 1..=2 {
        journal.append(&[&entry(number)]).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let update = [
        message(0, "a.example", 255, 0, 1, &[]),
        message(1, "a.example", 1, 9, 16, b"\x03abc"),
        message(1, "a.example", 254, 0, 15, b"\0\x01\x01m\0"),
    ];
    for _ in 0..2_000 {
        for octets in &update {
            let mut octets = octets.clone();
            for _ in 0..rand::random_range(1..4) {
                let at = rand::random_range(4..octets.len());
                octets[at] = rand::random();
            }
            octets.truncate(rand::random_range(12..=octets.len()));
            let Ok(update) = read(&octets, &apex()) else {
                continue;
            };
            let owners = update.changes.iter().map(Change::owner);
            for owner in owners {
                assert!(corten_zone::is_in(owner, apex().wire()), "{octets:02x?}");
            }
        }
    }
    let head = MAGIC_OCTETS + 1 + apex().wire().len();
    for _ in 0..300 {
        let mut octets = whole.clone();
        let at = rand::random_range(head..octets.len());
        octets[at] ^= rand::random_range(1..=255);
        fs::write(&path, &octets).unwrap();
        let opened = Journal::open(&path, apex().wire()).unwrap();
        let expected: Vec<_> = (1..=2).map(entry).collect();
        assert!(expected.starts_with(&opened.entries) && opened.damaged > 0);
    }
}

#[test]
fn challenges_are_counted_over_all_names() {
    let folder = Folder::new("many");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(1, &[]));
    let store = Arc::new(Store::open(&folder.0.join("z.journal"), &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    let texts = |numbers: std::ops::Range<usize>| {
        let changes = numbers.map(|number| add(&format!("n{number} TXT x")));
        update(changes.collect())
    };
    let most = texts(0..EXPIRING_MAX);
    assert_eq!(store.commit(most, Anything).unwrap(), Some(2));
    let more = texts(EXPIRING_MAX..EXPIRING_MAX + 1);
    let refused = store.commit(more, Anything).unwrap_err();
    assert!(matches!(refused, Refusal::Challenges));
    // Others, which do not expire, are no challenges.
    let other = update(vec![add("a A 192.0.2.1")]);
    assert_eq!(store.commit(other, Anything).unwrap(), Some(3));
}

/// What the file has done with is forgotten for good, not until the next restart.
#[test]
fn what_a_file_brings_back_stays() {
    let folder = Folder::new("back");
    let path = folder.0.join("z.journal");
    let open = |brought: Arc<Zone>| {
        let slot = Arc::new(Slot::new(apex().wire()));
        slot.set(brought);
        let store = Arc::new(Store::open(&path, &apex()).unwrap());
        let owner = Owner::new();
        assert!(store.attach(&slot, &owner));
        (slot, store, owner)
    };
    let with = |serial| zone(serial, &["a A 192.0.2.1", "b A 192.0.2.1"]);
    let (slot, store, _owner) = open(with(1));
    let change = update(vec![delete("a A 192.0.2.1"), add("c A 192.0.2.1")]);
    assert_eq!(store.commit(change, Anything).unwrap(), Some(2));
    // The author deletes it as well, and changes his mind.
    slot.set(zone(10, &["b A 192.0.2.1"]));
    slot.set(with(20));
    let all = [
        "a.example. 60 A",
        "b.example. 60 A",
        "c.example. 60 A",
        "example. 60 NS",
    ];
    let all = (21, all.map(str::to_owned).to_vec());
    assert_eq!(served(&slot), all);
    let (slot, ..) = open(with(20));
    assert_eq!(served(&slot), all, "after a restart");
}

/// A CNAME record beside others is nothing that secondaries take: the file decides.
#[test]
fn what_cannot_stand_beside_the_files_records_gives_way() {
    let folder = Folder::new("aliases");
    let path = folder.0.join("z.journal");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(1, &["b A 192.0.2.1", "c A 192.0.2.1"]));
    let store = Arc::new(Store::open(&path, &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    let change = update(vec![
        add("a TXT x"),
        delete("b A 192.0.2.1"),
        add("b CNAME d"),
        delete("c A 192.0.2.1"),
        add("c CNAME d"),
        add("d A 192.0.2.1"),
        add("f CNAME d"),
    ]);
    assert_eq!(store.commit(change, Anything).unwrap(), Some(2));
    let file = [
        "a CNAME e",
        "b A 192.0.2.9",
        "c A 192.0.2.1",
        // An update puts another in its place.
        "f 30 CNAME e",
    ];
    slot.set(zone(5, &file));
    let now = [
        "a.example. 60 CNAME",
        "b.example. 60 A",
        "c.example. 60 CNAME",
        "d.example. 60 A",
        "example. 60 NS",
        "f.example. 60 CNAME",
    ];
    let now = (6, now.map(str::to_owned).to_vec());
    assert_eq!(served(&slot), now);
    let store = Arc::new(Store::open(&path, &apex()).unwrap());
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(5, &file));
    assert!(store.attach(&slot, &owner));
    assert_eq!(served(&slot), now, "after a restart");
}

/// A digest of the file's version is none of the next one's: secondaries would refuse that.
#[test]
fn the_files_digest_is_left_out() {
    let folder = Folder::new("digest");
    let path = folder.0.join("z.journal");
    let digest = format!("@ ZONEMD 1 1 1 {}", "ab".repeat(48));
    let file = |serial| zone(serial, &[&digest]);
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(file(1));
    let store = Arc::new(Store::open(&path, &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    assert_eq!(served(&slot).1, ["example. 60 NS", "example. 60 ZONEMD"]);
    let change = update(vec![add("a A 192.0.2.1")]);
    assert_eq!(store.commit(change, Anything).unwrap(), Some(2));
    let now = |serial| {
        let now = ["a.example. 60 A", "example. 60 NS"];
        (serial, now.map(str::to_owned).to_vec())
    };
    assert_eq!(served(&slot), now(2));
    let History::Deltas(deltas) = slot.since(1) else {
        panic!("what changed is not known");
    };
    assert_eq!(shown(&deltas[0].removed), ["example. 60 ZONEMD"]);
    slot.set(file(5));
    assert_eq!(served(&slot), now(6));
    let next = Arc::new(Slot::new(apex().wire()));
    next.set(file(5));
    let store = Arc::new(Store::open(&path, &apex()).unwrap());
    assert!(store.attach(&next, &owner));
    assert_eq!(served(&next), now(6), "after a restart");
}
