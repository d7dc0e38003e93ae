//! *acl*: who may ask what.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | [`table`] | a directive's rules, compiled: an address finds its decision without looking at each network |
//! | here | what becomes of a query |
mod config;
mod table;

use std::sync::Arc;

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Name, Rcode};
use corten_plugin::{BySite, Directive, Exchange, Flow, Owed, Plugin, Setup, SetupError, Updates};

use config::Action;
use table::Table;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "acl",
    setup,
    readme: include_str!("../README.md"),
};

/// Extended DNS Errors (RFC 8914 sections 4.16 and 4.18).
const BLOCKED: u16 = 15;
const FILTERED: u16 = 17;

struct Acl {
    /// In the order of the Corefile.
    rule_sets: Vec<RuleSet>,
    allowed: BySite<Counter>,
    /// Names that nobody is denied.
    owed: Arc<Owed>,
}

/// One directive.
struct RuleSet {
    zones: Vec<Zone>,
    table: Table,
}

/// A zone of a directive, with what was denied there.
struct Zone {
    name: Name,
    blocked: BySite<Counter>,
    filtered: BySite<Counter>,
    dropped: BySite<Counter>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut rule_sets = Vec::new();
    for line in setup.occurrences()? {
        let rules = config::rules(&line)?;
        let zones = setup.zones(&line.args)?;
        rule_sets.push(RuleSet {
            zones: zones.names().iter().map(Zone::new).collect(),
            table: Table::new(&rules),
        });
    }
    let owed = setup.process.service(Owed::default);
    setup.push(Acl {
        owed,
        rule_sets,
        allowed: BySite::new(|site| {
            registry().counter(
                "coredns_acl_allowed_requests_total",
                "Counter of DNS requests being allowed.",
                &[("server", site.server()), ("view", site.view())],
            )
        }),
    });
    Ok(())
}

impl Plugin for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }

    /// Rules are about clients, whatever they want.
    fn updates(&self) -> Updates {
        Updates::See
    }

    fn judges_clients(&self) -> bool {
        true
    }

    /// Rules are about clients, whatever class they ask for.
    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let (name, rtype) = (&ex.query.question.name, ex.query.question.rtype);
        let client = ex.client.ip();
        let decided = self.rule_sets.iter().find_map(|rule_set| {
            let zone = rule_set.zone(name)?;
            Some((zone, rule_set.table.decide(client, rtype)?))
        });
        let site = ex.site;
        // Who asks for a CA's challenge is not known beforehand; that name, and no other, is his.
        if matches!(decided, Some((_, action)) if action != Action::Allow)
            && self.owed.excuses(&ex.query)
        {
            ex.excused = true;
            return Flow::Pass;
        }
        match decided {
            None | Some((_, Action::Allow)) => {
                self.allowed.at(site).increment();
                Flow::Pass
            }
            Some((zone, Action::Block)) => {
                zone.blocked.at(site).increment();
                deny(ex, Rcode::REFUSED, BLOCKED)
            }
            Some((zone, Action::Filter)) => {
                zone.filtered.at(site).increment();
                deny(ex, Rcode::NOERROR, FILTERED)
            }
            Some((zone, Action::Drop)) => {
                zone.dropped.at(site).increment();
                Flow::Drop
            }
        }
    }
}

/// An answer without records, and why; without the allocation of [`Exchange::explain`].
fn deny(ex: &mut Exchange, rcode: Rcode, info_code: u16) -> Flow {
    ex.start(rcode).set_option(15, &info_code.to_be_bytes());
    Flow::Respond
}

impl RuleSet {
    /// The longest zone that the name is in.
    fn zone(&self, name: &Name) -> Option<&Zone> {
        self.zones
            .iter()
            .filter(|zone| name.is_in(&zone.name))
            .max_by_key(|zone| zone.name.label_count())
    }
}

impl Zone {
    fn new(name: &Name) -> Self {
        let counter = |metric: &'static str, help: &'static str| {
            let zone = name.to_string();
            BySite::new(move |site| {
                let labels = [
                    ("server", site.server()),
                    ("zone", zone.as_str()),
                    ("view", site.view()),
                ];
                registry().counter(metric, help, &labels)
            })
        };
        Self {
            name: name.clone(),
            blocked: counter(
                "coredns_acl_blocked_requests_total",
                "Counter of DNS requests being blocked.",
            ),
            filtered: counter(
                "coredns_acl_filtered_requests_total",
                "Counter of DNS requests being filtered.",
            ),
            dropped: counter(
                "coredns_acl_dropped_requests_total",
                "Counter of DNS requests being dropped.",
            ),
        }
    }
}
