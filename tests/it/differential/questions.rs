//! Random questions about a zone.
use std::fmt;

use super::random::Random;
use super::zones::Zone;

/// A question.
pub(super) struct Question {
    /// With its final dot.
    pub(super) name: String,
    pub(super) rtype: &'static str,
    pub(super) dnssec_ok: bool,
    /// With its final dot.
    pub(super) apex: String,
}

const TYPES: &[&str] = &[
    "A",
    "A",
    "A",
    "A",
    "AAAA",
    "AAAA",
    "TXT",
    "TXT",
    "MX",
    "CNAME",
    "CNAME",
    "NS",
    "NS",
    "DNAME",
    "DS",
    "DS",
    "SOA",
    "SRV",
    "ANY",
    "TYPE65400",
    "TYPE47",
    "TYPE48",
];
/// Labels that are asked for: those of the zones, and others.
const LABELS: &[&str] = &["a", "b", "c", "d", "ns", "x", "*", "zz"];

/// A question whose name is in the zone, or nearly.
pub(super) fn random(zone: &Zone, random: &mut Random) -> Question {
    let mut labels: Vec<String> = match random.percent(85) {
        true => random
            .of(&zone.names)
            .split('.')
            .map(str::to_owned)
            .collect(),
        false => (0..random.below(5))
            .map(|_| (*random.of(LABELS)).to_owned())
            .collect(),
    };
    labels.retain(|label| !label.is_empty());
    for label in &mut labels {
        // What a wildcard stands for; now and then itself.
        if label == "*" && random.percent(80) {
            *label = (*random.of(LABELS)).to_owned();
        }
    }
    match random.below(10) {
        0..3 => labels.insert(0, (*random.of(LABELS)).to_owned()),
        3 if !labels.is_empty() => drop(labels.remove(0)),
        4 => {
            labels.insert(0, (*random.of(LABELS)).to_owned());
            labels.insert(0, (*random.of(LABELS)).to_owned());
        }
        5 if !labels.is_empty() => labels[0] = (*random.of(LABELS)).to_owned(),
        // So long that a DNAME may make it too long (RFC 6672 section 2.2).
        6 if random.percent(20) => {
            for _ in 0..3 {
                labels.insert(0, "y".repeat(60));
            }
            labels.insert(0, "y".repeat(30 + random.below(20)));
        }
        _ => (),
    }
    labels.push(zone.name.clone());
    // 255 octets with the root's (RFC 1035 section 2.3.4).
    while labels.iter().map(|label| label.len() + 1).sum::<usize>() > 254 {
        labels.remove(0);
    }
    Question {
        name: format!("{}.", labels.join(".")),
        rtype: random.of::<&str>(TYPES),
        dnssec_ok: random.percent(50),
        apex: format!("{}.", zone.name),
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dnssec = if self.dnssec_ok { " +do" } else { "" };
        write!(f, "{} {}{dnssec}", self.name, self.rtype)
    }
}
