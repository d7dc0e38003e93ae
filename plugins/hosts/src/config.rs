//! From the directive's lines to what they mean.
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use corten_plugin::corefile::{Line, Token};
use corten_plugin::{Fallthrough, Setup, SetupError, Zones};

use crate::table;

/// Read when the directive names no file.
const DEFAULT_FILE: &str = "/etc/hosts";
/// Seconds.
const DEFAULT_TTL: u32 = 3600;
const DEFAULT_RELOAD: Duration = Duration::from_secs(5);
const PROPERTIES: &[&str] = &[
    "fallthrough",
    "fallthrough_unsupported",
    "no_reverse",
    "reload",
    "ttl",
];

/// What a *hosts* directive says.
pub(crate) struct Config {
    pub(crate) file: PathBuf,
    /// Whether the file must be asked for: the default one may be missing in silence.
    pub(crate) file_named: bool,
    pub(crate) zones: Zones,
    pub(crate) inline: Vec<(IpAddr, Vec<String>)>,
    /// TTL of every answer, in seconds.
    pub(crate) ttl: u32,
    pub(crate) reverse: bool,
    /// How often the file is looked at; zero for never.
    pub(crate) reload: Duration,
    pub(crate) fallthrough: Fallthrough,
    /// Types that the file cannot hold fall through as well.
    pub(crate) fallthrough_unsupported: bool,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let line = setup.only_occurrence()?;
        let file = line.args.first().map_or(DEFAULT_FILE, |token| &token.text);
        let mut config = Self {
            file: setup.path(file),
            file_named: !line.args.is_empty(),
            zones: setup.zones(line.args.get(1..).unwrap_or_default())?,
            inline: Vec::new(),
            ttl: DEFAULT_TTL,
            reverse: true,
            reload: DEFAULT_RELOAD,
            fallthrough: Fallthrough::None,
            fallthrough_unsupported: false,
        };
        for option in line.lines() {
            config.option(setup, option)?;
        }
        Ok(config)
    }

    fn option(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "fallthrough" => self.fallthrough = setup.fallthrough(&line.args)?,
            "fallthrough_unsupported" => {
                line.no_args()?;
                self.fallthrough_unsupported = true;
            }
            "no_reverse" => {
                line.no_args()?;
                self.reverse = false;
            }
            "ttl" => self.ttl = ttl(line.one_arg()?)?,
            "reload" => self.reload = line.one_arg()?.parse_duration()?,
            _ => self.entry(line)?,
        }
        Ok(())
    }

    /// An entry between the braces. They come before `fallthrough`, as CoreDNS wants it.
    fn entry(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        let unknown = line.unknown_property(PROPERTIES);
        if self.fallthrough != Fallthrough::None {
            return Err(unknown
                .help("entries stand in front of 'fallthrough'")
                .into());
        }
        match table::address(&line.name.text) {
            Some(address) => self.inline.push((
                address,
                line.args.iter().map(|name| name.text.clone()).collect(),
            )),
            None if unknown.to_string().contains("did you mean") => return Err(unknown.into()),
            // CoreDNS passes such lines over without a word.
            None => tracing::warn!(
                target: "plugin/hosts",
                "{}:{}: '{}' is not an IP address; the line is ignored", line.name.at.file, line.name.at.line, line.name.text
            ),
        }
        Ok(())
    }
}

fn ttl(token: &Token) -> Result<u32, SetupError> {
    let seconds = token
        .text
        .parse()
        .ok()
        .filter(|seconds| (1..=65_535).contains(seconds));
    seconds.ok_or_else(|| {
        token
            .error(format!(
                "ttl '{}' is not a number of seconds between 1 and 65535",
                token.text
            ))
            .into()
    })
}
