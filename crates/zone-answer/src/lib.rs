//! Answers queries from zones: what *file*, *auto*, *secondary*, *update* and the like share.
//!
//! | what | is |
//! |---|---|
//! | [`ZoneTable`] | the zones of a plugin by name: the longest that a question is in |
//! | [`answer`] | answers from a zone, for `on_query`; waits for nothing, allocates nothing |
//! | [`follow`] | the same where a CNAME leads out of the zone, for `wait` |
//! | [`refused`] | what a query gets that is in none of the zones and passes the last plugin |
//!
//! A plugin that serves zones is these few lines:
//!
//! ```
//! use corten_plugin::{Exchange, Fallthrough, Flow, Next, Phase, Plugin, async_trait, wire::Rcode};
//! use corten_zone_answer::{ZoneTable, answer, follow, refused};
//!
//! struct Served {
//!     zones: ZoneTable,
//!     fallthrough: Fallthrough,
//! }
//!
//! #[async_trait]
//! impl Plugin for Served {
//!     fn name(&self) -> &'static str {
//!         "served"
//!     }
//!
//!     fn on_query(&self, ex: &mut Exchange) -> Flow {
//!         match self.zones.find(&ex.query.question) {
//!             Some(slot) => answer(ex, slot, &self.fallthrough),
//!             None => Flow::Pass,
//!         }
//!     }
//!
//!     async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
//!         match self.zones.find(&ex.query.question) {
//!             Some(slot) => follow(ex, slot, &self.fallthrough).await,
//!             None => Flow::Pass,
//!         }
//!     }
//!
//!     fn unanswered(&self, ex: &Exchange) -> Option<Rcode> {
//!         refused(&self.zones, ex)
//!     }
//! }
//! ```
//!
//! Zones that change while the plugin runs, as those of *auto*: keep the table behind an `ArcSwap`.
//! A slot without a version is SERVFAIL, so a zone that has expired is one whose slot was cleared.
//!
//! Not here: where zones come from. The lookup itself is [`corten_zone`]'s; this crate turns what it
//! found into a reply.
mod answer;
mod compose;
mod table;
mod write;

pub use answer::{answer, follow, refused};
pub use table::ZoneTable;

#[cfg(test)]
mod tests;
