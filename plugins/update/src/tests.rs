//! Steps of updates, what is kept of them, and who may make them.
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use corten_plugin::wire::text::record;
use corten_plugin::wire::{Name, Rcode, RecordType};
use corten_zone::{Builder, History, RecordBuf, Slot, Zone};

use crate::apply::Work;
use crate::commit::{Judge, Refusal};
use crate::journal::{Entry, Journal};
use crate::message::{Change, Prerequisite, Update, read};
use crate::owner::Owner;
use crate::store::Store;

mod granted;
mod kept;
mod together;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn apex() -> Name {
    name("example.")
}

fn zone(serial: u32, records: &[&str]) -> Arc<Zone> {
    let mut builder = Builder::new(apex().wire());
    let soa = format!("@ 60 SOA ns post {serial} 2 3 4 5");
    for text in [soa.as_str(), "@ 60 NS ns.other."].iter().chain(records) {
        let record = record(text, &apex(), Some(60)).unwrap();
        builder
            .add(&record.owner, record.rtype, record.ttl, &record.rdata)
            .unwrap();
    }
    Arc::new(builder.build().unwrap())
}

fn add(text: &str) -> Change {
    let record = record(text, &apex(), Some(60)).unwrap();
    Change::Add {
        owner: record.owner,
        rtype: record.rtype,
        ttl: record.ttl,
        rdata: record.rdata,
    }
}

fn delete(text: &str) -> Change {
    let record = record(text, &apex(), Some(60)).unwrap();
    Change::DeleteRecord(record.owner, record.rtype, record.rdata)
}

fn update(changes: Vec<Change>) -> Update {
    Update {
        changes,
        ..Update::default()
    }
}

fn shown(records: &[RecordBuf]) -> Vec<String> {
    let mut lines: Vec<_> = records
        .iter()
        .map(|record| {
            let owner = Name::from_wire(&record.owner).unwrap();
            format!("{owner} {} {}", record.ttl, record.rtype)
        })
        .collect();
    lines.sort();
    lines
}

/// RFC 2136 section 3.4.2.
#[test]
fn steps_do_what_the_rfc_says() {
    let zone = zone(1, &["a A 192.0.2.1", "a A 192.0.2.2", "c CNAME a"]);
    let owner = |text: &str| name(text).wire().to_vec();
    for (change, removed, added) in [
        (add("b A 192.0.2.1"), &[][..], &["b.example. 60 A"][..]),
        (add("a A 192.0.2.1"), &[], &[]),
        (
            add("a 99 A 192.0.2.1"),
            &["a.example. 60 A", "a.example. 60 A"],
            &["a.example. 99 A", "a.example. 99 A"],
        ),
        (add("a CNAME b"), &[], &[]),
        (add("c A 192.0.2.1"), &[], &[]),
        (
            add("c CNAME b"),
            &["c.example. 60 CNAME"],
            &["c.example. 60 CNAME"],
        ),
        (add("b SOA ns post 9 2 3 4 5"), &[], &[]),
        (add("@ SOA ns post 0 2 3 4 5"), &[], &[]),
        (
            add("@ SOA ns post 9 2 3 4 5"),
            &["example. 60 SOA"],
            &["example. 60 SOA"],
        ),
        (delete("a A 192.0.2.1"), &["a.example. 60 A"], &[]),
        (delete("a A 192.0.2.9"), &[], &[]),
        (delete("c CNAME A"), &["c.example. 60 CNAME"], &[]),
        (delete("@ NS ns.other."), &[], &[]),
        (
            Change::DeleteSet(owner("a.example"), RecordType::A),
            &["a.example. 60 A", "a.example. 60 A"],
            &[],
        ),
        (
            Change::DeleteSet(owner("example"), RecordType::SOA),
            &[],
            &[],
        ),
        (Change::DeleteName(owner("example")), &[], &[]),
        (
            Change::DeleteName(owner("a.example")),
            &["a.example. 60 A", "a.example. 60 A"],
            &[],
        ),
    ] {
        let mut work = Work::new(&zone);
        work.change(&change);
        let (gone, new) = work.difference();
        assert_eq!(shown(&gone), removed, "{change:?}");
        assert_eq!(shown(&new), added, "{change:?}");
    }
}

/// RFC 2136 section 3.2.5.
#[test]
fn prerequisites_are_those_of_the_rfc() {
    let zone = zone(1, &["a A 192.0.2.1", "a A 192.0.2.2"]);
    let work = Work::new(&zone);
    let (a, b) = (
        name("a.example").wire().to_vec(),
        name("b.example").wire().to_vec(),
    );
    let has = |last| Prerequisite::Has(a.clone(), RecordType::A, vec![192, 0, 2, last]);
    for (prerequisites, result) in [
        (vec![Prerequisite::NameInUse(a.clone())], Ok(())),
        (
            vec![Prerequisite::NameInUse(b.clone())],
            Err(Rcode::NXDOMAIN),
        ),
        (vec![Prerequisite::NameNotInUse(b.clone())], Ok(())),
        (
            vec![Prerequisite::NameNotInUse(a.clone())],
            Err(Rcode::YXDOMAIN),
        ),
        (
            vec![Prerequisite::SetExists(a.clone(), RecordType::A)],
            Ok(()),
        ),
        (
            vec![Prerequisite::SetExists(a.clone(), RecordType::MX)],
            Err(Rcode::NXRRSET),
        ),
        (
            vec![Prerequisite::SetDoesNotExist(a.clone(), RecordType::MX)],
            Ok(()),
        ),
        (
            vec![Prerequisite::SetDoesNotExist(a.clone(), RecordType::A)],
            Err(Rcode::YXRRSET),
        ),
        (vec![has(1), has(2)], Ok(())),
        (vec![has(1)], Err(Rcode::NXRRSET)),
        (vec![has(1), has(3)], Err(Rcode::NXRRSET)),
        (vec![has(1), has(2), has(3)], Err(Rcode::NXRRSET)),
    ] {
        let update = Update {
            prerequisites,
            ..Update::default()
        };
        assert_eq!(work.check(&update), result, "{update:?}");
    }
}

/// A message with one prerequisite or one change: owner, class, TTL, type, RDATA.
fn message(section: usize, owner: &str, class: u16, ttl: u32, rtype: u16, rdata: &[u8]) -> Vec<u8> {
    let mut octets = vec![0, 1, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets[7 + 2 * section] = 1;
    octets.extend(apex().wire());
    octets.extend([0, 6, 0, 1]);
    octets.extend(name(owner).wire());
    octets.extend(rtype.to_be_bytes());
    octets.extend(class.to_be_bytes());
    octets.extend(ttl.to_be_bytes());
    octets.extend((rdata.len() as u16).to_be_bytes());
    octets.extend(rdata);
    octets
}

/// RFC 2136 sections 3.2 and 3.4.1.
#[test]
fn messages_that_break_the_rules_are_refused_whole() {
    const ANY: u16 = 255;
    const NONE: u16 = 254;
    let a = [192, 0, 2, 1];
    for (octets, result) in [
        (message(0, "a.example", ANY, 0, 1, &[]), Ok((1, 0))),
        (message(0, "a.example", ANY, 1, 1, &[]), Err(Rcode::FORMERR)),
        (message(0, "a.example", ANY, 0, 1, &a), Err(Rcode::FORMERR)),
        (message(0, "a.test", ANY, 0, 1, &[]), Err(Rcode::NOTZONE)),
        (message(0, "a.example", 3, 0, 1, &a), Err(Rcode::FORMERR)),
        (
            message(0, "a.example", ANY, 0, 252, &[]),
            Err(Rcode::FORMERR),
        ),
        (message(1, "a.example", 1, 9, 1, &a), Ok((0, 1))),
        (
            message(1, "a.example", 1, 9, 1, &a[1..]),
            Err(Rcode::FORMERR),
        ),
        (message(1, "a.example", 1, 9, 1, &[]), Err(Rcode::FORMERR)),
        (message(1, "a.example", 1, 9, 16, b"\x03abc"), Ok((0, 1))),
        (
            message(1, "a.example", 1, 9, 16, b"\x04abc"),
            Err(Rcode::FORMERR),
        ),
        // CAA and DS records that nobody can read, and HTTPS and unknown ones.
        (message(1, "a.example", 1, 9, 257, &[]), Err(Rcode::FORMERR)),
        (
            message(1, "a.example", 1, 9, 257, b"\0\x05issueca"),
            Ok((0, 1)),
        ),
        (message(1, "a.example", 1, 9, 43, &a), Err(Rcode::FORMERR)),
        (
            message(1, "a.example", 1, 9, 43, &[a, a].concat()),
            Ok((0, 1)),
        ),
        (message(1, "a.example", 1, 9, 65, b"\0\x01\0"), Ok((0, 1))),
        (message(1, "a.example", 1, 9, 65400, &[]), Ok((0, 1))),
        (message(1, "a.example", 1, 9, 255, &a), Err(Rcode::FORMERR)),
        (message(1, "a.example", 1, 9, 41, &[]), Err(Rcode::FORMERR)),
        (message(1, "a.example", ANY, 0, 255, &[]), Ok((0, 1))),
        (message(1, "a.example", ANY, 0, 2, &[]), Ok((0, 1))),
        (message(1, "a.example", ANY, 1, 2, &[]), Err(Rcode::FORMERR)),
        (message(1, "a.example", NONE, 0, 1, &a), Ok((0, 1))),
        (
            message(1, "a.example", NONE, 0, 255, &a),
            Err(Rcode::FORMERR),
        ),
        (message(1, "other", 1, 9, 1, &a), Err(Rcode::NOTZONE)),
    ] {
        let got =
            read(&octets, &apex()).map(|update| (update.prerequisites.len(), update.changes.len()));
        assert_eq!(got, result, "{octets:02x?}");
        for length in 12..octets.len() {
            let _ = read(&octets[..length], &apex());
        }
    }
}

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("corten-update-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(number: u32) -> Entry {
    let record = RecordBuf {
        owner: name("a.example").wire().into(),
        rtype: RecordType::TXT,
        ttl: number,
        rdata: Box::from(*b"\x01x"),
    };
    Entry {
        whole: number == 3,
        base: 1,
        serial: number,
        removed: vec![record.clone(); number as usize % 2],
        added: vec![(record, u64::from(number))],
    }
}

#[test]
fn a_journal_cut_anywhere_has_what_was_whole() {
    let folder = Folder::new("cut");
    let path = folder.0.join("z.journal");
    let mut ends = Vec::new();
    let mut journal = Journal::open(&path, apex().wire()).unwrap().journal;
    ends.push(journal.octets() as usize);
    for number in 1..=3 {
        journal.append(&[&entry(number)]).unwrap();
        ends.push(journal.octets() as usize);
    }
    let octets = fs::read(&path).unwrap();
    assert_eq!(octets.len(), ends[3]);
    for length in 0..=octets.len() {
        fs::write(&path, &octets[..length]).unwrap();
        let opened = Journal::open(&path, apex().wire()).unwrap();
        let whole = ends
            .iter()
            .filter(|end| **end <= length)
            .count()
            .saturating_sub(1);
        let expected: Vec<_> = (1..=whole as u32).map(entry).collect();
        assert_eq!(opened.entries, expected, "{length}");
        assert!(opened.damaged == 0 || opened.is_cut, "{length}");
        // It goes on from there.
        let mut journal = opened.journal;
        journal.append(&[&entry(9)]).unwrap();
        let again = Journal::open(&path, apex().wire()).unwrap();
        assert_eq!((again.entries.len(), again.damaged), (whole + 1, 0));
    }
    let mut flipped = octets.clone();
    flipped[ends[1] + 20] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let opened = Journal::open(&path, apex().wire()).unwrap();
    assert_eq!(opened.entries.len(), 1);
    assert_eq!(opened.damaged as usize, octets.len() - ends[1]);
    assert!(!opened.is_cut, "there are whole ones behind it");
    assert_eq!(
        fs::read(path.with_extension("damaged")).unwrap(),
        flipped[ends[1]..]
    );
    assert!(
        Journal::open(&path, name("other").wire()).is_err(),
        "another zone's"
    );
}

struct Anything;

impl Judge for Anything {
    fn allows(&self, _: &Work<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn expires(&self, record: &RecordBuf) -> u64 {
        match record.rtype {
            RecordType::TXT => 100,
            _ => 0,
        }
    }
}

fn served(slot: &Slot) -> (u32, Vec<String>) {
    let zone = slot.zone().unwrap();
    let records: Vec<_> = zone
        .records()
        .skip(1)
        .map(|record| record.to_owned())
        .collect();
    (zone.soa().serial, shown(&records))
}

#[test]
fn what_updates_made_outlives_the_process_and_the_file() {
    let folder = Folder::new("store");
    let path = folder.0.join("z.journal");
    let slot = Arc::new(Slot::new(apex().wire()));
    slot.set(zone(5, &["a A 192.0.2.1", "b A 192.0.2.1"]));
    let store = Arc::new(Store::open(&path, &apex()).unwrap());
    let owner = Owner::new();
    assert!(store.attach(&slot, &owner));
    assert_eq!(served(&slot).0, 5, "nothing was updated");
    let commit = |change| store.commit(update(vec![change]), Anything).unwrap();
    assert_eq!(commit(add("c A 192.0.2.1")), Some(6));
    assert_eq!(commit(add("c A 192.0.2.1")), None, "it is there");
    assert_eq!(commit(delete("a A 192.0.2.1")), Some(7));
    assert_eq!(commit(add("t TXT x")), Some(8));
    let now = [
        "b.example. 60 A",
        "c.example. 60 A",
        "example. 60 NS",
        "t.example. 60 TXT",
    ];
    assert_eq!(served(&slot), (8, now.map(str::to_owned).to_vec()));
    assert!(matches!(slot.since(5), History::Deltas(deltas) if deltas.len() == 3));

    // The same file after a restart.
    let restarted = |serial, records: &[&str]| {
        let slot = Arc::new(Slot::new(apex().wire()));
        slot.set(zone(serial, records));
        let store = Arc::new(Store::open(&path, &apex()).unwrap());
        assert!(store.attach(&slot, &Owner::new()));
        (store, slot)
    };
    let (again, other) = restarted(5, &["a A 192.0.2.1", "b A 192.0.2.1"]);
    assert_eq!(served(&other), served(&slot));
    drop(again);

    // A new version of the file, older than what was served.
    slot.set(zone(6, &["a A 192.0.2.1", "d A 192.0.2.1"]));
    let now = [
        "c.example. 60 A",
        "d.example. 60 A",
        "example. 60 NS",
        "t.example. 60 TXT",
    ];
    assert_eq!(served(&slot), (9, now.map(str::to_owned).to_vec()));
    // And one that is newer.
    slot.set(zone(50, &["a A 192.0.2.1", "d A 192.0.2.1"]));
    assert_eq!(served(&slot).0, 51);
    let (_, other) = restarted(50, &["a A 192.0.2.1", "d A 192.0.2.1"]);
    assert_eq!(served(&other), served(&slot));

    store.expire(99);
    assert_eq!(served(&slot).0, 51);
    store.expire(100);
    let now = ["c.example. 60 A", "d.example. 60 A", "example. 60 NS"];
    assert_eq!(served(&slot), (52, now.map(str::to_owned).to_vec()));

    store.write_back(&folder.0);
    let text = fs::read_to_string(folder.0.join("db.example")).unwrap();
    assert!(text.contains("c.example.\t60\tIN\tA\t192.0.2.1\n") && !text.contains("a.example"));
}
