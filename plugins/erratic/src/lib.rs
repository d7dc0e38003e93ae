//! *erratic*: misbehaves on purpose, for tests.
mod transfer;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::wire::{Owner, Rcode, RecordType, Section};
use corten_plugin::{
    Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError, async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "erratic",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["delay", "drop", "large", "truncate"];
/// One in how many, where no number is given.
const AMOUNT: u64 = 2;
const DELAY: Duration = Duration::from_millis(100);
/// Records of an answer that is large.
const LARGE: usize = 30;
const V4: [u8; 4] = [192, 0, 2, 53];
const V6: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53,
];

/// One in how many queries something happens to; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    drop: u64,
    delay: u64,
    delay_by: Duration,
    truncate: u64,
    large: bool,
}

struct Erratic {
    config: Config,
    /// Queries so far. Shared by all workers, because one in N means one in N.
    queries: AtomicU64,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(&setup.occurrences()?)?;
    setup.push(Erratic {
        config,
        queries: AtomicU64::new(0),
    });
    Ok(())
}

impl Config {
    fn read(lines: &[Occurrence<'_>]) -> Result<Self, SetupError> {
        let (mut drop, mut delay, mut truncate) = (None, 0, 0);
        let (mut delay_by, mut large) = (DELAY, false);
        for line in lines {
            line.no_args()?;
            for option in line.lines() {
                option.no_block()?;
                match option.name.text.as_str() {
                    "drop" => drop = Some(amount(option, 1)?),
                    "delay" => {
                        delay = amount(option, 2)?;
                        delay_by = match option.args.get(1) {
                            Some(word) => word.parse_duration()?,
                            None => DELAY,
                        };
                    }
                    "truncate" => truncate = amount(option, 1)?,
                    "large" => {
                        option.no_args()?;
                        large = true;
                    }
                    _ => return Err(option.unknown_property(PROPERTIES).into()),
                }
            }
        }
        // Without any option half the queries are dropped.
        let otherwise = if delay + truncate > 0 { 0 } else { AMOUNT };
        Ok(Self {
            drop: drop.unwrap_or(otherwise),
            delay,
            delay_by,
            truncate,
            large,
        })
    }
}

/// One in how many; of at most `max` arguments the first.
fn amount(option: &Line<'_>, max: usize) -> Result<u64, SetupError> {
    match option.args_between(0, max)?.first() {
        None => Ok(AMOUNT),
        Some(word) => number(word),
    }
}

fn number(word: &Token) -> Result<u64, SetupError> {
    let text = match word.text.parse::<i32>() {
        Ok(number) if number >= 0 => return Ok(number.unsigned_abs().into()),
        Ok(_) => format!("illegal amount value given \"{}\"", word.text),
        Err(_) => format!("amount '{}' is not a number", word.text),
    };
    Err(word
        .error(text)
        .help("one in how many queries: 0 for none, 1 for all, 2 for every second")
        .into())
}

impl Erratic {
    fn respond(&self, ex: &mut Exchange, truncate: bool) -> Flow {
        let rtype = ex.query.question.rtype;
        let (data, times): (&[u8], _) = match rtype {
            RecordType::A if self.config.large => (&V4, LARGE),
            RecordType::A => (&V4, 1),
            RecordType::AAAA => (&V6, 1),
            RecordType::AXFR => return transfer::respond(ex, truncate),
            _ => return ex.answer(Rcode::SERVFAIL),
        };
        let reply = ex.start(Rcode::NOERROR);
        (reply.authoritative, reply.truncated) = (true, truncate);
        for _ in 0..times {
            reply.push(Section::Answer, Owner::Question, rtype, 0, |rdata| {
                rdata.octets(data);
            });
        }
        Flow::Respond
    }
}

/// Whether the query with this number, counted from 0, is one in `amount`.
const fn hits(amount: u64, number: u64) -> bool {
    amount > 0 && number.is_multiple_of(amount)
}

#[async_trait]
impl Plugin for Erratic {
    fn name(&self) -> &'static str {
        "erratic"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let number = self.queries.fetch_add(1, Relaxed);
        if hits(self.config.drop, number) {
            return Flow::Drop;
        }
        let truncate = hits(self.config.truncate, number);
        if hits(self.config.delay, number) {
            // `wait` only has to send what is made here, late.
            let _ = self.respond(ex, truncate);
            return Flow::Wait;
        }
        self.respond(ex, truncate)
    }

    async fn wait(&self, _: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        tokio::time::sleep(self.config.delay_by).await;
        Flow::Respond
    }

    /// Flips, for tests of whoever asks: ready while three or four queries have been received.
    fn ready(&self) -> bool {
        (3..5).contains(&self.queries.load(Relaxed))
    }
}

#[cfg(test)]
mod tests;
