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
    /// The last look did not see the file: whoever replaces it may be about to put another in its place.
    missing: bool,
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

    /// Looks at the folder and serves what is there; what came, changed or went after the first look, when
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
            known.missing = false;
            told.extend(known.complaints.iter().cloned());
            changing |= known.changing.is_some();
        }
        let complete = !walked.incomplete && !state.complete;
        let looked = state.looked;
        (state.looked, state.complete) = (true, !walked.incomplete);
        let came = state.known.len() != known_before;
        let known = state.known.len();
        state.known.retain(|origin, known| {
            let there = present.contains(origin) || walked.incomplete;
            let again = looked && !there && !known.missing;
            known.missing |= !there;
            changing |= again;
            let stays = there || again;
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
    fn file<'s>(&self, state: &'s mut State, found: Found) -> &'s mut Known {
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
                missing: false,
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
mod tests;
