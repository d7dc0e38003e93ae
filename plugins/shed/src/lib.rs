//! *shed*: drops load that cannot be served in time, and counts it.
use std::sync::Arc;

use corten_plugin::corefile::Transport;
use corten_plugin::metrics::{Counter, registry};
use corten_plugin::{BySite, Directive, Overload, Setup, SetupError, Site};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "shed",
    setup,
    readme: include_str!("../README.md"),
};

struct Shed {
    queries: BySite<Counter>,
    responses: BySite<Counter>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    line.no_args()?;
    if line.block.is_some() {
        return Err(line.name.error("shed takes no options").into());
    }
    let transports = &setup.block.transports;
    if let Some(other) = transports.iter().find(|other| **other != Transport::Dns) {
        let scheme = other.scheme();
        let text = format!(
            "only plain DNS server blocks are supported; \"{scheme}://\" uses transport \"{scheme}\""
        );
        return Err(line
            .name
            .error(text)
            .help("give the zones of other transports a server block of their own")
            .into());
    }
    setup.options.listener.overload = Some(Arc::new(Shed {
        queries: counters("query"),
        responses: counters("response"),
    }));
    Ok(())
}

fn counters(reason: &'static str) -> BySite<Counter> {
    BySite::new(move |site| {
        registry().counter(
            "coredns_shed_dropped_total",
            "Counter of queries and responses dropped, per server, by reason.",
            &[("server", site.server()), ("reason", reason)],
        )
    })
}

impl Overload for Shed {
    fn queries_dropped(&self, site: Site, count: u64) {
        self.queries.at(site).add(count);
    }

    fn responses_dropped(&self, site: Site, count: u64) {
        self.responses.at(site).add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_counted_by_reason() {
        let shed = Shed {
            queries: counters("query"),
            responses: counters("response"),
        };
        let site = Site::new("dns://:5399", "");
        shed.queries_dropped(site, 64);
        shed.queries_dropped(site, 1);
        shed.responses_dropped(site, 2);
        let text = registry().expose();
        for (reason, count) in [("query", 65), ("response", 2)] {
            let mine = |line: &&str| {
                line.starts_with("coredns_shed_dropped_total{")
                    && line.contains(&format!("reason=\"{reason}\""))
                    && line.contains("server=\"dns://:5399\"")
            };
            let line = text.lines().find(mine).expect(reason);
            assert!(line.ends_with(&format!(" {count}")), "{line}");
        }
    }
}
