//! What a zone says to a question (RFC 1034 section 4.3.2, RFC 4592, RFC 6672).
use corten_wire::{Name, RecordType};

use crate::node::REDIRECTION;
use crate::node::{ALIAS, Node, RrSet, SignedSet};
use crate::zone::Zone;

/// One step of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'z> {
    /// What was found.
    pub found: Found<'z>,
    /// The node of the name, or of the wildcard that stands for it; nothing if there is neither.
    pub node: Option<Node<'z>>,
    /// The name's closest encloser where the name itself is not there (RFC 4592 section 3.3.1): what
    /// `node` has was expanded then.
    pub encloser: Option<Node<'z>>,
}

/// What a zone has for a name and a type.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z> {
    /// The RRset.
    Data(SignedSet<'z>),
    /// The name has records, and ANY or RRSIG was asked for: those of [`Lookup::node`] that are
    /// wanted.
    Several,
    /// The name is an alias.
    Alias(SignedSet<'z>),
    /// The name is below one that is redirected (RFC 6672 section 3.2): that name, and its DNAME.
    Redirection(Node<'z>, SignedSet<'z>),
    /// The name is at or below this delegation.
    Delegation(Node<'z>, SignedSet<'z>),
    /// The name is there, the type is not.
    NoData,
    /// The name is not there.
    NameError,
}

impl Zone {
    /// Looks up a name that is in the zone. Allocates nothing.
    ///
    /// DS at a delegation is data of this zone; what else is at or below it is not, whatever the zone
    /// holds there.
    pub fn lookup(&self, name: &Name, rtype: RecordType) -> Lookup<'_> {
        let wire = name.wire();
        let relative = wire.len().saturating_sub(self.apex().len());
        let there = match name.label_count() == self.apex_labels() {
            true => Some(self.apex_node()),
            false => self.named(wire, relative),
        };
        match there {
            Some(node) => self.at_node(node, rtype),
            None => self.expanded(self.closest_encloser(name), rtype),
        }
    }

    fn at_node<'z>(&'z self, node: Node<'z>, rtype: RecordType) -> Lookup<'z> {
        let found = match node.cut() {
            None => data(node, rtype),
            // RFC 4035 section 3.1.4.1.
            Some(cut) if cut.place() == node.place() && rtype == RecordType::DS => {
                data(node, rtype)
            }
            Some(cut) => elsewhere(cut),
        };
        Lookup {
            found,
            node: Some(node),
            encloser: None,
        }
    }

    fn expanded<'z>(&'z self, encloser: Node<'z>, rtype: RecordType) -> Lookup<'z> {
        let (found, node) = match (encloser.cut(), encloser.wildcard()) {
            (Some(cut), _) => (elsewhere(cut), None),
            (None, _) if encloser.is(REDIRECTION) => (elsewhere(encloser), None),
            (None, Some(wildcard)) => (data(wildcard, rtype), Some(wildcard)),
            (None, None) => (Found::NameError, None),
        };
        Lookup {
            found,
            node,
            encloser: Some(encloser),
        }
    }
}

/// What lies at or below a cut.
fn elsewhere(cut: Node<'_>) -> Found<'_> {
    let set = |rtype| cut.signed_set(rtype);
    if cut.is_delegation() {
        return set(RecordType::NS)
            .map_or(Found::NoData, |servers| Found::Delegation(cut, servers));
    }
    set(RecordType::DNAME).map_or(Found::NoData, |set| Found::Redirection(cut, set))
}

#[inline]
fn data(node: Node<'_>, rtype: RecordType) -> Found<'_> {
    if matches!(rtype, RecordType::ANY | RecordType::RRSIG) {
        let wanted = |set: &RrSet<'_>| rtype == RecordType::ANY || set.rtype == rtype;
        return match node.sets().any(|set| wanted(&set)) {
            true => Found::Several,
            false => Found::NoData,
        };
    }
    // RFC 4035 section 2.5: an alias may have an NSEC record of its own.
    if node.is(ALIAS) && !matches!(rtype, RecordType::CNAME | RecordType::NSEC) {
        let alias = node.signed_set(RecordType::CNAME);
        return alias.map_or(Found::NoData, Found::Alias);
    }
    node.signed_set(rtype).map_or(Found::NoData, Found::Data)
}

#[cfg(test)]
mod tests;
