//! Folders that are this process's alone: two that write one journal would ruin it.
//!
//! Whose a folder is says a lock on a file in it (`flock`). The kernel takes the lock away when the process
//! ends, in whatever way; the file stays.
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::journal::make_folder;

/// The file that is locked.
const LOCK_FILE: &str = ".lock";

/// The folders that this process has: a service of it, so that a reload keeps them.
#[derive(Debug, Default)]
pub(crate) struct Folders(Mutex<HashMap<PathBuf, File>>);

/// Why a folder is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "{}: {} uses this folder; end it first, or give each server a folder of its own ('{option} DIR')",
        folder.display(), process(*.pid)
    )]
    Taken {
        folder: PathBuf,
        /// 0 where it did not say.
        pid: u32,
        /// What names the folder in a Corefile.
        option: &'static str,
    },
    #[error("{}: {error}", folder.display())]
    Io { folder: PathBuf, error: io::Error },
}

fn process(pid: u32) -> String {
    match pid {
        0 => "another process".to_owned(),
        pid => format!("another process (PID {pid})"),
    }
}

impl Folders {
    /// Makes the folder if need be, and keeps it to this process until that ends. `option` is what names
    /// it in a Corefile.
    pub(crate) fn claim(&self, folder: &Path, option: &'static str) -> Result<(), Refused> {
        let failed = |error| Refused::Io {
            folder: folder.into(),
            error,
        };
        // Held meanwhile: two locks of one process would be in each other's way, too.
        let mut ours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_folder(folder).map_err(failed)?;
        let real = fs::canonicalize(folder).map_err(failed)?;
        if ours.contains_key(&real) {
            return Ok(());
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(real.join(LOCK_FILE))
            .map_err(failed)?;
        match lock(&file) {
            Ok(true) => {
                ours.insert(real, file);
                Ok(())
            }
            Ok(false) => Err(Refused::Taken {
                folder: folder.into(),
                pid: read_pid(file),
                option,
            }),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Locks a file and writes into it whose it is; false when it is another process's.
fn lock(mut file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => (),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(true)
}

fn read_pid(file: File) -> u32 {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    read.ok()
        .and_then(|_| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_process_s() {
        let place = std::env::temp_dir().join(format!("corten-claim-{}", std::process::id()));
        let folder = place.join("journals");
        // A table of its own stands for a process.
        let (one, other) = (Folders::default(), Folders::default());
        one.claim(&folder, "journal").unwrap();
        one.claim(&place.join("./journals"), "journal").unwrap();
        let refused = other.claim(&folder, "journal").unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            refused.contains(&format!("journals: another process (PID {pid}) uses")),
            "{refused}"
        );
        drop(one);
        other.claim(&folder, "journal").unwrap();
        assert_eq!(
            fs::read_to_string(folder.join(LOCK_FILE)).unwrap(),
            format!("{pid}\n")
        );
        fs::remove_dir_all(&place).unwrap();
    }
}
