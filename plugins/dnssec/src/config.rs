//! From the directive's lines to what they mean.
use std::path::Path;

use corten_dnssec::denial::{self, hash};
use corten_dnssec::keyfile;
use corten_plugin::corefile::{Line, Token};
use corten_plugin::wire::Name;
use corten_plugin::{Setup, SetupError, Zones};

use crate::keyring::Keyring;

/// Signatures that are kept, by default.
const CAPACITY_DEFAULT: usize = 10_000;
/// CoreDNS's caches hold as many at least.
const CAPACITY_MIN: usize = 1_024;
/// Some gigabytes.
const CAPACITY_MAX: usize = 1 << 24;
/// Keys of one directive: each is one more signature for every RRset.
const KEYS_MAX: usize = 16;
const PROPERTIES: &[&str] = &["key", "cache_capacity", "denial"];

/// What a *dnssec* directive says.
pub(crate) struct Config {
    pub(crate) zones: Zones,
    pub(crate) keys: Keyring,
    /// Signatures that are kept at most.
    pub(crate) capacity: usize,
    pub(crate) denial: Denial,
}

/// How a name or a type is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Denial {
    /// An NSEC record at the name that is asked for, whose types are plausible: CoreDNS's manner.
    #[default]
    BlackLies,
    /// The same with types that are there, and NXNAME for names that are not (RFC 9824).
    Compact,
    /// NSEC3 records that cover as little as possible (RFC 7129 appendix B).
    Nsec3,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let line = setup.only_occurrence()?;
        let mut config = Self {
            zones: setup.zones(&line.args)?,
            keys: Keyring::default(),
            capacity: CAPACITY_DEFAULT,
            denial: Denial::default(),
        };
        for option in line.lines() {
            config.option(setup, option)?;
        }
        if config.denial == Denial::Nsec3 {
            config.check_lengths()?;
        }
        Ok(config)
    }

    fn option(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "key" => {
                line.no_block()?;
                self.read_keys(setup, line)?;
            }
            "cache_capacity" => {
                let entries: i64 = line.one_arg()?.parse("a number")?;
                let entries = usize::try_from(entries).unwrap_or(0);
                if entries > CAPACITY_MAX {
                    let what = format!("cache_capacity {entries} is greater than {CAPACITY_MAX}");
                    return Err(line.args[0].error(what).into());
                }
                self.capacity = entries.max(CAPACITY_MIN);
            }
            "denial" => self.denial = denial(line.one_arg()?)?,
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }

    fn read_keys(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        let Some((source, names)) = line.args.split_first() else {
            return Err(line.argument_error().into());
        };
        match source.text.as_str() {
            "file" => (),
            "aws_secretsmanager" => {
                return Err(source
                    .error("keys from AWS Secrets Manager are not supported")
                    .help("store the two parts of the secret as files and use 'key file KEY'")
                    .into());
            }
            other => {
                return Err(source
                    .error(format!("unknown source of keys '{other}'"))
                    .help("use 'key file KEY...'")
                    .into());
            }
        }
        if names.is_empty() {
            return Err(line.argument_error().into());
        }
        for name in names {
            self.read_key(&setup.path(&name.text), name)?;
        }
        Ok(())
    }

    fn read_key(&mut self, path: &Path, token: &Token) -> Result<(), SetupError> {
        let key = keyfile::load(path).map_err(|error| token.error(error.to_string()))?;
        let signs = |zone: &Name| zone.is_in(key.owner());
        if !self.zones.names().iter().any(signs) {
            let what = format!(
                "key {} (keyid: {}) can not sign any of the zones",
                key.owner(),
                key.public().tag()
            );
            return Err(token
                .error(what)
                .help("a key can sign the zone it was made for and those below it")
                .into());
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(token.error(format!("more than {KEYS_MAX} keys")).into());
        }
        if !self.keys.add(key) {
            tracing::warn!(
                target: "plugin/dnssec",
                "{}:{}: key {} is there twice; it signs once", token.at.file, token.at.line, token.text
            );
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), SetupError> {
        let fits = |zone: &&Name| denial::nsec3_owner(&hash(zone, 0, &[]), zone).is_some();
        match self.zones.names().iter().find(|zone| !fits(zone)) {
            None => Ok(()),
            Some(zone) => Err(SetupError::new(format!(
                "zone {zone} has too long a name for NSEC3 records"
            ))),
        }
    }
}

fn denial(token: &Token) -> Result<Denial, SetupError> {
    match token.text.as_str() {
        "black_lies" => Ok(Denial::BlackLies),
        "compact" => Ok(Denial::Compact),
        "nsec3" => Ok(Denial::Nsec3),
        other => Err(token
            .error(format!("unknown way of denial '{other}'"))
            .help("use 'black_lies', 'compact' or 'nsec3'")
            .into()),
    }
}
