//! The directive's lines.
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use corten_plugin::corefile::{Line, Occurrence};
use corten_plugin::wire::Name;
use corten_plugin::{Setup, SetupError, Zones};
use regex::Regex;

const RELOAD_DEFAULT: Duration = Duration::from_secs(60);
const PATTERN_DEFAULT: &str = r"db\.(.*)";
const TEMPLATE_DEFAULT: &str = "{1}";
/// Octets of the longest pattern (CoreDNS's limit).
const PATTERN_OCTETS_MAX: usize = 10_000;
const PROPERTIES: &[&str] = &["directory", "reload"];

/// What an *auto* directive says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Names outside these zones are not answered.
    pub(crate) zones: Zones,
    /// The folder; nothing where none is named.
    pub(crate) directory: Option<PathBuf>,
    pub(crate) origins: Origins,
    /// Time between two looks; zero for never.
    pub(crate) reload: Duration,
}

/// From names of files to names of zones.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    pattern: Regex,
    /// In the form of [`regex::Captures::expand`].
    template: String,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let mut config = Self {
            zones: setup.zones(&line.args)?,
            directory: None,
            origins: Origins::new(
                Regex::new(PATTERN_DEFAULT).map_err(|error| SetupError::new(error.to_string()))?,
                TEMPLATE_DEFAULT,
            ),
            reload: RELOAD_DEFAULT,
        };
        for option in line.lines() {
            option.no_block()?;
            match option.name.text.as_str() {
                "directory" => config.directory(setup, option)?,
                "reload" => {
                    let Some(duration) = option.args.first() else {
                        let error = option.name.error("reload duration value is expected");
                        return Err(error.into());
                    };
                    config.reload = duration.parse_duration()?;
                }
                "upstream" => tracing::warn!(
                    target: "plugin/auto",
                    "the option 'upstream' has no effect: targets outside the zones are resolved by this server"
                ),
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        if config.directory.is_none() {
            tracing::warn!(target: "plugin/auto", "no directory is named; no zone is served");
        }
        Ok(config)
    }

    fn directory(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        let words = line.args_between(1, 3)?;
        let [folder, rest @ ..] = words else {
            return Ok(());
        };
        let path = setup.path(&folder.text);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => tracing::warn!(
                target: "plugin/auto",
                "Directory does not exist: {}",
                path.display()
            ),
            Err(error) => {
                let what = format!("Unable to access root path '{}': {error}", path.display());
                return Err(folder.error(what).into());
            }
            Ok(_) => (),
        }
        self.directory = Some(path);
        let [pattern, template] = rest else {
            let Some(pattern) = rest.first() else {
                return Ok(());
            };
            let error = pattern.error("a pattern without a template of origins");
            return Err(error.help("for example '(.*)\\.zone$ {1}'").into());
        };
        if pattern.text.len() > PATTERN_OCTETS_MAX {
            return Err(pattern.error("regexp too large").into());
        }
        let compiled =
            Regex::new(&pattern.text).map_err(|error| pattern.error(error.to_string()))?;
        if compiled.captures_len() < 2 {
            let error = pattern.error("Need at least one sub expression");
            return Err(error
                .help("put in parentheses what the origin is made of")
                .into());
        }
        self.origins = Origins::new(compiled, &template.text);
        Ok(())
    }
}

impl Origins {
    /// `{1}` in the template stands for the pattern's first group.
    pub(crate) fn new(pattern: Regex, template: &str) -> Self {
        let template = template.replace('{', "${");
        Self { pattern, template }
    }

    /// The zone that a file of this name holds; nothing for a file that is no zone's.
    pub(crate) fn of(&self, file: &str) -> Option<Result<Name, String>> {
        let captures = self.pattern.captures(file)?;
        let mut origin = String::new();
        captures.expand(&self.template, &mut origin);
        Some(origin.parse().map_err(|_| origin))
    }

    /// Whether both make the same of every file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.template == other.template
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(pattern: &str, template: &str, file: &str) -> Option<Result<String, String>> {
        let origins = Origins::new(Regex::new(pattern).unwrap(), template);
        Some(origins.of(file)?.map(|name| name.to_string()))
    }

    #[test]
    fn names_of_files_make_origins() {
        let made = |text: &str| Some(Ok(text.to_owned()));
        let default = r"db\.(.*)";
        assert_eq!(
            origin(default, "{1}", "db.Isle.example"),
            made("isle.example.")
        );
        assert_eq!(
            origin(default, "{1}", "www.db.isle.example"),
            made("isle.example.")
        );
        assert_eq!(origin(default, "{1}", "isle.zone"), None);
        assert_eq!(origin(default, "{1}", "db."), made("."));
        assert_eq!(
            origin(default, "{1}", "db.a..b"),
            Some(Err("a..b".to_owned()))
        );
        let two = r"^(\w+)_(\w+)\.zone$";
        assert_eq!(
            origin(two, "{1}.{2}", "fjord_test.zone"),
            made("fjord.test.")
        );
        assert_eq!(origin(two, "$2.x", "fjord_test.zone"), made("test.x."));
        assert_eq!(origin(two, "{1}.{2}", "fjord_test.zone.bak"), None);
    }
}
