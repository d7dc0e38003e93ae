//! What outlives every generation of the configuration.
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use async_trait::async_trait;

use crate::Spool;

/// Services that live as long as the process, by type; certificates, for one, must not be lost in a
/// reload.
#[derive(Default)]
pub struct Process {
    services: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    reload: OnceLock<Weak<dyn Reload>>,
    debug: AtomicBool,
    build: OnceLock<Build>,
    lines: OnceLock<Arc<Spool>>,
}

/// What the program was built from, for those who report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Its version, such as `0.1.0`.
    pub version: &'static str,
    /// Abbreviated commit; may be empty.
    pub revision: &'static str,
    /// The compiler, such as `rustc1.95.0`.
    pub compiler: &'static str,
}

/// Starts a graceful reload, as SIGUSR1 does.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Reads the configuration's files again without building anything.
    async fn read(&self) -> Result<Running, ReloadError>;

    /// The configuration that is being served.
    fn running(&self) -> Running;

    /// Builds everything anew and swaps it in. When that fails the old configuration goes on and
    /// the error says why.
    async fn reload(&self) -> Result<(), ReloadError>;
}

/// A configuration as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Every token with its line, imports included, in a form that is only good for comparing and
    /// hashing.
    pub fingerprint: Arc<str>,
}

/// Why a configuration was not taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(pub String);

impl Process {
    /// The service of this type, made by the first who asks.
    pub fn service<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services
            .entry(TypeId::of::<T>())
            .or_insert_with(|| Arc::new(make()));
        // Stored under its own type, so the downcast holds.
        Arc::clone(service)
            .downcast()
            .expect("a service is stored under its own type")
    }

    /// What starts a reload; nothing before the server runs.
    pub fn reload(&self) -> Option<Arc<dyn Reload>> {
        self.reload.get()?.upgrade()
    }

    /// For the server: sets what starts a reload. The first call counts.
    pub fn set_reload(&self, reload: Weak<dyn Reload>) {
        let _ = self.reload.set(reload);
    }

    /// What the program was built from; empty unless the program has said so.
    pub fn build(&self) -> Build {
        self.build.get().copied().unwrap_or_default()
    }

    /// For the program: says what it was built from. The first call counts.
    pub fn set_build(&self, build: Build) {
        let _ = self.build.set(build);
    }

    /// Whether debug lines are logged: some block of the running configuration says so.
    pub fn debug(&self) -> bool {
        self.debug.load(Relaxed)
    }

    /// Where log lines go that are whole, level and final newline included; for those who write one
    /// for each query. Nothing where another program's log is used: lines go through `tracing` then.
    pub fn lines(&self) -> Option<&Arc<Spool>> {
        self.lines.get()
    }

    /// For the program: sets where whole lines go. The first call counts.
    pub fn set_lines(&self, lines: Arc<Spool>) {
        let _ = self.lines.set(lines);
    }

    /// For the server: switches debug lines on or off.
    pub fn set_debug(&self, on: bool) {
        self.debug.store(on, Relaxed);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("debug", &self.debug())
            .finish_non_exhaustive()
    }
}
