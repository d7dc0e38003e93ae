//! From the directive's lines to what they mean.
use std::path::PathBuf;
use std::time::Duration;

use corten_plugin::corefile::Occurrence;
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, Setup, SetupError};

const DEFAULT_RELOAD: Duration = Duration::from_secs(60);
const PROPERTIES: &[&str] = &["reload", "reload_by_mtime", "fallthrough", "upstream"];

/// What one *file* line says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    /// Origins of the zones that are read from the file.
    pub(crate) zones: Vec<Name>,
    /// How often the file is looked at; zero for never.
    pub(crate) reload: Duration,
    /// A changed file is taken up whatever its serial.
    pub(crate) by_mtime: bool,
    pub(crate) fallthrough: Fallthrough,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let words = line.at_least(1)?;
        let mut config = Self {
            path: setup.path(&words[0].text),
            zones: setup.zones(&words[1..])?.names().to_vec(),
            reload: DEFAULT_RELOAD,
            by_mtime: false,
            fallthrough: Fallthrough::None,
        };
        for option in line.lines() {
            match option.name.text.as_str() {
                // CoreDNS takes more words and looks at none of them.
                "reload" => config.reload = option.one_arg()?.parse_duration()?,
                "reload_by_mtime" => {
                    option.no_args()?;
                    config.by_mtime = true;
                }
                "fallthrough" => config.fallthrough = setup.fallthrough(&option.args)?,
                "upstream" => tracing::warn!(
                    target: "plugin/file",
                    "{}:{}: 'upstream' is ignored; CNAME targets are resolved by this server",
                    option.name.at.file, option.name.at.line
                ),
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        Ok(config)
    }
}
