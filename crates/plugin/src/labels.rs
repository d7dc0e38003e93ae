//! Zones that come and go, as metrics call them.
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use corten_wire::Name;

/// Zones that a plugin has beside those of its block and that the label `zone` of metrics names, such
/// as those of *auto*. A service.
#[derive(Default)]
pub struct ZoneLabels(ArcSwap<Table>);

/// One of them.
pub struct ZoneLabel {
    name: Name,
    /// What whoever counts keeps with it.
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Table {
    by_name: HashMap<Box<[u8]>, Arc<ZoneLabel>>,
    labels_max: usize,
}

impl ZoneLabels {
    /// These zones, and no others. Those that were there keep what was kept with them.
    pub fn set(&self, zones: impl IntoIterator<Item = Name>) {
        let before = self.0.load();
        let mut table = Table::default();
        for name in zones {
            let label = before.by_name.get(name.wire()).cloned();
            let kept = OnceLock::new();
            table.labels_max = table.labels_max.max(name.label_count());
            table.by_name.insert(
                name.wire().into(),
                label.unwrap_or_else(|| Arc::new(ZoneLabel { name, kept })),
            );
        }
        self.0.store(Arc::new(table));
    }

    /// Calls `run` with the longest of the zones that the name is in, if there is one that has more
    /// labels than `labels`. Allocates nothing and waits for nobody.
    pub fn with<T>(
        &self,
        name: &Name,
        labels: usize,
        run: impl FnOnce(&ZoneLabel) -> T,
    ) -> Option<T> {
        let table = self.0.load();
        let most = table.labels_max.min(name.label_count());
        let mut counts = (labels + 1..=most).rev();
        counts
            .find_map(|count| table.by_name.get(name.suffix(count)))
            .map(|label| run(label))
    }
}

impl ZoneLabel {
    /// The zone.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What is kept with the zone, made when it is first wanted. There is one keeper.
    pub fn kept<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.kept.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl fmt::Debug for ZoneLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.0.load();
        f.debug_list()
            .entries(table.by_name.values().map(|label| &label.name))
            .finish()
    }
}

impl fmt::Debug for ZoneLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneLabel({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_counts_and_keeps_its_own() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let labels = ZoneLabels::default();
        let found = |text: &str, above: usize| {
            labels.with(&name(text), above, |label| label.name().to_string())
        };
        assert_eq!(found("a.example", 0), None);
        labels.set([name("example"), name("b.example")]);
        assert_eq!(found("a.example", 0).as_deref(), Some("example."));
        assert_eq!(found("a.b.example", 0).as_deref(), Some("b.example."));
        assert_eq!(
            found("a.example", 1),
            None,
            "the block's own zone is as long"
        );
        let keep =
            |number: u32| labels.with(&name("example"), 0, |label| label.kept(|| number).copied());
        assert_eq!(keep(1), Some(Some(1)));
        labels.set([name("example")]);
        assert_eq!(keep(2), Some(Some(1)));
        assert_eq!(found("a.b.example", 0).as_deref(), Some("example."));
        labels.set([]);
        labels.set([name("example")]);
        assert_eq!(keep(3), Some(Some(3)));
    }
}
