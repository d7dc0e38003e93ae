//! A zone and the file that it comes from.
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corten_plugin::corefile::go_duration;
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, SetupError};
use corten_zone::master::{self, Files, Loaded, MasterError, MasterErrorKind};
use corten_zone::{Slot, Zone};

use crate::config::Config;

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
        let known = before.and_then(|before| before.state().source.clone());
        match known.filter(|files| files.are_unchanged()) {
            Some(files) => {
                let mut state = served.state();
                (state.source, state.seen) = (Some(files.clone()), Some(files));
                drop(state);
            }
            None => served.read_first(before.is_some())?,
        }
        Ok(served)
    }

    /// Reads the file for a new configuration. One that is not there may come; one that is no zone is
    /// a mistake.
    fn read_first(&self, shared: bool) -> Result<(), SetupError> {
        match master::read_file(&self.path, self.name.wire()) {
            Ok(loaded) => {
                warn(&loaded);
                let zone = Arc::new(loaded.zone);
                let mut state = self.state();
                (state.source, state.seen) = (Some(loaded.files.clone()), Some(loaded.files));
                match shared {
                    true => state.fresh = Some(zone),
                    false => self.slot.set(zone),
                }
                Ok(())
            }
            Err(error) => match opened(&error) {
                Some(cause) if !self.reload.is_zero() => {
                    let (path, again) = (self.path.display(), go_duration(self.reload));
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

    /// Puts in what was read while the generation before was serving.
    pub(crate) fn start(&self) {
        let fresh = self.state().fresh.take();
        if let Some(zone) = fresh {
            self.slot.set(zone);
        }
    }

    /// Looks at the file, and reads it if it is another. Blocks.
    ///
    /// Nothing but a whole zone replaces the one that is served; what is in the way is told once.
    pub(crate) fn look(&self) {
        let mut state = self.state();
        if state.seen.as_ref().is_some_and(Files::are_unchanged) {
            return;
        }
        let before = Files::now([&*self.path]);
        match master::read_file(&self.path, self.name.wire()) {
            Ok(loaded) => self.take_up(loaded, &mut state),
            // Whoever writes into it will be done soon.
            Err(MasterError {
                what: MasterErrorKind::Changed,
                ..
            }) => (),
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
    }

    fn take_up(&self, loaded: Loaded, state: &mut State) {
        let (name, path, serial) = (&self.name, self.path.display(), loaded.zone.soa().serial);
        (state.seen, state.told) = (Some(loaded.files.clone()), None);
        if let Some(known) = self.slot.brought()
            && known.soa().serial == serial
            && !self.by_mtime
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
