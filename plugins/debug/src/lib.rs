//! *debug*: debug lines of the whole process, and panics that are not contained.
use corten_plugin::{Directive, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "debug",
    setup,
    readme: include_str!("../README.md"),
};

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    for line in setup.occurrences()? {
        line.no_args()?;
        line.no_block()?;
    }
    setup.options.debug = true;
    Ok(())
}
