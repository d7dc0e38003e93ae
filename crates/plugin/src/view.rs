//! Which of several server blocks of one zone a query is for.
use crate::Exchange;

/// A condition on a server block; what *view* puts into [`crate::ServerOptions`].
///
/// Blocks of the same zone are asked in file order; the first that admits a query has it. When none
/// does the query goes to the next shorter zone.
pub trait View: Send + Sync {
    /// What metrics call it.
    fn name(&self) -> &str;

    /// Whether the block wants this query. Metadata of the block have been collected.
    fn admits(&self, ex: &Exchange) -> bool;
}
