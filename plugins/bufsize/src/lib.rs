//! *bufsize*: caps the UDP size that clients and upstreams are told (RFC 6891 section 6.2.3).
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "bufsize",
    setup,
    readme: include_str!("../README.md"),
};

/// Octets; fits every link without fragments (DNS Flag Day 2020).
const DEFAULT: u16 = 1232;
/// Octets; what the directive takes.
const RANGE: std::ops::RangeInclusive<u16> = 512..=4096;

struct Bufsize {
    octets: u16,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut size = None;
    for line in setup.occurrences()? {
        line.no_block()?;
        let octets = match line.args_between(0, 1)? {
            [] => DEFAULT,
            [word, ..] => word
                .text
                .parse()
                .ok()
                .filter(|octets| RANGE.contains(octets))
                .ok_or_else(|| {
                    let text = format!("'{}' is not a number from 512 to 4096", word.text);
                    word.error(text)
                })?,
        };
        if size.is_some() {
            let at = &line.name.at;
            tracing::warn!(target: "plugin/bufsize", "{}:{}: only the first size of a server block counts", at.file, at.line);
        }
        size.get_or_insert(octets);
    }
    setup.push(Bufsize {
        octets: size.unwrap_or(DEFAULT),
    });
    Ok(())
}

impl Plugin for Bufsize {
    fn name(&self) -> &'static str {
        "bufsize"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        ex.query.cap_udp_size(self.octets);
        Flow::Pass
    }
}
