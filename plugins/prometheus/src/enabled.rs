//! `coredns_plugin_enabled`: which plugins a zone has.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use corten_plugin::metrics::registry;
use corten_plugin::{Interest, Roster};

const NAME: &str = "coredns_plugin_enabled";

/// One sample: server, zone, view and plugin.
pub(crate) type Entry = (String, String, String, &'static str);

/// How many blocks, of all generations, say what a sample says. A generation that begins and one
/// that ends overlap: neither may take away what is the other's.
#[derive(Default)]
pub(crate) struct Enabled(Mutex<BTreeMap<Entry, usize>>);

/// What a block has: its own links in the chain, for each zone on each listener.
pub(crate) fn entries(roster: &Roster) -> Vec<Entry> {
    let mut names: Vec<_> = roster
        .plugins
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .filter(|plugin| plugin.interest() != Interest::Nothing)
        .map(|plugin| plugin.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut entries = Vec::new();
    for (site, zone) in &roster.served {
        for name in &names {
            let (server, view) = (site.server().to_owned(), site.view().to_owned());
            entries.push((server, zone.to_string(), view, *name));
        }
    }
    entries.sort();
    // A zone on all addresses has two listeners of one name.
    entries.dedup();
    entries
}

impl Enabled {
    /// Says that there are these plugins.
    pub(crate) fn add(&self, entries: &[Entry]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            *counts.entry(entry.clone()).or_default() += 1;
            let help =
                "A metric that indicates whether a plugin is enabled on per server and zone basis.";
            registry().gauge(NAME, help, &labels(entry)).set(1);
        }
    }

    /// Takes it back.
    pub(crate) fn remove(&self, entries: &[Entry]) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            let Some(count) = counts.get_mut(entry) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                counts.remove(entry);
                registry().remove(NAME, &labels(entry));
            }
        }
    }
}

fn labels((server, zone, view, name): &Entry) -> [(&'static str, &str); 4] {
    [
        ("name", name),
        ("server", server),
        ("view", view),
        ("zone", zone),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_generation_takes_back_another_may_still_say() {
        let entry = |name| {
            let text = |text: &str| text.to_owned();
            (text("dns://enabled-test:53"), text("."), text(""), name)
        };
        let told = |name: &str| registry().expose().contains(&format!("name=\"{name}\""));
        let enabled = Enabled::default();
        enabled.add(&[entry("enabled-old"), entry("enabled-both")]);
        enabled.add(&[entry("enabled-both")]);
        enabled.remove(&[entry("enabled-old"), entry("enabled-both")]);
        assert!(told("enabled-both") && !told("enabled-old"));
        enabled.remove(&[entry("enabled-both")]);
        assert!(!told("enabled-both"));
    }
}
