//! Where certificates are kept: small values under keys, shared by every server that names the same
//! place.
//!
//! | module | what it is |
//! |---|---|
//! | [`etcd`] | an etcd cluster |
//! | [`folder`] | a folder, also one that several machines mount (NFS) |
//! | [`lock`] | the lease in a folder |
//!
//! A key is a relative path with slashes, such as `corten/CA/NAME/retry.json`. Values are replaced
//! whole: nobody reads half of one.
mod etcd;
mod folder;
mod lock;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use etcd::{EtcdLocation, EtcdTls};
pub(crate) use folder::Folder;

/// Octets of the largest value that is read.
pub(crate) const VALUE_OCTETS_MAX: u64 = 1 << 20;
/// A lease whose holder gives no sign of life for this long is free for others.
pub(crate) const LEASE_STALE: Duration = Duration::from_secs(30);
/// How often the holder gives one.
pub(crate) const LEASE_BEAT: Duration = Duration::from_secs(5);

/// Which place it is, as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// An etcd cluster.
    Etcd(Box<EtcdLocation>),
}

impl From<PathBuf> for Location {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Etcd(location) => write!(f, "{location}"),
        }
    }
}

impl Location {
    /// The way there; nothing is touched yet.
    pub(crate) fn open(&self) -> Arc<dyn Storage> {
        match self {
            Self::Folder(path) => Arc::new(Folder::new(path.clone())),
            Self::Etcd(location) => Arc::new(etcd::Etcd::new(EtcdLocation::clone(location))),
        }
    }

    /// The same for callers that cannot wait, where that is possible: calls are over at their first
    /// poll.
    pub(crate) fn open_inline(&self) -> Option<Arc<dyn Storage>> {
        match self {
            Self::Folder(path) => Some(Arc::new(Folder::inline(path.clone()))),
            Self::Etcd(_) => None,
        }
    }
}

/// Small values under keys. All calls are bounded in time.
#[async_trait]
pub(crate) trait Storage: Send + Sync {
    /// Where a key is, for people.
    fn place(&self, key: &str) -> String;

    /// The value; nothing if there is none.
    async fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Replaces the value, all or nothing; what has been put survives a loss of power.
    async fn put(&self, key: &str, value: &[u8]) -> io::Result<()>;

    /// Removes a key; one that is not there is no error.
    async fn delete(&self, key: &str) -> io::Result<()>;

    /// The last parts of the keys right below `folder`, sorted; nothing if there is no such folder.
    async fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Tries to become the only holder of `key`; nothing if somebody else is.
    ///
    /// A holder that is gone loses it after [`LEASE_STALE`]. Some storages see that only when they
    /// are asked again and again, as one who waits does.
    async fn lease(&self, key: &str) -> io::Result<Option<Arc<dyn Lease>>>;
}

/// The right to be the only one who works at something. Given back when it is dropped.
#[async_trait]
pub(crate) trait Lease: Send + Sync {
    /// Fails if somebody else may have it by now: asked before each step that costs something.
    async fn check(&self) -> io::Result<()>;

    /// Gives it back.
    async fn release(&self);
}

/// Somebody else has the lease by now.
#[derive(Debug, thiserror::Error)]
#[error("another server has taken over the work on this certificate")]
struct Lost;

/// The error of a lease that is gone.
pub(crate) fn lost() -> io::Error {
    io::Error::other(Lost)
}

/// Whether an error is that.
pub(crate) fn is_lost(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Lost>())
}
