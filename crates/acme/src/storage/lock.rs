//! A lease as a file, on any file system that several machines may share.
//!
//! The file holds who has it and a counter that its holder raises every few seconds. Whoever waits
//! compares what it reads with what it read before, by its own monotonic clock: clocks of different
//! machines are never compared. A file that did not change for the whole time is renamed to a name
//! that nobody else uses, looked at once more, and removed; so of two that wait only one breaks it.
//! Because a machine may sleep and wake up, the holder looks whether the file is still its own before
//! each step that costs something.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::folder::{aside, named};
use super::{LEASE_BEAT, LEASE_STALE, Lease, lost};

/// How long whoever drops a lease waits until it is given back.
const AT_END: Duration = Duration::from_secs(1);
/// Octets of the longest lock file that is looked at.
const LOCK_OCTETS_MAX: u64 = 4096;

/// What was seen of somebody else's lease, and since when it is so.
pub(super) struct Sighting {
    text: Vec<u8>,
    since: Instant,
}

/// The outcome of an attempt.
pub(super) enum Taken {
    Ours(Held),
    Theirs(Sighting),
}

/// A lock file of our own.
pub(super) struct Held {
    path: PathBuf,
    file: File,
    holder: String,
    count: AtomicU64,
}

/// Tries to take the lease in the file `path`.
pub(super) fn take(path: &Path, before: Option<Sighting>, stale: Duration) -> io::Result<Taken> {
    // Twice: once to find out, and once after a stale one has been removed.
    for _ in 0..2 {
        if let Some(held) = Held::create(path)? {
            return Ok(Taken::Ours(held));
        }
        let Some(text) = look(path)? else {
            continue;
        };
        match &before {
            Some(before) if before.text == text => {
                if before.since.elapsed() < stale {
                    break;
                }
                let who = holder(&text);
                if remove(path, |found| found == text)? {
                    tracing::warn!(target: "plugin/tls", "{}: its holder, {who}, is gone; the work is taken over", path.display());
                }
            }
            _ => {
                let since = Instant::now();
                return Ok(Taken::Theirs(Sighting { text, since }));
            }
        }
    }
    let nothing = || Sighting {
        text: Vec::new(),
        since: Instant::now(),
    };
    Ok(Taken::Theirs(before.unwrap_or_else(nothing)))
}

/// Removes the lock file if its text is the wanted one; returns whether it did.
///
/// Renamed first: of several that try only one gets it. What turns out to be somebody else's is put
/// back; should a third have come in between, the one that lost it notices at its next check.
fn remove(path: &Path, wanted: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
    let matches = |path: &Path| Ok::<_, io::Error>(look(path)?.is_some_and(|text| wanted(&text)));
    // On the last moment: its holder may have come back.
    if !matches(path)? {
        return Ok(false);
    }
    let away = aside(path, "stale");
    match fs::rename(path, &away) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(named(path, &error)),
        Ok(()) => (),
    }
    let ours = matches(&away)?;
    if !ours {
        let _ = fs::hard_link(&away, path);
    }
    let _ = fs::remove_file(&away);
    Ok(ours)
}

/// The lock file's text; nothing if there is no file.
fn look(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    // Opened anew each time: that is when NFS asks the server.
    let read = File::open(path).and_then(|file| file.take(LOCK_OCTETS_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

/// Who holds it, from a lock file's text.
fn holder(text: &[u8]) -> String {
    let first = text.split(|octet| *octet == b' ').next().unwrap_or(text);
    match String::from_utf8_lossy(first).trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

impl Held {
    /// Makes the file, unless there is one.
    fn create(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(named(path, &error)),
            Ok(file) => file,
        };
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!(
            "{}:{}:{:016x}",
            host.trim(),
            std::process::id(),
            rand::random::<u64>()
        );
        let text = text(&holder, 0);
        if let Err(error) = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
        {
            let _ = fs::remove_file(path);
            return Err(named(path, &error));
        }
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            holder,
            count: AtomicU64::new(0),
        }))
    }

    /// Shows that the holder lives. Written into the open file: should that have been taken away,
    /// nobody else's is touched.
    fn beat(&self) -> io::Result<()> {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let text = text(&self.holder, count);
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|error| named(&self.path, &error))
    }

    fn is_ours(&self, text: &[u8]) -> bool {
        text.strip_prefix(self.holder.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&b' '))
    }

    fn check(&self) -> io::Result<()> {
        self.beat()?;
        match look(&self.path)? {
            Some(text) if self.is_ours(&text) => Ok(()),
            _ => Err(lost()),
        }
    }

    fn release(&self) {
        let _ = remove(&self.path, |text| self.is_ours(text));
    }
}

/// Always of the same length, so that it can be written over.
fn text(holder: &str, count: u64) -> String {
    format!("{holder} {count:020}\n")
}

/// A lease in a folder, with the task that shows that its holder lives.
pub(super) struct FolderLease {
    held: Arc<Held>,
    released: AtomicBool,
}

impl FolderLease {
    pub(super) fn keep(held: Held, stale: Duration) -> Arc<Self> {
        let lease = Arc::new(Self {
            held: Arc::new(held),
            released: AtomicBool::new(false),
        });
        let pause = LEASE_BEAT.mul_f64(stale.as_secs_f64() / LEASE_STALE.as_secs_f64());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(beat(Arc::downgrade(&lease), pause));
        }
        lease
    }
}

async fn beat(lease: Weak<FolderLease>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(held) = lease.upgrade().map(|lease| Arc::clone(&lease.held)) else {
            return;
        };
        // What fails here fails the holder's next check.
        let _ = tokio::task::spawn_blocking(move || held.beat()).await;
    }
}

#[async_trait]
impl Lease for FolderLease {
    async fn check(&self) -> io::Result<()> {
        let held = Arc::clone(&self.held);
        let check = tokio::task::spawn_blocking(move || held.check());
        match tokio::time::timeout(LEASE_BEAT, check).await {
            Ok(done) => done.map_err(io::Error::other)?,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn release(&self) {
        if !self.released.swap(true, Relaxed) {
            let held = Arc::clone(&self.held);
            let release = tokio::task::spawn_blocking(move || held.release());
            // A file system that hangs holds up nobody; others take the lease over.
            let _ = tokio::time::timeout(LEASE_BEAT, release).await;
        }
    }
}

impl Drop for FolderLease {
    /// At the end of the process no runtime does it any more, and a file system that hangs must not hold
    /// that up.
    fn drop(&mut self) {
        if !self.released.swap(true, Relaxed) {
            let (held, (done, wait)) = (Arc::clone(&self.held), mpsc::channel());
            let release = move || {
                held.release();
                let _ = done.send(());
            };
            // Without a thread, or time, others take it over.
            let _ = std::thread::Builder::new().spawn(release);
            let _ = wait.recv_timeout(AT_END);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Folder, Storage};
    use crate::tests::Scratch;

    /// A holder of whom others think that it is gone.
    const STALE: Duration = Duration::from_millis(300);

    fn folder(scratch: &Scratch) -> Folder {
        Folder::impatient(scratch.path().to_owned(), STALE)
    }

    #[tokio::test]
    async fn one_holds_it_until_it_lets_go() {
        let scratch = Scratch::new();
        let (one, other) = (folder(&scratch), folder(&scratch));
        let held = one.lease("a/lock").await.unwrap().expect("it is free");
        let until = Instant::now() + 3 * STALE;
        while Instant::now() < until {
            assert!(other.lease("a/lock").await.unwrap().is_none());
            held.check().await.unwrap();
            tokio::time::sleep(STALE / 10).await;
        }
        held.release().await;
        let held = other.lease("a/lock").await.unwrap().expect("it is free");
        assert!(one.lease("a/lock").await.unwrap().is_none());
        drop(held);
        assert!(one.lease("a/lock").await.unwrap().is_some());
        assert!(one.list("a").await.unwrap().is_empty(), "dropped at once");
    }

    #[tokio::test]
    async fn one_that_is_gone_is_replaced_once() {
        let scratch = Scratch::new();
        let path = scratch.path().join("lock");
        for left_behind in ["", "dead:1:0000 00000000000000000007\n"] {
            fs::write(&path, left_behind).unwrap();
            let waiting: Vec<_> = (0..8).map(|_| folder(&scratch)).collect();
            let since = Instant::now();
            let mut held = Vec::new();
            while since.elapsed() < STALE * 2 {
                for folder in &waiting {
                    held.extend(folder.lease("lock").await.unwrap());
                }
                assert!(held.is_empty() || since.elapsed() >= STALE);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(held.len(), 1);
            held[0].check().await.unwrap();
            assert_eq!(waiting[0].list("").await.unwrap(), ["lock"]);
        }
    }

    #[test]
    fn who_lost_it_notices_and_takes_nothing_away() {
        let scratch = Scratch::new();
        let path = scratch.path().join("lock");
        let Ok(Taken::Ours(slept)) = take(&path, None, STALE) else {
            panic!("it is free");
        };
        let Ok(Taken::Theirs(mut sighting)) = take(&path, None, STALE) else {
            panic!("it is held");
        };
        sighting.since = Instant::now().checked_sub(STALE).unwrap();
        let Ok(Taken::Ours(new)) = take(&path, Some(sighting), STALE) else {
            panic!("its holder slept too long");
        };
        assert_eq!(slept.check().unwrap_err().to_string(), lost().to_string());
        slept.release();
        new.check().unwrap();
    }

    #[test]
    fn of_two_that_break_it_the_second_puts_back_what_it_finds() {
        let scratch = Scratch::new();
        let path = scratch.path().join("lock");
        let Ok(Taken::Ours(new)) = take(&path, None, STALE) else {
            panic!("it is free");
        };
        // The file changes between the last look and the rename: the predicate plays both.
        let looks = AtomicU64::new(0);
        assert!(!remove(&path, |_| looks.fetch_add(1, Relaxed) == 0).unwrap());
        assert_eq!(looks.load(Relaxed), 2);
        new.check().unwrap();
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
