//! What is counted, by CoreDNS's names.
use std::sync::OnceLock;

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Class, RecordType};
use corten_plugin::{BySite, Site};

use crate::class_name;

/// Types up to CAA and a few more have a place of their own; the two that stand far behind share the
/// last but one with nobody, and all without a name the last.
const TYPES: usize = 264;
const CLASSES: [Class; 6] = [
    Class::IN,
    Class::CS,
    Class::CH,
    Class::HS,
    Class::NONE,
    Class::ANY,
];

type ByType = Box<[OnceLock<Counter>]>;

/// `coredns_template_matches_total` of one zone.
pub(crate) struct Matches {
    zone: String,
    by_site: BySite<[OnceLock<ByType>; CLASSES.len() + 1]>,
}

impl Matches {
    pub(crate) fn new(zone: String) -> Self {
        let by_site = BySite::new(|_| [const { OnceLock::new() }; CLASSES.len() + 1]);
        Self { zone, by_site }
    }

    /// Counts one.
    pub(crate) fn count(&self, site: Site, class: Class, rtype: RecordType) {
        let known = CLASSES.iter().position(|known| *known == class);
        let types = self.by_site.at(site)[known.unwrap_or(CLASSES.len())]
            .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(TYPES).collect());
        let place = match (rtype.mnemonic(), usize::from(rtype.0)) {
            (None, _) => TYPES - 1,
            (_, number) if number < TYPES - 3 => number,
            _ if rtype == RecordType::TA => TYPES - 3,
            _ => TYPES - 2,
        };
        let counter = types[place].get_or_init(|| {
            registry().counter(
                "coredns_template_matches_total",
                "Counter of template regex matches.",
                &[
                    ("server", site.server()),
                    ("zone", &self.zone),
                    ("view", site.view()),
                    ("class", class_name(class)),
                    ("type", rtype.mnemonic().unwrap_or_default()),
                ],
            )
        });
        counter.increment();
    }
}

/// What went wrong with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It could not be executed.
    Template,
    /// What it gave is no record.
    Record,
}

/// Where a template stands and what it was executed for: labels of the failures.
pub(crate) struct Place<'a> {
    pub(crate) site: Site,
    pub(crate) zone: &'a str,
    pub(crate) class: Class,
    pub(crate) rtype: RecordType,
    pub(crate) section: &'static str,
    pub(crate) template: &'a str,
}

impl Place<'_> {
    /// Counts a failure.
    pub(crate) fn count(&self, failed: Failed) {
        let (name, help) = match failed {
            Failed::Template => (
                "coredns_template_template_failures_total",
                "Counter of go template failures.",
            ),
            Failed::Record => (
                "coredns_template_rr_failures_total",
                "Counter of mis-templated RRs.",
            ),
        };
        let labels = [
            ("server", self.site.server()),
            ("zone", self.zone),
            ("view", self.site.view()),
            ("class", class_name(self.class)),
            ("type", self.rtype.mnemonic().unwrap_or_default()),
            ("section", self.section),
            ("template", self.template),
        ];
        registry().counter(name, help, &labels).increment();
    }
}
