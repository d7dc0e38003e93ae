//! *auto*: serves every zone file of a folder.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `walk` | what is in the folder |
//! | `zones` | the zones that are served, and how they follow the folder |
//! | here | the decisions, and the task that looks again |
mod config;
mod walk;
mod zones;

use std::sync::Arc;

use corten_plugin::wire::Rcode;
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Fallthrough, Flow, Next, Phase, Plugin, Setup,
    SetupError, Stop, Tasks, ZoneLabels, aside, async_trait,
};
use corten_zone::master::Look;
use corten_zone::{Catalogue, Slot};
use corten_zone_answer::{answer, follow};

use config::Config;
use zones::Served;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "auto",
    setup,
    readme: include_str!("../README.md"),
};

/// The link of a block's directives.
struct Auto {
    /// What each line says, in their order.
    lines: Vec<Arc<Served>>,
    tasks: Tasks,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut lines = Vec::new();
    for line in setup.occurrences()? {
        let served = Arc::new(Served::new(Config::read(setup, &line)?));
        if let Some(before) = setup.predecessor::<Auto>() {
            let mut lines = before.lines.iter();
            if let Some(before) = lines.find(|before| served.has_files_of(before)) {
                served.take_over(before);
            }
        }
        let _ = served.look();
        setup.provide::<dyn Catalogue>(Arc::clone(&served) as Arc<dyn Catalogue>);
        setup.provide::<ZoneLabels>(Arc::clone(&served.labels));
        lines.push(served);
    }
    setup.push(Auto {
        lines,
        tasks: Tasks::default(),
    });
    Ok(())
}

impl Auto {
    /// The zone that a query is for.
    fn slot(&self, ex: &Exchange) -> Option<Arc<Slot>> {
        let question = &ex.query.question;
        self.mine(ex)
            .find_map(|served| served.table.load().find(question).cloned())
    }

    /// The lines that a query is for.
    fn mine(&self, ex: &Exchange) -> impl Iterator<Item = &Arc<Served>> {
        let name = &ex.query.question.name;
        self.lines
            .iter()
            .filter(move |served| served.config.zones.matches(name).is_some())
    }
}

#[async_trait]
impl Plugin for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        for served in &self.lines {
            let question = &ex.query.question;
            if served.config.zones.matches(&question.name).is_none() {
                continue;
            }
            if let Some(slot) = served.table.load().find(question) {
                return answer(ex, slot, &Fallthrough::None);
            }
        }
        Flow::Pass
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        match self.slot(ex) {
            Some(slot) => follow(ex, &slot, &Fallthrough::None).await,
            // It went between the two calls.
            None => ex.answer(Rcode::SERVFAIL),
        }
    }

    fn unanswered(&self, ex: &Exchange) -> Option<Rcode> {
        let none = self.mine(ex).next().is_some() && self.slot(ex).is_none();
        none.then_some(Rcode::REFUSED)
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        for served in &self.lines {
            let reload = served.config.reload;
            if reload.is_zero() || served.config.directory.is_none() {
                continue;
            }
            self.tasks.spawn(watch(Arc::clone(served)));
        }
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

/// Looks at a folder again and again, on a thread that may block.
async fn watch(served: Arc<Served>) {
    let reload = served.config.reload;
    let mut pause = reload;
    loop {
        tokio::time::sleep(pause).await;
        let looked = {
            let served = Arc::clone(&served);
            aside(move || served.look()).await
        };
        pause = match looked {
            Ok(Look::Done) => reload,
            Ok(Look::Again) => Look::soon(reload),
            Err(error) => {
                tracing::error!(target: "plugin/auto", "The folder could not be looked at: {error}");
                reload
            }
        };
    }
}
