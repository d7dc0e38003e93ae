//! *multisocket*: number of sockets per listener.
use corten_plugin::{Directive, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "multisocket",
    setup,
    readme: include_str!("../README.md"),
};

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    Err(line.name.error("not there yet").into())
}
