//! *metadata*: values about a query, such as the client's country, for other plugins.
//!
//! Turns the collection on, before views are asked. Values are found by those who know them, when
//! somebody asks: nothing is looked up for a query that nobody wants to know more about.
use std::sync::{Arc, OnceLock};

use corten_plugin::{
    BoxError, Context, Directive, Exchange, Interest, MetadataCollector, MetadataProvider, Plugin,
    Setup, SetupError, Zones, async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "metadata",
    setup,
    readme: include_str!("../README.md"),
};

/// The link, which is there to be started: queries do not pass it.
struct Metadata(Arc<Collector>);

struct Collector {
    zones: Zones,
    /// Those of the block, once all of its plugins are there.
    providers: OnceLock<Arc<[Arc<dyn MetadataProvider>]>>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    if let Some(option) = line.lines().first() {
        let text = format!("metadata has no options, found '{}'", option.name.text);
        return Err(option.name.error(text).into());
    }
    let collector = Arc::new(Collector {
        zones: setup.zones(&line.args)?,
        providers: OnceLock::new(),
    });
    setup.options.metadata = Some(Arc::clone(&collector) as _);
    setup.push(Metadata(collector));
    Ok(())
}

#[async_trait]
impl Plugin for Metadata {
    fn name(&self) -> &'static str {
        "metadata"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let providers = context.peers.all::<dyn MetadataProvider>().cloned();
        // A generation starts once.
        let _ = self.0.providers.set(providers.collect());
        Ok(())
    }
}

impl MetadataCollector for Collector {
    fn collect(&self, ex: &mut Exchange) {
        if let Some(providers) = self.providers.get()
            && self.zones.matches(&ex.query.question.name).is_some()
        {
            ex.collect_metadata(providers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collects_in_its_zones_and_once_started() {
        let collector = Collector {
            zones: Zones::new(vec!["in.example".parse().unwrap()]),
            providers: OnceLock::new(),
        };
        let mut ex = Exchange::new();
        ex.query.question.name = "a.in.example".parse().unwrap();
        collector.collect(&mut ex);
        assert!(!ex.has_metadata());
        collector.providers.set(Vec::new().into()).ok().unwrap();
        collector.collect(&mut ex);
        assert!(ex.has_metadata());
        ex.recycle();
        ex.query.question.name = "a.out.example".parse().unwrap();
        collector.collect(&mut ex);
        assert!(!ex.has_metadata());
    }
}
