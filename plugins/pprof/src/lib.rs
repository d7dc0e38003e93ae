//! *pprof*: CPU profiles over HTTP.
mod pages;

use std::sync::Arc;

use corten_plugin::corefile::Occurrence;
use corten_plugin::{Announcement, Directive, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "pprof",
    setup,
    readme: include_str!("../README.md"),
};

/// CoreDNS's choice.
const ADDRESS: &str = "localhost:6053";

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let (address, block) = read(&setup.only_occurrence()?)?;
    if block {
        tracing::warn!(
            target: "plugin/pprof",
            "'block' has no effect: there is no profile of what waits"
        );
    }
    setup.announce(Announcement {
        directive: "pprof",
        address,
        path: pages::ROOT,
        endpoint: Arc::new(pages::Pages),
        tls: None,
    });
    Ok(())
}

/// Reads `pprof [ADDRESS] { block [RATE] }`; returns whether `block` is there.
fn read(line: &Occurrence<'_>) -> Result<(String, bool), SetupError> {
    let address = match line.args_between(0, 1)?.first() {
        Some(token) => Announcement::address(token)?,
        None => ADDRESS.to_owned(),
    };
    let mut block = false;
    for option in line.lines() {
        if option.name.text != "block" {
            return Err(option.unknown_property(&["block"]).into());
        }
        if let Some(rate) = option.args_between(0, 1)?.first() {
            let text = &rate.text;
            if text.parse::<u64>().is_err() {
                let what = format!("property 'block' invalid integer value '{text}'");
                return Err(rate.error(what).into());
            }
        }
        block = true;
    }
    Ok((address, block))
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(text: &str) -> Result<(String, bool), String> {
        let text = format!(". {{\n{text}\n}}\n");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["pprof"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_read() {
        for (text, address, block) in [
            ("pprof", "localhost:6053", false),
            ("pprof :6054", ":6054", false),
            ("pprof {\nblock\n}", "localhost:6053", true),
            ("pprof 1.2.3.4:6053 {\nblock 20\n}", "1.2.3.4:6053", true),
        ] {
            assert_eq!(config(text), Ok((address.to_owned(), block)), "{text}");
        }
        for (text, error) in [
            ("pprof 6053", "address 6053: missing port in address"),
            ("pprof :6053 :6054", "Wrong argument count"),
            (
                "pprof {\nblock x\n}",
                "property 'block' invalid integer value 'x'",
            ),
            ("pprof {\nblock 1 2\n}", "Wrong argument count"),
            ("pprof {\nmutex\n}", "unknown property 'mutex'"),
        ] {
            let told = config(text).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
