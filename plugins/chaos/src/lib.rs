//! *chaos*: TXT records of class CH about the server: version, authors, host name (RFC 4892).
use std::collections::BTreeSet;

use corten_plugin::wire::{Class, Name, Owner, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};
use rand::seq::SliceRandom;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "chaos",
    setup,
    readme: include_str!("../README.md"),
};

/// What is said without arguments.
const VERSION: &str = concat!("Corten-", env!("CARGO_PKG_VERSION"));
/// Octets of a character-string (RFC 1035 section 3.3).
const STRING_OCTETS_MAX: usize = 255;

struct Chaos {
    version: String,
    authors: Vec<String>,
    host: String,
    names: Names,
}

struct Names {
    version: [Name; 2],
    authors: Name,
    host: [Name; 2],
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut version = cut(VERSION);
    let mut authors = BTreeSet::from(["The Corten Authors".to_owned()]);
    for line in setup.occurrences()? {
        line.no_block()?;
        let Some((first, rest)) = line.args.split_first() else {
            continue;
        };
        version = cut(&first.text);
        if !rest.is_empty() {
            authors = rest.iter().map(|author| cut(&author.text)).collect();
        }
    }
    setup.options.any_class = true;
    let host = nix::unistd::gethostname()
        .map(|name| cut(&name.to_string_lossy()))
        .unwrap_or_else(|_| "localhost".into());
    let name = |text: &str| {
        text.parse::<Name>()
            .map_err(|error| SetupError::new(format!("{text}: {error}")))
    };
    let names = Names {
        version: [name("version.bind")?, name("version.server")?],
        authors: name("authors.bind")?,
        host: [name("hostname.bind")?, name("id.server")?],
    };
    setup.push(Chaos {
        version,
        authors: authors.into_iter().collect(),
        host,
        names,
    });
    Ok(())
}

/// As much of the text as a character-string holds.
fn cut(text: &str) -> String {
    let end = (0..=STRING_OCTETS_MAX.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text[..end].to_owned()
}

impl Plugin for Chaos {
    fn name(&self) -> &'static str {
        "chaos"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let question = &ex.query.question;
        if question.class != Class::CH || question.rtype != RecordType::TXT {
            return Flow::Pass;
        }
        let mut texts: Vec<&str> = match &question.name {
            name if self.names.version.contains(name) => vec![&self.version],
            name if self.names.host.contains(name) => vec![&self.host],
            name if self.names.authors == *name => {
                self.authors.iter().map(String::as_str).collect()
            }
            _ => return Flow::Pass,
        };
        texts.shuffle(&mut rand::rng());
        let reply = ex.start(Rcode::NOERROR);
        for text in texts {
            reply.push_class(
                Section::Answer,
                Owner::Question,
                RecordType::TXT,
                Class::CH,
                0,
                |rdata| rdata.string(text.as_bytes()),
            );
        }
        Flow::Respond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!(cut(&"é".repeat(200)).len(), 254);
        assert_eq!(cut("short"), "short");
    }
}
