//! *nsid*: the name server identifier (RFC 5001), for clients that ask for it.
use corten_plugin::{Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "nsid",
    setup,
    readme: include_str!("../README.md"),
};

/// EDNS option NSID.
const NSID: u16 = 3;
/// Octets of the longest identifier: larger ones would leave little of a reply.
const IDENTIFIER_OCTETS_MAX: usize = 255;

struct Nsid {
    identifier: Box<[u8]>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    line.no_block()?;
    let identifier = match &line.args[..] {
        [] => nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|_| "localhost".into()),
        words => words
            .iter()
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    };
    if identifier.len() > IDENTIFIER_OCTETS_MAX {
        let text = format!(
            "the identifier has {} octets; {IDENTIFIER_OCTETS_MAX} is the most",
            identifier.len()
        );
        return Err(line.name.error(text).into());
    }
    setup.push(Nsid {
        identifier: identifier.into_bytes().into(),
    });
    Ok(())
}

impl Plugin for Nsid {
    fn name(&self) -> &'static str {
        "nsid"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        // An identifier that an upstream sent is not ours.
        if ex.query.edns_option(NSID).is_some() {
            ex.reply.set_option(NSID, &self.identifier);
        } else {
            ex.reply.remove_option(NSID);
        }
        Flow::Respond
    }
}
