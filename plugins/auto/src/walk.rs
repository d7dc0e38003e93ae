//! What is in the folder.
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use corten_plugin::wire::Name;
use corten_zone::master::FileVersion;

use crate::config::Origins;

/// Folders in folders, at most.
const DEPTH_MAX: usize = 32;
/// Files and folders that are looked at, at most.
const ENTRIES_MAX: usize = 1_000_000;

/// A file that holds a zone.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) origin: Name,
    pub(crate) path: PathBuf,
    pub(crate) version: FileVersion,
}

/// What one look at the folder found.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// In the order of their paths; one for each origin.
    pub(crate) found: Vec<Found>,
    /// What was odd.
    pub(crate) warnings: Vec<String>,
    /// Something could not be read: what was not found may be there all the same.
    pub(crate) incomplete: bool,
    by_origin: HashMap<Box<[u8]>, usize>,
    entries: usize,
}

/// Looks at a folder and those below it, in the order of names. Links to files are followed, and the
/// folder itself may be a link.
pub(crate) fn walk(directory: &Path, origins: &Origins) -> Walked {
    let mut walked = Walked::default();
    let root = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    walked.folder(&root, origins, 0);
    walked
}

impl Walked {
    fn folder(&mut self, folder: &Path, origins: &Origins, depth: usize) {
        let listed = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(folder, &error.to_string()),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return self.unreadable(folder, "there are too many files");
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => {
                    self.folder(&path, origins, depth + 1);
                }
                Ok(kind) if kind.is_dir() => self.unreadable(&path, "it is too deep"),
                Ok(_) => self.file(path, &entry.file_name().to_string_lossy(), origins),
                Err(error) => self.unreadable(&path, &error.to_string()),
            }
        }
    }

    fn file(&mut self, path: PathBuf, name: &str, origins: &Origins) {
        let origin = match origins.of(name) {
            None => return,
            Some(Ok(origin)) => origin,
            Some(Err(text)) => {
                let warning = format!("{}: '{text}' is not the name of a zone", path.display());
                return self.warnings.push(warning);
            }
        };
        // A link that leads nowhere, or a file that went meanwhile.
        let Some(version) = FileVersion::of(&path) else {
            return;
        };
        let first = self.by_origin.get(origin.wire());
        if let Some(first) = first.and_then(|at| self.found.get(*at)) {
            if !first.version.is_same_file(&version) {
                self.warnings.push(format!(
                    "Multiple zone files match origin \"{origin}\": using \"{}\" instead of \"{}\"",
                    first.path.display(),
                    path.display()
                ));
            }
            return;
        }
        self.by_origin
            .insert(origin.wire().into(), self.found.len());
        self.found.push(Found {
            origin,
            path,
            version,
        });
    }

    fn unreadable(&mut self, path: &Path, why: &str) {
        self.incomplete = true;
        self.warnings
            .push(format!("error reading {}: {why}", path.display()));
    }
}
