//! One zone: looked at again and again, signed when it is time.
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corten_dnssec::zone::{self, Plan, SignZoneError};
use corten_plugin::unix_seconds;
use corten_wire::text::write::write as write_record;
use corten_zone::Zone;
use corten_zone::master::{self, Files, MasterError};

use crate::config::Config;
use crate::when::{Before, Jitter, Moment, Why};

/// Time between two looks at the signatures.
pub(crate) const REFRESH: Duration = Duration::from_secs(5 * 3_600);

/// A zone that is kept signed.
pub(crate) struct Signer {
    config: Config,
    jitter: Jitter,
    /// What the zone was read from last, whether it could be signed or not.
    seen: Option<Files>,
}

/// Why a zone was not signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error(transparent)]
    Sign(#[from] SignZoneError),
}

fn now() -> i64 {
    unix_seconds().cast_signed()
}

impl Signer {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            jitter: Jitter::random(),
            seen: None,
        }
    }

    /// The first look: signs the zone unless its signatures are good. Blocks.
    pub(crate) fn begin(&mut self) {
        let Config { origin, .. } = &self.config;
        match self.why() {
            Some(why) => self.sign(&why),
            None => {
                tracing::info!(
                    target: "plugin/sign",
                    "Skipping signing zone \"{origin}\" in {:?}: signatures are valid",
                    self.config.signed()
                );
                self.seen = Some(Files::now([self.config.source.as_path()]));
            }
        }
    }

    /// Looks at the signatures, and signs the zone if it is time. Blocks.
    pub(crate) fn refresh(&mut self) {
        if let Some(why) = self.why() {
            self.sign(&why);
        }
    }

    /// Signs the zone if its file is another one than the last that was looked at. Blocks.
    pub(crate) fn look(&mut self) {
        let changed = self.seen.as_ref().is_none_or(|seen| !seen.are_unchanged());
        if changed && self.config.source.exists() {
            self.sign(&Why::Changed);
        }
    }

    fn why(&self) -> Option<Why> {
        let (config, signed) = (&self.config, self.config.signed());
        let before = match Before::read(&signed, &config.origin) {
            Ok(before) => before,
            Err(error) => return Some(Why::File(error)),
        };
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let newer = modified(&config.source) > modified(&signed);
        before
            .why(&config.keys, (config.denial, config.digest), now())
            .or_else(|| newer.then_some(Why::Changed))
    }

    fn sign(&mut self, why: &Why) {
        let (started, now) = (Instant::now(), now());
        let signed = self.config.signed();
        let origin = self.config.origin.clone();
        let next = Moment(now + REFRESH.as_secs().cast_signed());
        tracing::info!(target: "plugin/sign", "Signing \"{origin}\" because {why}");
        let tags: Vec<_> = self
            .config
            .keys
            .iter()
            .map(|key| key.public().tag().to_string())
            .collect();
        let tags = tags.join(",");
        // Taken before the file is read: a later change is seen.
        self.seen = Some(Files::now([self.config.source.as_path()]));
        let zone = match self.make(now) {
            Ok(zone) => zone,
            Err(error) => {
                return tracing::warn!(
                    target: "plugin/sign",
                    "Error signing \"{origin}\" with key tags \"{tags}\" in {:?}: {error}, next: {next}",
                    started.elapsed()
                );
            }
        };
        if let Err(error) = replace(&self.config.directory, &signed, &zone) {
            return tracing::warn!(
                target: "plugin/sign",
                "Error signing \"{origin}\": failed to move zone file into place: {error}"
            );
        }
        tracing::info!(
            target: "plugin/sign",
            "Successfully signed zone \"{origin}\" in {signed:?} with key tags \"{tags}\" and {} SOA serial, elapsed {:.6}, next: {next}",
            zone.soa().serial,
            started.elapsed().as_secs_f64()
        );
    }

    /// The signed zone, from the file as it is now.
    fn make(&mut self, now: i64) -> Result<Zone, SignError> {
        let config = &self.config;
        let loaded = master::read_file(&config.source, config.origin.wire())?;
        for warning in &loaded.warnings.first {
            tracing::warn!(target: "plugin/sign", "{warning}");
        }
        if loaded.warnings.more > 0 {
            tracing::warn!(target: "plugin/sign", "and {} more of that kind", loaded.warnings.more);
        }
        self.seen = Some(loaded.files);
        let before = Before::read(&config.signed(), &config.origin).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let plan = Plan {
            keys: &config.keys,
            validity: self.jitter.validity(now),
            serial: before.next_serial(now),
            denial: config.denial,
            digest: config.digest,
            // The others answer queries meanwhile.
            threads: cores.div_ceil(2),
        };
        Ok(zone::sign(&loaded.zone, &plan)?)
    }
}

/// Writes a zone beside its place and then moves it there: whoever reads it sees the old one or the new
/// one, whole.
fn replace(directory: &Path, place: &Path, zone: &Zone) -> io::Result<()> {
    let beside = Beside::new(directory)?;
    let mut out = BufWriter::new(&beside.file);
    let mut line = String::new();
    for record in zone.records() {
        line.clear();
        write_record(
            record.owner,
            record.rtype,
            record.ttl,
            record.rdata,
            &mut line,
        );
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    out.flush()?;
    drop(out);
    beside.file.sync_all()?;
    beside.move_to(place)?;
    // The new name survives a power cut as well; not every file system can be asked for that.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// A file that goes away unless it is moved.
struct Beside {
    file: File,
    path: PathBuf,
    moved: bool,
}

impl Beside {
    fn new(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("signed-{:016x}", rand::random::<u64>()));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::create_new(&path).map_err(named)?;
        Ok(Self {
            file,
            path,
            moved: false,
        })
    }

    fn move_to(mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.moved {
            let _ = fs::remove_file(&self.path);
        }
    }
}
