//! The same zones and questions for us, NSD, Knot and BIND: the answers must be the same.
//!
//! | module | what it is |
//! |---|---|
//! | [`zones`] | random zones, full of what is hard |
//! | [`questions`] | random questions that lead there |
//! | [`peers`] | the servers |
//! | [`verdict`] | what an answer says beside all that is policy, and who is right where they differ |
//!
//! Seeded: `CORTEN_DIFFERENTIAL_SEED` is the seed, and a failure prints it. `CORTEN_DIFFERENTIAL_SECONDS` is how
//! long questions are asked; by default there are always the same ones.
mod peers;
mod questions;
mod random;
mod verdict;
mod zones;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::server::Folder;
use peers::Servers;
use random::Random;
use verdict::{Answer, Verdict};
use zones::{Signing, Zone};

/// Zones of each kind.
const ZONES: [(Signing, usize); 4] = [
    (Signing::None, 24),
    (Signing::Nsec, 10),
    (Signing::Nsec3, 8),
    (Signing::OptOut, 8),
];
/// Kinds of differences that are printed.
const SHOWN_MAX: usize = 12;
/// Questions that are asked by default, and seconds that they may take.
const QUESTIONS: u32 = 20_000;
const SECONDS_MAX: u64 = 30;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("differential::nsd_knot_bind", compare)]
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

fn compare() -> Result<(), Failed> {
    let seed = setting("CORTEN_DIFFERENTIAL_SEED", 1);
    let (most, seconds) = match setting("CORTEN_DIFFERENTIAL_SECONDS", 0) {
        0 => (QUESTIONS, SECONDS_MAX),
        seconds => (u32::MAX, seconds),
    };
    let mut random = Random::new(seed);
    let folder = Folder::new();
    let mut zones = Vec::new();
    for (signing, count) in ZONES {
        for _ in 0..count {
            zones.push(Zone::random(zones.len(), signing, &mut random));
        }
    }
    zones.iter().for_each(|zone| zone.write(&folder));
    let servers = Servers::start(&folder, &zones);
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut asked, mut decided, mut wrong) = (0u32, BTreeMap::<&str, u32>::new(), BTreeMap::new());
    while asked < most && Instant::now() < until {
        let zone = random.of(&zones);
        let question = questions::random(zone, &mut random);
        let Some(answers) = servers.ask(&question) else {
            continue;
        };
        asked += 1;
        match verdict::of(&question, &answers) {
            Verdict::Same => (),
            Verdict::Rule(rule) => *decided.entry(rule).or_default() += 1,
            Verdict::Wrong => {
                let kind = format!("{:?} {}", zone.signing, verdict::kind(&answers));
                let example = || shown(zone, &question, &answers);
                wrong.entry(kind).or_insert_with(|| (0, example())).0 += 1;
            }
        }
    }
    eprintln!("seed {seed}: {asked} questions; decided by a rule:");
    for (rule, count) in decided {
        eprintln!("{count:6}  {rule}");
    }
    if !wrong.is_empty() {
        let mut text = format!("seed {seed}, {asked} questions; an example of each kind:\n");
        for (kind, (count, example)) in wrong.iter().take(SHOWN_MAX) {
            let _ = writeln!(text, "--- {count} times {kind}\n{example}");
        }
        return Err(text.into());
    }
    match asked {
        500.. => Ok(()),
        _ => Err(format!("only {asked} questions were answered by everybody").into()),
    }
}

fn shown(zone: &Zone, question: &questions::Question, answers: &[Answer; 4]) -> String {
    let mut text = format!("{question}\n{}", zone.excerpt(question));
    for (name, answer) in peers::NAMES.iter().zip(answers) {
        text.push_str(&format!("{name}: {answer}\n"));
    }
    text
}
