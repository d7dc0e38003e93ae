//! The files that a zone was read from, as they were.
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A file that changed less than this ago may still be being written.
const SETTLED: Duration = Duration::from_secs(5);

/// Files, each with what tells a changed one from an unchanged one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(Arc<Path>, Option<FileVersion>)>);

/// What tells one version of a file from another: which file it is, for editors put another in its
/// place, its size, and when its content and what the file system knows of it changed. The last cannot be
/// set back, as the one before is by whoever copies a file with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    file: (u64, u64),
    octets: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// What a look at zone files says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is nothing more to see for now.
    Done,
    /// A file has changed, and may be about to change more.
    Again,
}

impl Look {
    /// The longest time to the look after [`Self::Again`].
    pub const SOON: Duration = Duration::from_secs(1);

    /// The time to that look where there is one every `reload`.
    pub fn soon(reload: Duration) -> Duration {
        (reload / 2).min(Self::SOON)
    }
}

impl FileVersion {
    /// Of the file that a path leads to, links followed; nothing if it leads nowhere.
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|about| Self::known(&about))
    }

    pub(super) fn known(about: &Metadata) -> Self {
        Self {
            file: (about.dev(), about.ino()),
            octets: about.len(),
            written: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether nobody has written into the file for a while, as far as its time can tell: one in the
    /// future cannot.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let written = Duration::from_secs(u64::try_from(self.written.0).unwrap_or(0));
        now.abs_diff(written) > SETTLED
    }

    /// Whether both are the same file, whatever is in it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Files {
    /// These files as they are now; one that is not there counts as such.
    pub fn now<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let version = |path: &'p Path| (path.into(), FileVersion::of(path));
        Self(paths.into_iter().map(version).collect())
    }

    /// The same files as they are now.
    pub fn again(&self) -> Self {
        let version = |(path, _): &(Arc<Path>, _)| (Arc::clone(path), FileVersion::of(path));
        Self(self.0.iter().map(version).collect())
    }

    pub(super) fn push(&mut self, path: &Arc<Path>, about: &Metadata) {
        let version = FileVersion::known(about);
        self.0.push((Arc::clone(path), Some(version)));
    }

    /// Whether all of them are still as they were. Asks the file system.
    pub fn are_unchanged(&self) -> bool {
        self.changed().is_none()
    }

    /// One that is no longer as it was.
    pub(super) fn changed(&self) -> Option<&Arc<Path>> {
        let same = |(path, known): &&(Arc<Path>, _)| FileVersion::of(path) == *known;
        self.0.iter().find(|file| !same(file)).map(|(path, _)| path)
    }

    /// Whether nobody has written into one of them for a while.
    pub fn are_settled(&self, now: SystemTime) -> bool {
        let mut versions = self.0.iter().filter_map(|(_, version)| version.as_ref());
        versions.all(|version| version.is_settled(now))
    }
}
