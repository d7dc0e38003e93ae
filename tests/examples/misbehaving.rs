//! Corten with a plugin that breaks its promises: `panic.` and all below panics, in the call that
//! the first label names.
use std::process::ExitCode;

use corten_plugin::{
    Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError, async_trait,
};

static MISBEHAVE: Directive = Directive {
    name: "misbehave",
    setup,
    readme: "",
};

struct Misbehave;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    setup.push(Misbehave);
    Ok(())
}

#[async_trait]
impl Plugin for Misbehave {
    fn name(&self) -> &'static str {
        "misbehave"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match ex.query.question.name.label(0) {
            Some(b"down") => panic!("on the way down"),
            Some(b"back") => Flow::Watch,
            Some(b"wait") => Flow::Wait,
            _ => Flow::Pass,
        }
    }

    fn on_response(&self, _: &mut Exchange) -> Flow {
        panic!("on the way back");
    }

    async fn wait(&self, _: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        panic!("while waiting");
    }
}

fn main() -> ExitCode {
    corten::Builder::new(corten::plugins::STANDARD)
        .insert_before(&corten_hosts::PLUGIN, &MISBEHAVE)
        .main()
}
