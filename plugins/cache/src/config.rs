//! The directive's lines.
use std::time::Duration;

use corten_plugin::corefile::{Line, ParseError, Token};
use corten_plugin::wire::{Opcode, Query, RecordType};
use corten_plugin::{Setup, SetupError, Zones};

use crate::store::SHARDS;

/// Entries of each store where the directive says nothing (CoreDNS's value).
const CAPACITY: i64 = 10_000;
/// Seconds that a positive answer is kept at most, and a denial.
const TTL_MAX: (u32, u32) = (3600, 1800);
/// Seconds that anything is kept at least: a TTL below is raised.
const TTL_MIN: u32 = 5;
/// What RFC 2181 section 8 allows a TTL to be.
const TTL_LIMIT: i64 = i32::MAX as i64;
/// RFC 2308 section 7.1 wants failures forgotten after this time, RFC 8767 section 5 tried again.
const FAILURE_MAX: Duration = Duration::from_secs(300);
const PROPERTIES: &[&str] = &[
    "denial",
    "disable",
    "keepttl",
    "prefetch",
    "serve_stale",
    "serve_stale_policy",
    "servfail",
    "success",
];

/// What a *cache* directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) zones: Zones,
    pub(crate) success: Limits,
    pub(crate) denial: Limits,
    /// TTL of failures, in seconds; 0 for none.
    pub(crate) failure_ttl: u32,
    pub(crate) prefetch: Option<Prefetch>,
    pub(crate) stale: Option<Stale>,
    /// Zones whose positive answers are not kept, and those whose denials are not.
    pub(crate) disabled: [Zones; 2],
    /// Answers have their first TTL until they are gone.
    pub(crate) keep_ttl: bool,
}

/// Limits of one of the stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Entries of each shard.
    pub(crate) shard_entries: usize,
    /// Seconds.
    pub(crate) ttl_max: u32,
    /// Seconds.
    pub(crate) ttl_min: u32,
}

/// Which answers are asked for again before they are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefetch {
    /// Hits that make an entry popular.
    pub(crate) hits: u32,
    /// Milliseconds between two of them at most.
    pub(crate) gap: u64,
    /// Percent of the TTL that are left at most.
    pub(crate) percent: u32,
}

/// What happens with entries whose TTL is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Seconds behind its TTL that an entry is still good for.
    pub(crate) seconds: u32,
    pub(crate) mode: StaleMode,
    /// TTL of stale answers, in seconds.
    pub(crate) ttl: u32,
    /// Milliseconds without another try after one that failed.
    pub(crate) recheck: u64,
    /// A denial that is newer does not win over a positive answer.
    pub(crate) prefer_positive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaleMode {
    /// The stale answer first; it is asked for again afterwards.
    Immediate,
    /// It is asked for again first, for this time at most; zero for as long as it takes.
    Verify(Duration),
}

impl Limits {
    /// CoreDNS's rule: the capacity is spread over 256 shards, and each holds four entries at
    /// least.
    fn new(capacity: i64, ttl_max: u32) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(0);
        Self {
            shard_entries: (capacity / SHARDS).max(4),
            ttl_max,
            ttl_min: TTL_MIN,
        }
    }

    /// `CAPACITY [TTL [MINTTL]]`
    fn read(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        let [capacity, more @ ..] = line.at_least(1)? else {
            return Err(line.argument_error().into());
        };
        line.no_block()?;
        let ttl_max = self.ttl_max;
        *self = Self {
            ttl_min: self.ttl_min,
            ..Self::new(integer(capacity)?, ttl_max)
        };
        if let Some(word) = more.first() {
            self.ttl_max = ttl(word, integer(word)?)?;
        }
        if let Some(word) = more.get(1) {
            let seconds = integer(word)?;
            if seconds < 0 {
                let text = format!("cache min TTL can not be negative: {seconds}");
                return Err(word.error(text).into());
            }
            self.ttl_min = seconds.min(TTL_LIMIT) as u32;
        }
        if let Some(word) = more.get(2) {
            tracing::warn!(target: "plugin/cache", "{}:{}: '{}' and what follows it is ignored", word.at.file, word.at.line, word.text);
        }
        Ok(())
    }

    /// A TTL within the limits.
    pub(crate) fn clamp(&self, ttl: u32) -> u32 {
        ttl.max(self.ttl_min).min(self.ttl_max)
    }
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let line = setup.only_occurrence()?;
        let mut arguments = &line.args[..];
        let (mut success_ttl, mut denial_ttl) = TTL_MAX;
        if let [first, rest @ ..] = arguments
            && let Ok(seconds) = first.text.parse()
        {
            (success_ttl, denial_ttl) = (ttl(first, seconds)?, ttl(first, seconds)?);
            arguments = rest;
        }
        let mut config = Self {
            zones: setup.zones(arguments)?,
            success: Limits::new(CAPACITY, success_ttl),
            denial: Limits::new(CAPACITY, denial_ttl),
            failure_ttl: TTL_MIN,
            prefetch: None,
            stale: None,
            disabled: [Zones::default(), Zones::default()],
            keep_ttl: false,
        };
        let mut policy = None;
        for option in line.lines() {
            config.option(setup, option, &mut policy)?;
        }
        match (policy, &mut config.stale) {
            (Some(_), Some(stale)) => stale.prefer_positive = true,
            (Some(word), None) => {
                let error = word.error("serve_stale_policy requires serve_stale");
                return Err(error.into());
            }
            (None, _) => (),
        }
        // Nothing is ever stale for no time.
        config.stale = config.stale.filter(|stale| stale.seconds > 0);
        Ok(config)
    }

    fn option<'a>(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'a>,
        policy: &mut Option<&'a Token>,
    ) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "success" => self.success.read(line)?,
            "denial" => self.denial.read(line)?,
            "prefetch" => self.prefetch = prefetch(line)?,
            "serve_stale" => self.stale = Some(stale(line)?),
            "serve_stale_policy" => {
                if policy.replace(line.name).is_some() {
                    let error = line
                        .name
                        .error("serve_stale_policy can only be specified once");
                    return Err(error.into());
                }
                let word = line.one_arg()?;
                if !word.text.eq_ignore_ascii_case("prefer_positive") {
                    let error = word.error(format!("invalid serve_stale_policy: {}", word.text));
                    return Err(error.help("the only policy is prefer_positive").into());
                }
            }
            "servfail" => {
                let word = line.one_arg()?;
                let time = duration(word, "invalid negative ttl for servfail")?;
                if time > FAILURE_MAX {
                    let text = "caching SERVFAIL responses over 5 minutes is not permitted";
                    return Err(word.error(text).into());
                }
                self.failure_ttl = time.as_secs() as u32;
            }
            "disable" => {
                let [kind, zones @ ..] = line.at_least(1)? else {
                    return Err(line.argument_error().into());
                };
                let zones = match zones {
                    [] => Zones::new(vec![corten_plugin::wire::Name::root()]),
                    zones => setup.zones(zones)?,
                };
                match kind.text.as_str() {
                    "success" => self.disabled[0] = zones,
                    "denial" => self.disabled[1] = zones,
                    _ => {
                        let text = "cache type for disable must be \"denial\" or \"success\"";
                        return Err(kind.error(text).into());
                    }
                }
            }
            "keepttl" => {
                line.no_args()?;
                self.keep_ttl = true;
            }
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }

    /// Whether answers to this query may be kept and given from memory. Transfers and notifications
    /// are no look-ups.
    pub(crate) fn covers(&self, query: &Query) -> bool {
        let question = &query.question;
        query.opcode() == Opcode::QUERY
            && !matches!(question.rtype, RecordType::AXFR | RecordType::IXFR)
            && self.zones.matches(&question.name).is_some()
    }

    /// Seconds behind its TTL that an entry is still good for.
    pub(crate) fn stale_seconds(&self) -> i64 {
        self.stale
            .as_ref()
            .map_or(0, |stale| i64::from(stale.seconds))
    }

    pub(crate) fn prefers_positive(&self) -> bool {
        self.stale
            .as_ref()
            .is_some_and(|stale| stale.prefer_positive)
    }
}

/// `N [GAP [PERCENT%]]`
fn prefetch(line: &Line<'_>) -> Result<Option<Prefetch>, SetupError> {
    let words = line.args_between(1, 3)?;
    let hits = integer(words[0])?;
    if hits < 0 {
        let text = format!("prefetch amount should be positive: {hits}");
        return Err(words[0].error(text).into());
    }
    let gap = match words.get(1) {
        Some(word) => word.parse_duration()?,
        None => Duration::from_secs(60),
    };
    let percent = match words.get(2) {
        Some(word) => percent(word)?,
        None => 10,
    };
    Ok((hits > 0).then(|| Prefetch {
        hits: u32::try_from(hits).unwrap_or(u32::MAX),
        gap: milliseconds(gap),
        percent,
    }))
}

fn percent(word: &Token) -> Result<u32, SetupError> {
    let Some(number) = word.text.strip_suffix('%') else {
        let last = word.text.chars().last().unwrap_or(' ');
        let text = format!("last character of percentage should be `%`, but is: '{last}'");
        return Err(word.error(text).into());
    };
    let number: i64 = number
        .parse()
        .map_err(|_| word.error(format!("'{}' is not a percentage", word.text)))?;
    match u32::try_from(number).ok().filter(|n| (10..=90).contains(n)) {
        Some(percent) => Ok(percent),
        None => {
            let text = format!("percentage should fall in range [10, 90]: {number}");
            Err(word.error(text).into())
        }
    }
}

/// `[FOR [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]`
fn stale(line: &Line<'_>) -> Result<Stale, SetupError> {
    let words = line.args_between(0, 5)?;
    let time = match words.first() {
        Some(word) => duration(word, "invalid negative duration for serve_stale")?,
        None => Duration::from_secs(3600),
    };
    let (mode, rest) = match words.get(1) {
        None => (StaleMode::Immediate, &[][..]),
        Some(word) if word.text.eq_ignore_ascii_case("immediate") => {
            if words.len() > 4 {
                return Err(line.argument_error().into());
            }
            (StaleMode::Immediate, &words[2..])
        }
        Some(word) if word.text.eq_ignore_ascii_case("verify") => match words.get(2) {
            None => (StaleMode::Verify(Duration::ZERO), &[][..]),
            Some(word) => {
                let timeout = duration(word, "invalid negative timeout for serve_stale verify")?;
                (StaleMode::Verify(timeout), &words[3..])
            }
        },
        Some(word) => {
            let text = format!("invalid value for serve_stale refresh mode: {}", word.text);
            return Err(word
                .error(text)
                .help("modes are immediate and verify")
                .into());
        }
    };
    let ttl = match rest.first() {
        None => 0,
        Some(word) => {
            let ttl = duration(word, "invalid negative response TTL for serve_stale")?;
            if ttl.subsec_nanos() != 0 {
                let text = "serve_stale response TTL must be a whole number of seconds";
                return Err(word.error(text).into());
            }
            let text = "serve_stale response TTL exceeds the DNS TTL range";
            u32::try_from(ttl.as_secs()).map_err(|_| word.error(text))?
        }
    };
    let recheck = match rest.get(1) {
        None => Duration::ZERO,
        Some(word) => {
            let recheck = duration(word, "invalid negative failure recheck for serve_stale")?;
            if recheck > FAILURE_MAX {
                let text = "serve_stale failure recheck cannot exceed 5 minutes";
                return Err(word.error(text).into());
            }
            recheck
        }
    };
    Ok(Stale {
        seconds: u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
        mode,
        ttl,
        recheck: milliseconds(recheck),
        prefer_positive: false,
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn integer(word: &Token) -> Result<i64, ParseError> {
    word.parse("an integer")
}

/// A maximum TTL: zero is reserved.
fn ttl(word: &Token, seconds: i64) -> Result<u32, ParseError> {
    if seconds <= 0 {
        let text = format!("cache TTL can not be zero or negative: {seconds}");
        return Err(word.error(text));
    }
    Ok(seconds.min(TTL_LIMIT) as u32)
}

fn duration(word: &Token, negative: &str) -> Result<Duration, ParseError> {
    match word.text.starts_with('-') {
        true => Err(word.error(negative)),
        false => word.parse_duration(),
    }
}

#[cfg(test)]
mod tests;
