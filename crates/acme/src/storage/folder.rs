//! Values as files.
//!
//! A file is written under another name, synced, and renamed, so that no reader ever sees half of
//! one. Folders are made 0700, files 0600.
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::lock::{self, FolderLease, Sighting};
use super::{LEASE_STALE, Lease, Storage, VALUE_OCTETS_MAX};

/// A file server that does not answer is given up after this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls under way at the same time in one folder, whatever many certificates are kept there; those that
/// hang in the kernel count until they return.
const CALLS_MAX: usize = 16;
/// A file under another name that is older than this is nobody's any more.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// A folder of values.
pub(crate) struct Folder {
    root: PathBuf,
    /// Calls are made at once, by the caller's thread.
    inline: bool,
    calls: Arc<Semaphore>,
    /// What was last seen of other holders' leases, by key.
    seen: Arc<Mutex<HashMap<String, Sighting>>>,
    stale: Duration,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            inline: false,
            calls: calls(&root),
            root,
            seen: Arc::default(),
            stale: LEASE_STALE,
        }
    }

    /// One whose calls block the caller's thread and are over at their first poll: for set-up.
    pub(crate) fn inline(root: PathBuf) -> Self {
        Self {
            inline: true,
            ..Self::new(root)
        }
    }

    /// One with less patience for holders of leases, for tests.
    #[cfg(test)]
    pub(crate) fn impatient(root: PathBuf, stale: Duration) -> Self {
        Self {
            stale,
            ..Self::new(root)
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        let sound = |part: &&str| !matches!(*part, "" | "." | "..");
        self.root
            .join(key.split('/').filter(sound).collect::<PathBuf>())
    }

    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if self.inline {
            return call();
        }
        let attempt = async {
            let permit = Arc::clone(&self.calls)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let call = move || {
                let _permit = permit;
                call()
            };
            tokio::task::spawn_blocking(call)
                .await
                .map_err(io::Error::other)?
        };
        let late = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{}: the file system does not answer", self.root.display()),
            )
        };
        tokio::time::timeout(PATIENCE, attempt)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}

#[async_trait]
impl Storage for Folder {
    fn place(&self, key: &str) -> String {
        self.path(key).display().to_string()
    }

    async fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(key);
        self.call(move || match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        })
        .await
    }

    async fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let (path, value) = (self.path(key), value.to_vec());
        self.call(move || {
            path.parent().map_or(Ok(()), make_folder)?;
            write(&path, &value)
        })
        .await
    }

    async fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.path(key);
        self.call(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(&path, &error)),
            _ => Ok(()),
        })
        .await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let path = self.path(folder);
        self.call(move || match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(named(&path, &error)),
            Ok(entries) => {
                let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
                let mut names: Vec<_> = entries.flatten().filter_map(name).collect();
                // Files that are being written.
                names.retain(|name| !name.starts_with('.'));
                names.sort();
                Ok(names)
            }
        })
        .await
    }

    async fn lease(&self, key: &str) -> io::Result<Option<Arc<dyn Lease>>> {
        let (path, key, stale) = (self.path(key), key.to_owned(), self.stale);
        let seen = Arc::clone(&self.seen);
        let held = self
            .call(move || {
                path.parent().map_or(Ok(()), make_folder)?;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let sighting = seen.remove(&key);
                match lock::take(&path, sighting, stale)? {
                    lock::Taken::Ours(held) => {
                        tidy(&path);
                        Ok(Some(held))
                    }
                    lock::Taken::Theirs(sighting) => {
                        seen.insert(key, sighting);
                        Ok(None)
                    }
                }
            })
            .await?;
        Ok(held.map(|held| FolderLease::keep(held, stale) as Arc<dyn Lease>))
    }
}

/// Room for calls in a folder. The threads that make them are the process's: a file server that does not
/// answer must not take them away from others.
fn calls(root: &Path) -> Arc<Semaphore> {
    static KNOWN: Mutex<Vec<(PathBuf, Weak<Semaphore>)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|(_, calls)| calls.strong_count() > 0);
    let mut of_root = known.iter().filter(|(other, _)| other == root);
    if let Some(calls) = of_root.find_map(|(_, calls)| calls.upgrade()) {
        return calls;
    }
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    known.push((root.to_owned(), Arc::downgrade(&calls)));
    calls
}

/// Reads a file of bounded size.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let attempt =
        File::open(path).and_then(|file| file.take(VALUE_OCTETS_MAX + 1).read_to_end(&mut octets));
    match attempt {
        Err(error) => Err(named(path, &error)),
        Ok(length) if length as u64 > VALUE_OCTETS_MAX => {
            Err(named(path, &io::ErrorKind::FileTooLarge.into()))
        }
        Ok(_) => Ok(octets),
    }
}

/// Makes a folder, and those above it, for nobody else to see.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| named(path, &error))
}

/// Writes a file, all or nothing, for nobody else to read.
fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let attempt = || {
        let temporary = aside(path, "new");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = file
            .write_all(octets)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        // The rename itself must survive a loss of power, too.
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    attempt().map_err(|error| named(path, &error))
}

/// Another name in the same folder, that nobody else uses. It begins with a point, so that it never
/// looks like a value.
pub(super) fn aside(path: &Path, why: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{why}.{:016x}", rand::random::<u64>()))
}

/// Removes what servers that were killed have left beside a file that has just been written: by its
/// time, which is the file server's, nobody has written to them for long.
fn tidy(path: &Path) {
    let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified());
    let (Some(folder), Ok(now)) = (path.parent(), modified(path)) else {
        return;
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_aside =
            name.starts_with('.') && [".new", ".stale"].iter().any(|why| name.contains(why));
        let is_old = || modified(&entry.path()).is_ok_and(|then| then + LEFT_BEHIND < now);
        if is_aside && is_old() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn values_are_kept_for_nobody_else_to_read() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().join("deep"));
        assert_eq!(folder.get("a/b").await.unwrap(), None);
        assert!(folder.list("a").await.unwrap().is_empty());
        folder.put("a/b", b"one").await.unwrap();
        folder.put("a/b", b"two").await.unwrap();
        folder.put("a/c", b"three").await.unwrap();
        assert_eq!(folder.get("a/b").await.unwrap().unwrap(), b"two");
        assert_eq!(folder.list("a").await.unwrap(), ["b", "c"]);
        let mode = |path: &str| {
            let path = scratch.path().join(path);
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("deep/a"), mode("deep/a/b")), (0o700, 0o600));
        folder.delete("a/b").await.unwrap();
        folder.delete("a/b").await.unwrap();
        assert_eq!(folder.list("a").await.unwrap(), ["c"]);
    }

    #[tokio::test]
    async fn a_folder_that_hangs_takes_a_few_threads_whatever_many_use_it() {
        let scratch = Scratch::new();
        let root = scratch.path().join("one");
        let folders: Vec<_> = (0..50).map(|_| Folder::new(root.clone())).collect();
        let stop = Arc::new(std::sync::Barrier::new(CALLS_MAX + 1));
        for folder in &folders {
            let stop = Arc::clone(&stop);
            let hangs = folder.call(move || {
                stop.wait();
                Ok(())
            });
            let late = tokio::time::timeout(Duration::from_millis(1), hangs).await;
            assert!(late.is_err());
        }
        assert_eq!(folders[0].calls.available_permits(), 0);
        let elsewhere = Folder::new(scratch.path().join("other"));
        assert_eq!(elsewhere.get("a").await.unwrap(), None);
        // None of the others has begun: those that have are enough.
        stop.wait();
        assert_eq!(folders[49].get("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_killed_servers_have_left_is_removed() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        let bundle = scratch.path().join("bundle-1.pem");
        let [old, new, stale] = ["new", "new", "stale"].map(|why| aside(&bundle, why));
        for path in [&bundle, &old, &new, &stale] {
            fs::write(path, "a key").unwrap();
        }
        for path in [&bundle, &old, &stale] {
            let then = std::time::SystemTime::now() - LEFT_BEHIND - LEFT_BEHIND;
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
        let _lease = folder.lease("lock").await.unwrap().expect("it is free");
        assert!(bundle.exists() && new.exists(), "what is under way stays");
        assert!(!old.exists() && !stale.exists());
    }

    #[tokio::test]
    async fn keys_stay_in_the_folder_and_values_have_a_limit() {
        let scratch = Scratch::new();
        let folder = Folder::new(scratch.path().to_owned());
        folder.put("../../x//./y", b"here").await.unwrap();
        assert_eq!(folder.get("x/y").await.unwrap().unwrap(), b"here");
        fs::write(scratch.path().join("big"), vec![0; 2 << 20]).unwrap();
        let error = folder.get("big").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("/big: "), "{error}");
    }
}
