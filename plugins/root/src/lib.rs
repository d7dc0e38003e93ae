//! *root*: the folder that relative paths of a server block begin at.
use corten_plugin::{Directive, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "root",
    setup,
    readme: include_str!("../README.md"),
};

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut folder = None;
    for line in setup.occurrences()? {
        folder = Some(line.one_arg()?.text.clone());
    }
    let folder = folder.unwrap_or_default();
    setup.options.root = folder.clone().into();
    if !setup.options.root.is_dir() {
        // It may be mounted later; whoever reads a file there says so, too.
        tracing::warn!(target: "plugin/root", "Root path does not exist: {folder}");
    }
    Ok(())
}
