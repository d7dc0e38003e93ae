//! The zones that are served, and how they follow the folder.
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use corten_plugin::ZoneLabels;
use corten_plugin::wire::Name;
use corten_zone::master::{
    FileVersion, Files, Loaded, Look, MasterErrorKind, WarningKind, read_file,
};
use corten_zone::{Catalogue, Listener, Slot};
use corten_zone_answer::ZoneTable;

use crate::config::Config;
use crate::walk::{Found, walk};

/// The zones of one directive.
pub(crate) struct Served {
    pub(crate) config: Config,
    /// What queries are answered from.
    pub(crate) table: ArcSwap<ZoneTable>,
    pub(crate) labels: Arc<ZoneLabels>,
    state: Mutex<State>,
}

/// What one look leaves to the next.
#[derive(Default)]
struct State {
    /// There was a look before.
    looked: bool,
    /// The last look saw the whole folder.
    complete: bool,
    known: HashMap<Box<[u8]>, Known>,
    /// Who wants to hear of new versions, also of zones that are not there yet.
    listeners: Vec<Weak<dyn Listener>>,
    /// Warnings of the last look, which are not repeated.
    told: HashSet<String>,
}

/// A file that was looked at.
#[derive(Clone)]
struct Known {
    /// As it was when it was read.
    found: Found,
    /// It and those that it includes, as they were then.
    files: Files,
    /// The same as they were when they were found changed: whoever writes into them may not be done.
    changing: Option<(FileVersion, Files)>,
    /// The zone; nothing while no version of the file was one.
    slot: Option<Arc<Slot>>,
    /// The version that is served was read from a file that nobody had just written into.
    settled: bool,
    complaints: Vec<String>,
}

impl Served {
    /// Nothing yet.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            table: ArcSwap::default(),
            labels: Arc::default(),
            state: Mutex::default(),
        }
    }

    /// Whether both look for the same files.
    pub(crate) fn has_files_of(&self, other: &Self) -> bool {
        self.config.directory == other.config.directory
            && self.config.origins.is(&other.config.origins)
    }

    /// Goes on with the zones of another one.
    pub(crate) fn take_over(&self, before: &Self) {
        let known = before.state().known.clone();
        self.state().known = known;
    }

    /// Looks at the folder and serves what is there; what came or changed after the first look, when
    /// it is the same at two. Reads files: not for the threads that answer queries.
    pub(crate) fn look(&self) -> Look {
        let Some(directory) = &self.config.directory else {
            return Look::Done;
        };
        let walked = walk(directory, &self.config.origins);
        let mut state = self.state();
        let mut told: HashSet<_> = walked.warnings.into_iter().collect();
        let mut present: HashSet<Box<[u8]>> = HashSet::new();
        let (mut changing, known_before) = (false, state.known.len());
        for found in walked.found {
            if !self.wants(&found.origin) {
                continue;
            }
            present.insert(found.origin.wire().into());
            let known = self.file(&mut state, found);
            told.extend(known.complaints.iter().cloned());
            changing |= known.changing.is_some();
        }
        let complete = !walked.incomplete && !state.complete;
        (state.looked, state.complete) = (true, !walked.incomplete);
        let came = state.known.len() != known_before;
        let known = state.known.len();
        state.known.retain(|origin, known| {
            let stays = present.contains(origin) || walked.incomplete;
            if !stays && known.slot.is_some() {
                tracing::info!(target: "plugin/auto", "Deleting zone `{}'", known.found.origin);
            }
            stays
        });
        for warning in told.difference(&state.told) {
            tracing::warn!(target: "plugin/auto", "{warning}");
        }
        state.told = told;
        let went = state.known.len() != known;
        self.publish(&state);
        let listeners: Vec<_> = match came || went || complete {
            true => state.listeners.iter().filter_map(Weak::upgrade).collect(),
            false => Vec::new(),
        };
        drop(state);
        for listener in listeners {
            listener.listed();
        }
        match changing {
            true => Look::Again,
            false => Look::Done,
        }
    }

    /// Whether queries can be for the zone: it is in one of the directive's, or one of those in it.
    fn wants(&self, origin: &Name) -> bool {
        let mut zones = self.config.zones.names().iter();
        zones.any(|zone| origin.is_in(zone) || zone.is_in(origin))
    }

    /// Follows one file.
    fn file<'s>(&self, state: &'s mut State, found: Found) -> &'s Known {
        let listeners = &state.listeners;
        let known = match state.known.entry(found.origin.wire().into()) {
            Entry::Occupied(known) => {
                let known = known.into_mut();
                let same = known.found.version == found.version && known.found.path == found.path;
                if same && known.changing.is_none() && known.files.are_unchanged() {
                    return known;
                }
                known
            }
            Entry::Vacant(place) => place.insert(Known {
                found: found.clone(),
                files: Files::default(),
                changing: None,
                slot: None,
                settled: false,
                complaints: Vec::new(),
            }),
        };
        if state.looked {
            let now = (found.version, known.files.again());
            if known.changing.as_ref() != Some(&now) {
                known.changing = Some(now);
                return known;
            }
        }
        known.changing = None;
        let settled = found.version.is_settled(SystemTime::now());
        known.complaints = match read_file(&found.path, found.origin.wire()) {
            Ok(loaded) => known.version(loaded, &found, settled, listeners),
            // Whoever writes into it will be done soon.
            Err(error) if matches!(error.what, MasterErrorKind::Changed) => {
                known.changing = Some((found.version, known.files.again()));
                return known;
            }
            Err(error) => {
                known.files = Files::now([&*found.path, &*error.path]);
                vec![format!("Parse zone `{}': {error}", found.origin)]
            }
        };
        known.found = found;
        known
    }

    /// Has queries answered from the zones that are known.
    fn publish(&self, state: &State) {
        let slots = state.known.values().filter_map(|known| known.slot.clone());
        let table = ZoneTable::new(slots);
        let before = self.table.load();
        let same = before.slots().len() == table.slots().len()
            && table.slots().iter().all(|slot| {
                let old = before.get(slot.apex());
                old.is_some_and(|old| Arc::ptr_eq(old, slot))
            });
        if same {
            return;
        }
        let served = state.known.values().filter(|known| known.slot.is_some());
        self.labels
            .set(served.map(|known| known.found.origin.clone()));
        self.table.store(Arc::new(table));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Takes a version that was read; returns what there is to complain of.
    fn version(
        &mut self,
        loaded: Loaded,
        found: &Found,
        settled: bool,
        listeners: &[Weak<dyn Listener>],
    ) -> Vec<String> {
        let Loaded {
            zone,
            warnings,
            files,
        } = loaded;
        self.files = files;
        let mut complaints: Vec<_> = warnings.first.iter().map(ToString::to_string).collect();
        if warnings.more > 0 {
            complaints.push(format!(
                "{}: and {} more",
                found.path.display(),
                warnings.more
            ));
        }
        let cut_short = warnings
            .first
            .iter()
            .any(|warning| warning.what == WarningKind::CutShort);
        if cut_short && !settled {
            // Whoever writes is not done, or will be taken to be when nothing more has come for a while.
            self.changing = Some((found.version, self.files.clone()));
            return complaints;
        }
        let serial = zone.soa().serial;
        let (origin, path) = (&found.origin, found.path.display());
        let Some(slot) = &self.slot else {
            let slot = Arc::new(Slot::new(origin.wire()));
            for listener in listeners.iter().filter_map(Weak::upgrade) {
                slot.listen(&listener);
            }
            slot.set(Arc::new(zone));
            self.slot = Some(slot);
            self.settled = settled;
            tracing::info!(target: "plugin/auto", "Inserting zone `{origin}' from: {path}");
            return complaints;
        };
        let served = slot.brought().map(|zone| zone.soa().serial);
        // A file read while it was written may have been a zone by chance: then the whole of it has
        // the same serial.
        if served != Some(serial) || !self.settled {
            slot.set(Arc::new(zone));
            if served != Some(serial) {
                tracing::info!(
                    target: "plugin/auto",
                    "Successfully reloaded zone \"{origin}\" in \"{path}\" with {serial} SOA serial"
                );
            }
        }
        self.settled = settled;
        complaints
    }
}

impl Catalogue for Served {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.table.load().slots().to_vec()
    }

    fn slot(&self, apex: &[u8]) -> Option<Arc<Slot>> {
        self.table.load().get(apex).cloned()
    }

    /// Every file counts, also one that is no zone now: it was one, or will be.
    fn apexes(&self) -> Option<Vec<Box<[u8]>>> {
        let state = self.state();
        let known = state.known.keys().cloned();
        (state.complete || self.config.directory.is_none()).then(|| known.collect())
    }

    fn listen(&self, listener: &Arc<dyn Listener>) {
        let mut state = self.state();
        state.listeners.retain(|known| known.strong_count() > 0);
        state.listeners.push(Arc::downgrade(listener));
        for slot in state.known.values().filter_map(|known| known.slot.as_ref()) {
            slot.listen(listener);
        }
    }
}

#[cfg(test)]
mod tests {
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
            let path =
                std::env::temp_dir().join(format!("corten-auto-{name}-{}", std::process::id()));
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
}
