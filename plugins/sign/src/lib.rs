//! *sign*: keeps signed forms of zone files.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `when` | when a zone is signed again, and how long signatures are valid |
//! | `signer` | one zone: read, signed, written |
//! | here | the task that looks after each of them |
//!
//! Nothing here answers queries: *file* and *auto* serve what is written.
mod config;
mod signer;
mod when;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use corten_plugin::{
    BoxError, Context, Directive, Interest, Plugin, Setup, SetupError, Stop, Tasks, async_trait,
};

use config::Config;
use signer::{REFRESH, Signer};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "sign",
    setup,
    readme: include_str!("../README.md"),
};

/// Time between two looks at the zone files.
const LOOK: Duration = Duration::from_secs(5);

struct Sign {
    /// Until they have a task of their own.
    signers: Mutex<Vec<Signer>>,
    tasks: Tasks,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut signers: Vec<Signer> = Vec::new();
    for line in setup.occurrences()? {
        signers.extend(Config::read(setup, &line)?.into_iter().map(Signer::new));
    }
    setup.push(Sign {
        signers: Mutex::new(signers),
        tasks: Tasks::default(),
    });
    Ok(())
}

/// Looks after one zone until the runtime ends or the task is stopped. Files are read, and zones
/// signed, on threads that may block.
async fn keep(signer: Signer) {
    let signer = Arc::new(Mutex::new(signer));
    let run = |step: fn(&mut Signer)| {
        let signer = Arc::clone(&signer);
        let done = tokio::task::spawn_blocking(move || {
            step(&mut signer.lock().unwrap_or_else(PoisonError::into_inner));
        });
        // It is not done when the runtime is about to end; a step that panicked is not the last.
        async { !done.await.is_err_and(|error| error.is_cancelled()) }
    };
    let mut going_on = run(Signer::begin).await;
    let mut refreshed = Instant::now();
    while going_on {
        tokio::time::sleep(LOOK).await;
        going_on = match refreshed.elapsed() >= REFRESH {
            true => {
                refreshed = Instant::now();
                run(Signer::refresh).await
            }
            false => run(Signer::look).await,
        };
    }
}

#[async_trait]
impl Plugin for Sign {
    fn name(&self) -> &'static str {
        "sign"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, _context: &Context) -> Result<(), BoxError> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        signers
            .drain(..)
            .for_each(|signer| self.tasks.spawn(keep(signer)));
        Ok(())
    }

    async fn stop(&self, _why: Stop) {
        // A zone that is being signed is finished; the file changes as a whole.
        self.tasks.stop();
    }
}
