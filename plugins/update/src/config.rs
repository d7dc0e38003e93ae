//! The directive's lines.
use std::path::PathBuf;

use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::wire::{Name, RecordType};
use corten_plugin::{Setup, SetupError, Zones};

use crate::policy::{Grant, Limits, Policy, Wanted, What};

const PROPERTIES: &[&str] = &[
    "acme",
    "allow",
    "expire",
    "journal",
    "length",
    "rate",
    "ttl",
    "values",
    "write_back",
];
const JOURNAL_DEFAULT: &str = "updates";

/// What an *update* directive says.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) zones: Zones,
    /// Where the journals are.
    pub(crate) journal: PathBuf,
    /// Where zones are written down as they are served.
    pub(crate) write_back: Option<PathBuf>,
    pub(crate) policy: Policy,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let zones = setup.zones(&line.args)?;
        let mut journal = setup.path(JOURNAL_DEFAULT);
        let (mut write_back, mut grants) = (None, Vec::new());
        let mut limits = Limits {
            expire_seconds: 86_400,
            ttl_min: 0,
            ttl_max: 300,
            values_max: 16,
            value_octets_max: 255,
            rate: 60,
        };
        for option in line.lines() {
            option.no_block()?;
            match option.name.text.as_str() {
                "journal" => journal = setup.path(&option.one_arg()?.text),
                "write_back" => write_back = Some(setup.path(&option.one_arg()?.text)),
                "allow" => grants.push(allow(option, &zones)?),
                "acme" => grants.push(acme(option)?),
                "expire" => limits.expire_seconds = option.one_arg()?.parse_duration()?.as_secs(),
                "ttl" => {
                    let words = option.args_between(1, 2)?;
                    let number =
                        |at: usize| words[at.min(words.len() - 1)].parse("a number of seconds");
                    (limits.ttl_min, limits.ttl_max) = (number(0)?, number(1)?);
                    if words.len() == 1 {
                        limits.ttl_min = 0;
                    }
                    if limits.ttl_min > limits.ttl_max {
                        return Err(words[0]
                            .error("the least TTL is greater than the greatest")
                            .into());
                    }
                }
                "values" => limits.values_max = option.one_arg()?.parse("a number")?,
                "length" => {
                    limits.value_octets_max = option.one_arg()?.parse("a number of octets")?
                }
                "rate" => limits.rate = option.one_arg()?.parse("a number of updates a minute")?,
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        if grants.is_empty() {
            tracing::warn!(
                target: "plugin/update",
                "neither 'allow' nor 'acme' is there; every update is refused"
            );
        }
        Ok(Self {
            zones,
            journal,
            write_back,
            policy: Policy::new(grants, limits),
        })
    }
}

fn name(token: &Token) -> Result<Name, SetupError> {
    let parsed = token.text.parse();
    Ok(parsed.map_err(|error| token.error(format!("'{}' is not a name: {error}", token.text)))?)
}

/// `allow KEY [NAME...] [types TYPE...]`.
fn allow(line: &Line<'_>, zones: &Zones) -> Result<Grant, SetupError> {
    let words = line.at_least(1)?;
    let (key, rest) = (name(words[0])?, &words[1..]);
    let split = rest.iter().position(|word| word.text == "types");
    let (names, types) = rest.split_at(split.unwrap_or(rest.len()));
    let mut names = names
        .iter()
        .map(|word| name(word))
        .collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        names = zones.names().to_vec();
    }
    let types = types
        .iter()
        .skip(1)
        .map(|word| word.parse::<RecordType>("a type"));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    if split.is_some() && types.is_empty() {
        return Err(line.name.error("no type stands behind 'types'").into());
    }
    let what = What::Names { names, types };
    Ok(Grant { key, what })
}

/// `acme KEY NAME...`.
fn acme(line: &Line<'_>) -> Result<Grant, SetupError> {
    let words = line.at_least(2)?;
    let wanted = words[1..].iter().map(|word| {
        let name = name(word)?;
        let below = name.label(0) == Some(b"*");
        Ok(Wanted {
            name: if below { name.parent(1) } else { name },
            below,
        })
    });
    Ok(Grant {
        key: name(words[0])?,
        what: What::Challenges(wanted.collect::<Result<_, SetupError>>()?),
    })
}
