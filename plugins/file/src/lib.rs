//! *file*: answers from zone files.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | one line of the directive |
//! | `served` | a zone and the file that it comes from |
//! | here | the decisions, and the tasks that look at the files |
//!
//! The lookup is that of `corten-zone`, replies are made by `corten-zone-answer`.
mod config;
mod served;

use std::sync::Arc;

use corten_plugin::wire::Rcode;
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Next, Phase, Plugin, Setup, SetupError, Stop,
    Tasks, aside, async_trait,
};
use corten_zone::master::Look;
use corten_zone::{Catalogue, Slot};
use corten_zone_answer::{ZoneTable, answer, follow, refused};

use config::Config;
use served::Served;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "file",
    setup,
    readme: include_str!("../README.md"),
};

struct File {
    zones: ZoneTable,
    /// One for each zone of the table, in its order.
    served: Vec<Arc<Served>>,
    tasks: Tasks,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut served: Vec<Served> = Vec::new();
    for line in setup.occurrences()? {
        let config = Config::read(setup, &line)?;
        for name in &config.zones {
            let known = |other: &&Served| other.slot.apex() == name.wire();
            let before = setup.predecessor::<File>();
            let before = before.and_then(|file| file.served.iter().map(|one| &**one).find(known));
            let zone =
                Served::new(&config, name, before).map_err(|error| error.at(&line.args[0].at))?;
            match served.iter_mut().find(|other| known(&&**other)) {
                None => served.push(zone),
                Some(other) => {
                    tracing::warn!(
                        target: "plugin/file",
                        "{}:{}: zone {name} has more than one file; this one counts",
                        line.name.at.file, line.name.at.line
                    );
                    *other = zone;
                }
            }
        }
    }
    let file = Arc::new(File {
        zones: ZoneTable::new(served.iter().map(|zone| Arc::clone(&zone.slot))),
        served: served.into_iter().map(Arc::new).collect(),
        tasks: Tasks::default(),
    });
    setup.provide::<dyn Catalogue>(Arc::clone(&file) as _);
    setup.push_shared(file);
    Ok(())
}

impl File {
    fn zone(&self, ex: &Exchange) -> Option<&Arc<Served>> {
        self.served.get(self.zones.position(&ex.query.question)?)
    }
}

#[async_trait]
impl Plugin for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match self.zone(ex) {
            Some(zone) => answer(ex, &zone.slot, &zone.fallthrough),
            None => Flow::Pass,
        }
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        match self.zone(ex) {
            Some(zone) => follow(ex, &zone.slot, &zone.fallthrough).await,
            None => Flow::Pass,
        }
    }

    fn unanswered(&self, ex: &Exchange) -> Option<Rcode> {
        refused(&self.zones, ex)
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        for zone in &self.served {
            zone.start();
            if !zone.reload.is_zero() {
                self.tasks.spawn(watch(Arc::clone(zone)));
            }
        }
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

impl Catalogue for File {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.zones.slots().to_vec()
    }

    fn slot(&self, apex: &[u8]) -> Option<Arc<Slot>> {
        self.zones.get(apex).cloned()
    }
}

/// Looks at a zone's file again and again, on a thread that may block; soon while there is no zone, which
/// *sign*, for one, is about to write.
async fn watch(zone: Arc<Served>) {
    let mut pause = zone.pause();
    loop {
        tokio::time::sleep(pause).await;
        let looked = {
            let zone = Arc::clone(&zone);
            aside(move || zone.look()).await
        };
        pause = match looked {
            Ok(Look::Done) => zone.pause(),
            Ok(Look::Again) => Look::soon(zone.reload),
            Err(error) => {
                tracing::error!(target: "plugin/file", "The zone's file could not be looked at: {error}");
                zone.pause()
            }
        };
    }
}
