//! Where a client looks for names: what *autopath* asks other plugins.
use std::sync::Arc;

use corten_wire::Name;

use crate::Exchange;

/// A plugin that knows the search path of a client; offered with [`crate::Setup::provide`] as
/// `Arc<dyn SearchPath>`, so that `autopath @NAME` finds it.
pub trait SearchPath: Send + Sync {
    /// The directive's name, as it stands behind the `@`.
    fn plugin(&self) -> &'static str;

    /// The names that the client appends to what it looks for, in its order, the root last: that
    /// stands for the name as it is. Nothing when the client is not known.
    ///
    /// Called on the way of a query; shared, so that the answer costs no copy.
    fn search(&self, ex: &Exchange) -> Option<Arc<[Name]>>;
}
