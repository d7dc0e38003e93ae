//! *secondary*: zones that come from other servers.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | `held` | one zone, and when its primaries are asked |
//! | `keeper` | the tasks that keep zones fresh |
//! | `client` | the conversation with a primary |
//! | `incoming` | what a primary sends: a zone or changes |
//! | `apply` | from a zone and changes to the next version |
//! | `catalog` | what a catalog zone says |
//! | `members` | zones that come and go with their catalogs |
//! | `copy` | copies on disk |
//! | here | the decisions |
//!
//! The lookup is that of `corten-zone`, replies are made by `corten-zone-answer`.
mod apply;
mod catalog;
mod client;
mod config;
mod copy;
mod held;
mod incoming;
mod keeper;
mod members;

use std::sync::Arc;

use corten_plugin::wire::{Opcode, Rcode};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Next, Pace, Phase, Plugin, Setup, SetupError,
    Stop, async_trait,
};
use corten_zone::{Catalogue, Listener, Slot};
use corten_zone_answer::{answer, follow, refused};

use config::Config;
use held::Held;
use keeper::Keeper;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "secondary",
    setup,
    readme: include_str!("../README.md"),
};

struct Secondary {
    keeper: Arc<Keeper>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    let before = setup.predecessor::<Secondary>().map(|old| &*old.keeper);
    let plugin = Arc::new(Secondary {
        keeper: Keeper::new(config, before),
    });
    setup.provide::<dyn Catalogue>(Arc::clone(&plugin) as _);
    setup.push_shared(plugin);
    Ok(())
}

impl Secondary {
    /// A NOTIFY (RFC 1996 section 3.11): from a primary, and signed where requests to it are.
    fn notified(&self, ex: &mut Exchange, held: &Held) -> Flow {
        let (client, zone) = (ex.client.ip(), &held.name);
        let signer = ex.signer();
        let is_signed = held
            .source
            .key
            .as_ref()
            .is_none_or(|key| signer.is_some_and(|signer| signer.is(&key.name, key.mark())));
        // Anybody can send these.
        static PACE: Pace = Pace::new(10);
        if !held.source.is_primary(client) {
            if PACE.admits() {
                tracing::info!(target: "plugin/file", "Dropping notify from {client} for {zone}");
            }
            return Flow::Drop;
        }
        if !is_signed {
            if PACE.admits() {
                tracing::info!(
                    target: "plugin/file",
                    "Refusing notify from {client} for {zone}: it is not signed with the zone's key"
                );
            }
            return ex.answer(Rcode::NOTAUTH);
        }
        tracing::info!(target: "plugin/file", "Notify from {client} for {zone}: checking transfer");
        held.notify(client);
        ex.start(Rcode::NOERROR).authoritative = true;
        Flow::Respond
    }
}

#[async_trait]
impl Plugin for Secondary {
    fn name(&self) -> &'static str {
        "secondary"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let zones = self.keeper.zones();
        if ex.query.opcode() == Opcode::NOTIFY
            && let Some(held) = zones.held(ex.query.question.name.wire())
        {
            return self.notified(ex, held);
        }
        match zones.table.find(&ex.query.question) {
            Some(slot) => answer(ex, slot, self.keeper.fallthrough()),
            None => Flow::Pass,
        }
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let slot = self.keeper.zones().table.find(&ex.query.question).cloned();
        match slot {
            Some(slot) => follow(ex, &slot, self.keeper.fallthrough()).await,
            None => Flow::Pass,
        }
    }

    fn unanswered(&self, ex: &Exchange) -> Option<Rcode> {
        refused(&self.keeper.zones().table, ex)
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        self.keeper.start().await;
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.keeper.stop().await;
    }
}

impl Catalogue for Secondary {
    fn is_primary(&self) -> bool {
        false
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.keeper.zones().table.slots().to_vec()
    }

    fn slot(&self, apex: &[u8]) -> Option<Arc<Slot>> {
        self.keeper.zones().table.get(apex).cloned()
    }

    fn listen(&self, listener: &Arc<dyn Listener>) {
        self.keeper.listen(listener);
    }
}

#[cfg(test)]
mod tests;
