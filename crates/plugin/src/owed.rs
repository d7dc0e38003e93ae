//! Answers that the process owes, whatever a server block's rules say.
use std::fmt;
use std::sync::{Arc, OnceLock};

use corten_wire::Name;

/// Names that are answered by a link of every block ([`crate::Setup::push_everywhere`]), such as
/// those of ACME challenges: a CA may ask from anywhere, and must get the answer of this moment.
///
/// A service of the process. Links above that one ask it: rules about clients excuse the query
/// ([`crate::Exchange::excused`]), rewriting leaves the name alone, and nothing is remembered.
#[derive(Default)]
pub struct Owed(OnceLock<Arc<dyn OwedNames>>);

/// Knows which names those are.
pub trait OwedNames: Send + Sync {
    /// Whether it is one of them. Must not block.
    fn is_owed(&self, name: &Name) -> bool;
}

impl Owed {
    /// Sets who knows; the first call counts.
    pub fn set(&self, names: Arc<dyn OwedNames>) {
        let _ = self.0.set(names);
    }

    /// Whether an answer is owed to whoever asks for this name. All such names begin with an
    /// underscore, so that the others cost next to nothing.
    pub fn covers(&self, name: &Name) -> bool {
        name.wire().get(1) == Some(&b'_') && self.0.get().is_some_and(|names| names.is_owed(name))
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owed")
            .field(&self.0.get().is_some())
            .finish()
    }
}
