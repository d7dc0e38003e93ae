//! Zones follow their files.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use corten_plugin::Zones;
use regex::Regex;

use super::*;
use crate::config::Origins;

/// A folder of one test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("corten-auto-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("below")).unwrap();
        Self(path)
    }

    /// Writes the zone, or what there is of it.
    fn write(&self, file: &str, serial: u32, rest: &str) {
        let text = format!("@ 60 IN SOA ns post {serial} 2 3 4 5\n@ NS ns.other.\n{rest}");
        fs::write(self.0.join(file), text).unwrap();
    }

    /// Looks until what came is there, as long as it needs no time.
    fn look(served: &Served) {
        let _ = served.look();
        let _ = served.look();
    }

    fn served(&self) -> Served {
        Served::new(Config {
            zones: Zones::new(vec!["example".parse().unwrap()]),
            directory: Some(self.0.clone()),
            origins: Origins::new(Regex::new(r"db\.(.*)").unwrap(), "{1}"),
            reload: Duration::ZERO,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Zones with their serials and how many records they have.
fn zones(served: &Served) -> Vec<(String, u32, usize)> {
    let slots = Catalogue::slots(served);
    let mut zones: Vec<_> = slots
        .iter()
        .map(|slot| {
            let zone = slot.zone().unwrap();
            let name = Name::from_wire(slot.apex()).unwrap().to_string();
            (name, zone.soa().serial, zone.records().count())
        })
        .collect();
    zones.sort();
    zones
}

#[test]
fn zones_stay_while_the_folder_cannot_be_read() {
    let folder = Folder::new("stay");
    folder.write("db.a.example", 1, "");
    folder.write("below/db.b.example", 2, "");
    folder.write("below/db.other", 2, "");
    let served = folder.served();
    Folder::look(&served);
    let both = [
        ("a.example.".to_owned(), 1, 2),
        ("b.example.".to_owned(), 2, 2),
    ];
    assert_eq!(zones(&served), both, "the third is none of the directive's");
    let away = folder.0.with_extension("away");
    fs::rename(&folder.0, &away).unwrap();
    Folder::look(&served);
    assert_eq!(zones(&served), both);
    fs::rename(&away, &folder.0).unwrap();
    fs::remove_file(folder.0.join("db.a.example")).unwrap();
    Folder::look(&served);
    assert_eq!(zones(&served), both[1..]);
}

#[test]
fn a_file_that_is_being_written_is_not_served_before_it_is_whole() {
    let folder = Folder::new("whole");
    folder.write("db.a.example", 1, "www A 192.0.2.1\nftp A 192.0.2");
    let served = folder.served();
    Folder::look(&served);
    assert_eq!(zones(&served), [], "it is no zone");
    folder.write("db.a.example", 1, "www A 192.0.2.1\nftp A 192.0.2.2");
    Folder::look(&served);
    assert_eq!(zones(&served), [], "its last line does not end");
    assert_eq!(served.look(), Look::Again, "it may never do");
    folder.write("db.a.example", 1, "www A 192.0.2.1\nftp A 192.0.2.2\n");
    Folder::look(&served);
    assert_eq!(zones(&served), [("a.example.".to_owned(), 1, 4)]);
    folder.write(
        "db.a.example",
        1,
        "www A 192.0.2.1\nftp A 192.0.2.2\nmail A 192.0.2.3\n",
    );
    Folder::look(&served);
    assert_eq!(
        zones(&served),
        [("a.example.".to_owned(), 1, 5)],
        "the serial is the same, but the file was being written when it was read"
    );
}

#[test]
fn a_zone_is_replaced_when_its_file_is_left_alone() {
    let folder = Folder::new("alone");
    folder.write("db.a.example", 1, "www A 192.0.2.1\n");
    let served = folder.served();
    assert_eq!(served.look(), Look::Done, "at the start nothing is better");
    folder.write("db.a.example", 2, "");
    assert_eq!(served.look(), Look::Again);
    folder.write("db.a.example", 2, "www A 192.0.2.1\n");
    assert_eq!(served.look(), Look::Again);
    folder.write("db.b.example", 1, "");
    folder.write("db.a.example", 2, "www A 192.0.2.1\nftp A 192.0.2.2\n");
    assert_eq!(served.look(), Look::Again);
    assert_eq!(zones(&served), [("a.example.".to_owned(), 1, 3)]);
    assert_eq!(served.look(), Look::Done);
    let both = [
        ("a.example.".to_owned(), 2, 4),
        ("b.example.".to_owned(), 1, 2),
    ];
    assert_eq!(zones(&served), both);
}

/// As it does while a version control system replaces it.
#[test]
fn a_zone_whose_file_is_away_for_a_moment_stays() {
    let folder = Folder::new("moment");
    folder.write("db.a.example", 1, "");
    let served = folder.served();
    Folder::look(&served);
    let here = [("a.example.".to_owned(), 1, 2)];
    let (path, away) = (folder.0.join("db.a.example"), folder.0.join("away"));
    for _ in 0..2 {
        fs::rename(&path, &away).unwrap();
        assert_eq!(served.look(), Look::Again);
        assert_eq!(zones(&served), here);
        assert_eq!(
            served.apexes().unwrap().len(),
            1,
            "and so does the catalog's"
        );
        fs::rename(&away, &path).unwrap();
        Folder::look(&served);
        assert_eq!(zones(&served), here);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(served.look(), Look::Again);
    assert_eq!(served.look(), Look::Done);
    assert_eq!(zones(&served), []);
    // A new configuration begins with what is there.
    folder.write("db.a.example", 1, "");
    let next = folder.served();
    Folder::look(&served);
    next.take_over(&served);
    fs::remove_file(&path).unwrap();
    let _ = next.look();
    assert_eq!(zones(&next), []);
}

#[test]
fn a_version_with_the_same_serial_is_none() {
    let folder = Folder::new("serial");
    let path = folder.0.join("db.a.example");
    let long_ago = SystemTime::now() - Duration::from_secs(1_000);
    let age = |seconds| {
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(long_ago + Duration::from_secs(seconds))
            .unwrap();
    };
    folder.write("db.a.example", 1, "");
    age(1);
    let served = folder.served();
    Folder::look(&served);
    let slot = Catalogue::slot(&served, b"\x01a\x07example\x00").unwrap();
    folder.write("db.a.example", 1, "www A 192.0.2.1\n");
    age(2);
    Folder::look(&served);
    assert_eq!(zones(&served), [("a.example.".to_owned(), 1, 2)]);
    folder.write("db.a.example", 0, "www A 192.0.2.1\n");
    age(3);
    Folder::look(&served);
    assert_eq!(zones(&served), [("a.example.".to_owned(), 0, 3)]);
    assert_eq!(slot.zone().unwrap().soa().serial, 0, "it is the same slot");
}

#[test]
fn listeners_hear_of_zones_that_come() {
    struct Hears(Mutex<Vec<Box<[u8]>>>);

    impl Listener for Hears {
        fn changed(&self, slot: &Slot) {
            self.0.lock().unwrap().push(slot.apex().into());
        }
    }

    let folder = Folder::new("hear");
    folder.write("db.a.example", 1, "");
    let served = folder.served();
    Folder::look(&served);
    let hears = Arc::new(Hears(Mutex::default()));
    let listener: Arc<dyn Listener> = hears.clone();
    served.listen(&listener);
    folder.write("db.b.example", 1, "");
    folder.write("db.a.example", 2, "");
    Folder::look(&served);
    let mut heard = hears.0.lock().unwrap().clone();
    heard.sort();
    assert_eq!(
        heard,
        [
            (*b"\x01a\x07example\x00").into(),
            Box::from(*b"\x01b\x07example\x00")
        ] as [Box<[u8]>; 2]
    );
}
