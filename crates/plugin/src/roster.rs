//! What a plugin may know of the server blocks of its generation.
use std::fmt;
use std::sync::Weak;

use corten_wire::Name;

use crate::{Exchange, Plugin, Site};

/// One server block, for plugins that report on others.
#[derive(Default)]
pub struct Roster {
    /// Its plugins in list order. Weak, because they belong to the generation.
    pub plugins: Vec<Weak<dyn Plugin>>,
    /// Names of its chain's links; [`Exchange::answered_by`] is an index into them.
    pub links: Vec<&'static str>,
    /// Its zones, each with a listener that serves it.
    pub served: Vec<(Site, Name)>,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("links", &self.links)
            .field("served", &self.served)
            .finish_non_exhaustive()
    }
}

/// Told of queries that no chain has answered; in [`crate::ServerOptions`].
///
/// One for the process: queries of every listener are told to it.
pub trait Refusals: Send + Sync {
    /// A query was answered by the server itself, with `ex.reply`: no block has its name, its class
    /// is not served, or a plugin panicked. Must not block.
    fn refused(&self, ex: &Exchange);
}
