//! Work that outlives the exchange it comes from.
use crate::Exchange;

impl Exchange {
    /// Another exchange of the same client with the same question, header and EDNS: for a task of
    /// its own that asks with [`crate::Detached`] while this one goes on.
    pub fn twin(&self) -> Self {
        Self::another(&self.query.question, self)
    }
}
