//! The files that a zone was read from, as they were.
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Files, each with what tells a changed one from an unchanged one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(Arc<Path>, Option<Version>)>);

/// Size, time of change, and which file it is: editors put another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    octets: u64,
    changed: (i64, i64),
    file: (u64, u64),
}

impl Version {
    pub(super) fn of(about: &Metadata) -> Self {
        Self {
            octets: about.len(),
            changed: (about.mtime(), about.mtime_nsec()),
            file: (about.dev(), about.ino()),
        }
    }
}

impl Files {
    /// These files as they are now; one that is not there counts as such.
    pub fn now<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        Self(
            paths
                .into_iter()
                .map(|path| (path.into(), version(path)))
                .collect(),
        )
    }

    pub(super) fn push(&mut self, path: &Arc<Path>, about: &Metadata) {
        self.0.push((Arc::clone(path), Some(Version::of(about))));
    }

    /// Whether all of them are still as they were. Asks the file system.
    pub fn are_unchanged(&self) -> bool {
        self.0.iter().all(|(path, known)| version(path) == *known)
    }
}

fn version(path: &Path) -> Option<Version> {
    fs::metadata(path).ok().map(|about| Version::of(&about))
}
