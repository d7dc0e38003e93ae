//! A zone and the file that it comes from.
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use corten_plugin::corefile::go_duration;
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, SetupError};
use corten_zone::master::{self, Files, Loaded, Look, MasterError, MasterErrorKind};
use corten_zone::{Slot, Zone};

use crate::config::Config;

/// How often a file that changes while it is read for a new configuration is read once more, and when.
const CHANGED_MAX: usize = 10;
const CHANGED_PAUSE: Duration = Duration::from_millis(100);

/// One zone, as one configuration wants it.
pub(crate) struct Served {
    pub(crate) slot: Arc<Slot>,
    pub(crate) fallthrough: Fallthrough,
    pub(crate) reload: Duration,
    name: Name,
    path: Arc<Path>,
    by_mtime: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The files that the zone was read from.
    source: Option<Files>,
    /// The files as they were looked at last; the same need not be read again.
    seen: Option<Files>,
    /// The files as they were when they were found changed: whoever writes into them may not be done.
    changing: Option<Files>,
    /// Somebody had just written into the files when the zone was read from them: it may be a part.
    unsettled: bool,
    /// The mistake that was told last.
    told: Option<String>,
    /// A version that is put into a slot which the generation before serves from, once this one
    /// starts.
    fresh: Option<Arc<Zone>>,
}

impl Served {
    /// Reads the zone, or takes it over from the generation before if its files are as they were.
    pub(crate) fn new(
        config: &Config,
        name: &Name,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let before = before
            .filter(|before| before.slot.apex() == name.wire() && *before.path == *config.path);
        let slot = match before {
            Some(before) => Arc::clone(&before.slot),
            None => Arc::new(Slot::new(name.wire())),
        };
        let served = Self {
            slot,
            fallthrough: config.fallthrough.clone(),
            reload: config.reload,
            name: name.clone(),
            path: config.path.clone().into(),
            by_mtime: config.by_mtime,
            state: Mutex::default(),
        };
        let known = before.and_then(|before| {
            let state = before.state();
            Some((state.source.clone()?, state.unsettled))
        });
        match known.filter(|(files, _)| files.are_unchanged()) {
            Some((files, unsettled)) => {
                let mut state = served.state();
                (state.source, state.seen) = (Some(files.clone()), Some(files));
                state.unsettled = unsettled;
                drop(state);
            }
            None => served.read_first(before.is_some())?,
        }
        Ok(served)
    }

    /// Reads the file for a new configuration. One that is not there may come; one that is no zone is
    /// a mistake.
    fn read_first(&self, shared: bool) -> Result<(), SetupError> {
        let read = || master::read_file(&self.path, self.name.wire());
        let mut first = read();
        for _ in 0..CHANGED_MAX {
            if !first.as_ref().is_err_and(is_being_written) {
                break;
            }
            std::thread::sleep(CHANGED_PAUSE);
            first = read();
        }
        match first {
            Ok(loaded) => {
                warn(&loaded);
                let zone = Arc::new(loaded.zone);
                let mut state = self.state();
                state.unsettled = !loaded.files.are_settled(SystemTime::now());
                (state.source, state.seen) = (Some(loaded.files.clone()), Some(loaded.files));
                match shared {
                    true => state.fresh = Some(zone),
                    false => self.slot.set(zone),
                }
                Ok(())
            }
            Err(error) => match opened(&error) {
                Some(cause) if !self.reload.is_zero() => {
                    let (path, again) = (self.path.display(), go_duration(self.pause()));
                    tracing::warn!(
                        target: "plugin/file",
                        "Failed to open \"open {path}: {cause}\": trying again in {again}"
                    );
                    Ok(())
                }
                Some(cause) => Err(SetupError::new(format!(
                    "open {}: {cause}",
                    self.path.display()
                ))),
                None => Err(SetupError::new(error.to_string())),
            },
        }
    }

    /// The time to the next look.
    pub(crate) fn pause(&self) -> Duration {
        match self.slot.load().is_some() {
            true => self.reload,
            false => self.reload.min(Look::SOON),
        }
    }

    /// Puts in what was read while the generation before was serving.
    pub(crate) fn start(&self) {
        let fresh = self.state().fresh.take();
        if let Some(zone) = fresh {
            self.slot.set(zone);
        }
    }

    /// Looks at the file, and reads it if it is another and the same at two looks. Blocks.
    ///
    /// Nothing but a whole zone replaces the one that is served; what is in the way is told once.
    pub(crate) fn look(&self) -> Look {
        let mut state = self.state();
        if state.seen.as_ref().is_some_and(Files::are_unchanged) {
            state.changing = None;
            return Look::Done;
        }
        let now = match &state.seen {
            Some(files) => files.again(),
            None => Files::now([&*self.path]),
        };
        if state.changing.as_ref() != Some(&now) {
            state.changing = Some(now);
            return Look::Again;
        }
        state.changing = None;
        let before = Files::now([&*self.path]);
        match master::read_file(&self.path, self.name.wire()) {
            Ok(loaded) => self.take_up(loaded, &mut state),
            // Whoever writes into it will be done soon.
            Err(error) if is_being_written(&error) => return Look::Again,
            Err(error) => {
                // A mistake in an included file is looked for again.
                let included = *error.path != *self.path;
                state.seen = (!included).then_some(before);
                let told = Some(error.to_string());
                if state.told != told {
                    state.told = told;
                    self.complain(&error);
                }
            }
        }
        Look::Done
    }

    fn take_up(&self, loaded: Loaded, state: &mut State) {
        let (name, path, serial) = (&self.name, self.path.display(), loaded.zone.soa().serial);
        (state.seen, state.told) = (Some(loaded.files.clone()), None);
        if let Some(known) = self.slot.brought()
            && known.soa().serial == serial
            && !self.by_mtime
            && !(state.unsettled && loaded.zone.has_records_of(&known))
        {
            if !known.has_same_records(&loaded.zone) {
                tracing::warn!(
                    target: "plugin/file",
                    "Zone \"{name}\" in \"{path}\" has changed, but not its SOA serial {serial}: the zone as it was is served on"
                );
            }
            return;
        }
        warn(&loaded);
        state.unsettled = !loaded.files.are_settled(SystemTime::now());
        state.source = Some(loaded.files);
        self.slot.set(Arc::new(loaded.zone));
        tracing::info!(
            target: "plugin/file",
            "Successfully reloaded zone \"{name}\" in \"{path}\" with {serial} SOA serial"
        );
    }

    fn complain(&self, error: &MasterError) {
        let (name, path) = (&self.name, self.path.display());
        let known = self.slot.load().as_ref().map(|zone| zone.soa().serial);
        let goes_on = known.map_or_else(String::new, |serial| {
            format!("; the zone with SOA serial {serial} is served on")
        });
        match opened(error) {
            Some(cause) => tracing::error!(
                target: "plugin/file",
                "Failed to open zone \"{name}\" in \"{path}\": open {path}: {cause}{goes_on}"
            ),
            None => tracing::error!(
                target: "plugin/file",
                "Parsing zone \"{name}\": {error}{goes_on}"
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_being_written(error: &MasterError) -> bool {
    matches!(error.what, MasterErrorKind::Changed)
}

/// Tells what the author of a zone should know.
fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings.first {
        tracing::warn!(target: "plugin/file", "{warning}");
    }
    if loaded.warnings.more > 0 {
        tracing::warn!(target: "plugin/file", "and {} more of that kind", loaded.warnings.more);
    }
}

/// Why the zone's own file could not be opened, if that is what is wrong; in Go's words, which people
/// search for.
fn opened(error: &MasterError) -> Option<String> {
    let MasterErrorKind::Open { error } = &error.what else {
        return None;
    };
    Some(match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A zone file of one test, gone with it.
    struct ZoneFile(PathBuf);

    impl ZoneFile {
        fn new(name: &str) -> Self {
            let name = format!("corten-file-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        /// Writes the zone, or what there is of it.
        fn write(&self, serial: u32, rest: &str) {
            let text = format!("@ 60 IN SOA ns post {serial} 2 3 4 5\n@ NS ns.other.\n{rest}");
            fs::write(&self.0, text).unwrap();
        }

        fn served(&self) -> Served {
            let name: Name = "example".parse().unwrap();
            let config = Config {
                path: self.0.clone(),
                zones: vec![name.clone()],
                reload: Duration::from_secs(1),
                by_mtime: false,
                fallthrough: Fallthrough::None,
            };
            Served::new(&config, &name, None).unwrap()
        }
    }

    impl Drop for ZoneFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// Serial and number of records.
    fn zone(served: &Served) -> (u32, usize) {
        let zone = served.slot.zone().unwrap();
        (zone.soa().serial, zone.records().count())
    }

    #[test]
    fn a_file_that_is_not_there_is_looked_for_soon() {
        let file = ZoneFile::new("missing");
        let config = Config {
            path: file.0.clone(),
            zones: Vec::new(),
            reload: Duration::from_secs(60),
            by_mtime: false,
            fallthrough: Fallthrough::None,
        };
        let served = Served::new(&config, &"example".parse().unwrap(), None).unwrap();
        assert_eq!(served.pause(), Look::SOON);
        file.write(1, "");
        while served.look() == Look::Again {}
        assert_eq!(zone(&served), (1, 2));
        assert_eq!(served.pause(), Duration::from_secs(60));
    }

    #[test]
    fn a_zone_is_replaced_when_its_file_is_left_alone() {
        let file = ZoneFile::new("alone");
        file.write(1, "www A 192.0.2.1\n");
        let served = file.served();
        assert_eq!(served.look(), Look::Done);
        file.write(2, "");
        assert_eq!(served.look(), Look::Again);
        file.write(2, "www A 192.0.2.1\n");
        assert_eq!(served.look(), Look::Again);
        assert_eq!(zone(&served), (1, 3));
        assert_eq!(served.look(), Look::Done);
        assert_eq!(zone(&served), (2, 3));
    }

    #[test]
    fn what_was_read_while_it_was_written_is_completed_whatever_its_serial() {
        let file = ZoneFile::new("part");
        file.write(1, "www A 192.0.2.1\n");
        let served = file.served();
        let look = || while served.look() == Look::Again {};
        file.write(1, "www A 192.0.2.1\nftp A 192.0.2.2\n");
        look();
        assert_eq!(zone(&served), (1, 4), "the rest came");
        file.write(1, "www A 192.0.2.9\nftp A 192.0.2.2\nmail A 192.0.2.3\n");
        look();
        assert_eq!(
            zone(&served),
            (1, 4),
            "it is another zone with the same serial"
        );
        let old = fs::File::options().append(true).open(&file.0).unwrap();
        old.set_modified(SystemTime::now() - Duration::from_secs(60))
            .unwrap();
        let served = file.served();
        file.write(
            1,
            "www A 192.0.2.9\nftp A 192.0.2.2\nmail A 192.0.2.3\nnew A 192.0.2.4\n",
        );
        while served.look() == Look::Again {}
        assert_eq!(zone(&served), (1, 5), "the file was whole");
    }
}
