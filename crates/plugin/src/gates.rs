//! What the program waits for before it says that it serves.
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Events that must happen before the program says that it serves; queries are answered meanwhile.
/// A service of the process; what is added later, such as by a reload, is not waited for.
#[derive(Default)]
pub struct Gates(Mutex<State>);

#[derive(Default)]
struct State {
    waits: Vec<Wait>,
    passed: bool,
}

impl Gates {
    /// Adds an event.
    pub fn add(&self, wait: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.passed {
            state.waits.push(Box::pin(wait));
        }
    }

    /// For the program: returns once all of them have happened.
    pub async fn pass(&self) {
        let waits = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.passed = true;
            std::mem::take(&mut state.waits)
        };
        for wait in waits {
            wait.await;
        }
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gates").finish_non_exhaustive()
    }
}
