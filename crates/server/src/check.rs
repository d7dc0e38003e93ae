//! A configuration that is built and not served, for commands that need to know what it says.
use std::fmt;
use std::sync::Arc;

use corten_plugin::Process;

use crate::build::build;
use crate::generation::Generation;
use crate::life::{Settings, StartError, read, start_error};

/// A configuration that has been read and set up; no socket is open, and no plugin has started.
/// Services of the process that belong to its blocks live as long as it does.
pub struct Checked(Generation);

impl Checked {
    /// Reads and builds a configuration.
    pub fn new(settings: &Settings, process: &Arc<Process>) -> Result<Self, StartError> {
        let corefile = read(settings)?;
        let built = build(
            &corefile,
            &settings.directives,
            settings.dns_port,
            process,
            None,
        );
        built.map(Self).map_err(start_error)
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("banner", &self.0.banner)
            .finish()
    }
}
