//! What a zone should not hold, though it can be served.
use std::collections::HashSet;
use std::path::Path;

use corten_wire::{Name, RecordType, TextRecord};

use super::error::{Warning, WarningKind, Warnings};
use super::named;
use crate::nsec3::ITERATIONS_VALIDATED;
use crate::order::is_in;
use crate::record::Record;
use crate::zone::Zone;

/// Name servers that are looked at, at most.
const TARGETS_MAX: usize = 10_000;

/// Name servers inside the zone, lower-cased.
#[derive(Debug, Default)]
pub(super) struct Targets(HashSet<Box<[u8]>>);

impl Targets {
    /// Remembers the target of a NS record.
    pub(super) fn note(&mut self, record: &TextRecord, apex: &Name) {
        if record.rtype == RecordType::NS
            && is_in(&record.rdata, apex.wire())
            && self.0.len() < TARGETS_MAX
        {
            self.0.insert(record.rdata.to_ascii_lowercase().into());
        }
    }
}

/// The records of one name.
#[derive(Default)]
struct Node<'z> {
    owner: &'z [u8],
    cnames: usize,
    dnames: usize,
    addresses: usize,
    servers: usize,
    /// What may stand neither beside a CNAME record nor below a delegation.
    others: usize,
}

/// The record that hides what is below it.
struct Cover<'z> {
    owner: &'z [u8],
    rtype: RecordType,
    /// It is told once.
    told: bool,
}

struct Check<'z, 'w> {
    zone: &'z Zone,
    /// The zone's name twice; nothing where that is no mistake.
    twice: Vec<u8>,
    path: &'w Path,
    warnings: &'w mut Warnings,
    targets: Targets,
    cover: Option<Cover<'z>>,
    /// Parents of wildcards that have addresses.
    wildcards: HashSet<&'z [u8]>,
}

/// Looks through a zone once.
pub(super) fn zone(zone: &Zone, targets: Targets, path: &Path, warnings: &mut Warnings) {
    let mut check = Check {
        zone,
        twice: twice(zone.apex()),
        path,
        warnings,
        targets,
        cover: None,
        wildcards: HashSet::new(),
    };
    let mut node = Node::default();
    for record in zone.records() {
        if record.owner != node.owner {
            check.node(&node);
            node = Node {
                owner: record.owner,
                ..Node::default()
            };
        }
        check.target(&record);
        match record.rtype {
            RecordType::CNAME => node.cnames += 1,
            RecordType::A | RecordType::AAAA => node.addresses += 1,
            // RFC 2535 section 2.3.5, RFC 4034: these may stand beside a CNAME record.
            RecordType::RRSIG | RecordType::NSEC | RecordType::KEY | RecordType::NSEC3 => (),
            RecordType::NS => node.servers += 1,
            RecordType::DNAME => {
                node.dnames += 1;
                node.others += 1;
            }
            _ => node.others += 1,
        }
    }
    check.node(&node);
    if let Some(iterations) = zone.nsec3_iterations()
        && iterations > ITERATIONS_VALIDATED
    {
        check.warn(WarningKind::Nsec3Iterations(iterations));
    }
    check.end();
}

impl<'z> Check<'z, '_> {
    fn warn(&mut self, what: WarningKind) {
        self.warnings.push(Warning {
            path: self.path.into(),
            line: None,
            what,
        });
    }

    /// Whether the name in a record's data lacks its final dot.
    fn target(&mut self, record: &Record<'_>) {
        let before = match record.rtype {
            RecordType::NS | RecordType::CNAME | RecordType::PTR | RecordType::DNAME => 0,
            RecordType::MX => 2,
            RecordType::SRV => 6,
            _ => return,
        };
        self.name(record.rdata.get(before..).unwrap_or_default());
    }

    fn name(&mut self, name: &[u8]) {
        if !self.twice.is_empty() && is_in(name, &self.twice) {
            self.warn(WarningKind::NameTwice(named(name)));
        }
    }

    fn node(&mut self, node: &Node<'z>) {
        if node.owner.is_empty() {
            return;
        }
        self.name(node.owner);
        let at_apex = node.owner.len() == self.zone.apex().len();
        if node.cnames > 0 && node.others + node.addresses + node.servers > 0 {
            self.warn(WarningKind::CnameAndOther(named(node.owner)));
        }
        for (count, rtype) in [
            (node.cnames, RecordType::CNAME),
            (node.dnames, RecordType::DNAME),
        ] {
            if count > 1 {
                self.warn(WarningKind::Several(named(node.owner), rtype));
            }
        }
        if at_apex && node.servers == 0 {
            self.warn(WarningKind::NoNs);
        }
        if !self.targets.0.is_empty() && self.targets.0.contains(node.owner) {
            if node.cnames > 0 {
                self.warn(WarningKind::AliasedServer(named(node.owner)));
            }
            if node.cnames > 0 || node.addresses > 0 {
                self.targets.0.remove(node.owner);
            }
        }
        if node.addresses + node.cnames > 0
            && let Some(parent) = node.owner.strip_prefix(b"\x01*")
        {
            self.wildcards.insert(parent);
        }
        self.covered(node, at_apex);
    }

    fn covered(&mut self, node: &Node<'z>, at_apex: bool) {
        if let Some(cover) = &mut self.cover {
            if is_in(node.owner, cover.owner) {
                // Below a delegation addresses are glue.
                let glue =
                    cover.rtype == RecordType::NS && node.others + node.cnames + node.servers == 0;
                if !glue && !cover.told {
                    cover.told = true;
                    let what = WarningKind::Occluded {
                        owner: named(node.owner),
                        under: cover.rtype,
                        of: named(cover.owner),
                    };
                    self.warn(what);
                }
                return;
            }
            self.cover = None;
        }
        let rtype = match (node.dnames, node.servers) {
            (_, 1..) if !at_apex => RecordType::NS,
            (1.., _) => RecordType::DNAME,
            _ => return,
        };
        self.cover = Some(Cover {
            owner: node.owner,
            rtype,
            told: false,
        });
    }

    /// Whoever is left has no address.
    fn end(mut self) {
        let mut left: Vec<_> = self.targets.0.drain().collect();
        left.retain(|target| !above(target).any(|parent| self.wildcards.contains(parent)));
        left.sort();
        for target in left {
            self.warn(WarningKind::NoAddress(named(&target)));
        }
    }
}

/// A zone's name twice, in wire form; nothing for the root and for names of one label, which may well be so.
fn twice(apex: &[u8]) -> Vec<u8> {
    match apex.split_last() {
        Some((_, labels)) if above(apex).count() > 1 => [labels, apex].concat(),
        _ => Vec::new(),
    }
}

/// The names above a name in wire form, the longest first.
fn above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.first()?);
        rest = rest.get(1 + length..).filter(|rest| !rest.is_empty())?;
        Some(rest)
    })
}
