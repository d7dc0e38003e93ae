//! Which block of a configuration wants which certificate.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use corten_acme::Spec;
use corten_plugin::SetupError;
use corten_plugin::corefile::Location;

/// Everything that is wanted, by the configuration that serves and by the one that is being made.
#[derive(Default)]
pub(crate) struct Claims(Mutex<Vec<Weak<Claim>>>);

/// What one block wants. It goes with the block.
pub(crate) struct Claim {
    spec: Spec,
    at: Location,
    port: u16,
    bind: Option<Vec<SocketAddr>>,
    /// The block's configuration serves: another one may want something else.
    serves: AtomicBool,
}

impl Claims {
    /// Notes what a block wants. The same name with other settings in two blocks of a configuration
    /// is a mistake: one of them would be ignored.
    pub(crate) fn add(
        &self,
        spec: &Spec,
        at: &Location,
        port: u16,
        bind: Option<Vec<SocketAddr>>,
    ) -> Result<Arc<Claim>, SetupError> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|claim| claim.strong_count() > 0);
        for other in claims.iter().filter_map(Weak::upgrade) {
            if other.serves.load(Relaxed) || other.spec == *spec {
                continue;
            }
            if let Some(name) = spec
                .names
                .iter()
                .find(|name| other.spec.names.contains(name))
            {
                let (file, line) = (&other.at.file, other.at.line);
                return Err(SetupError::new(format!(
                    "ACME domain \"{name}\" is configured with conflicting options: {file}:{line} wants it with other names or settings"
                ))
                .at(at));
            }
        }
        let claim = Arc::new(Claim {
            spec: spec.clone(),
            at: at.clone(),
            port,
            bind,
            serves: AtomicBool::new(false),
        });
        claims.push(Arc::downgrade(&claim));
        Ok(claim)
    }

    /// Every certificate that is wanted, once.
    pub(crate) fn wanted(&self) -> Vec<Arc<Claim>> {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted: Vec<Arc<Claim>> = Vec::new();
        for claim in claims.iter().filter_map(Weak::upgrade) {
            if wanted.iter().all(|other| other.spec != claim.spec) {
                wanted.push(claim);
            }
        }
        wanted
    }
}

impl Claim {
    /// What is wanted.
    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where the CA's questions arrive.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Addresses of the block; nothing for all.
    pub(crate) fn bind(&self) -> Option<&[SocketAddr]> {
        self.bind.as_deref()
    }

    /// Its configuration serves.
    pub(crate) fn start(&self) {
        self.serves.store(true, Relaxed);
    }
}
