//! Proofs that something is not there: NSEC (RFC 4035 section 3.1.3) and NSEC3 (RFC 5155 section 7.2).
use std::cmp::Ordering;

use corten_wire::{Name, RecordType};

use crate::node::Node;
use crate::nsec3::Chain;
use crate::order::{canonical, sort_key};
use crate::zone::{Zone, ZoneError};

/// How a zone denies.
#[derive(Debug)]
pub(crate) enum Denial {
    /// It does not.
    None,
    /// Places of the nodes that have an NSEC record, in canonical order, each behind the number that
    /// tells most of them apart.
    Nsec(Box<[(u64, u32)]>),
    Nsec3(Box<Chain>),
}

/// Names whose NSEC or NSEC3 records prove something, none twice.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    places: [u32; PROOF_MAX],
    count: usize,
}

/// Most records that prove something about one reply: three for each of the names of a chain would be
/// more, but a chain's last name alone needs as many.
const PROOF_MAX: usize = 24;

impl Proof {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            places: [0; PROOF_MAX],
            count: 0,
        }
    }

    fn add(&mut self, node: Node<'_>) {
        let known = self.places[..self.count].contains(&node.place());
        if !known && let Some(place) = self.places.get_mut(self.count) {
            *place = node.place();
            self.count += 1;
        }
    }

    /// The nodes, in the order they were added.
    pub fn nodes(self, zone: &Zone) -> impl Iterator<Item = Node<'_>> {
        (0..self.count).map(move |index| zone.at(self.places[index]))
    }

    /// Whether there is nothing to prove, or nothing to prove it with.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Proof {
    fn default() -> Self {
        Self::new()
    }
}

/// Names above one that are hashed in search of one with an NSEC3 record, at most: as many as an address of
/// IPv6 has digits.
const ENCLOSERS_MAX: usize = 32;

impl Denial {
    pub(crate) fn of(zone: &Zone) -> Result<Self, ZoneError> {
        if let Some(chain) = Chain::of(zone)? {
            return Ok(Self::Nsec3(Box::new(chain)));
        }
        if zone.apex_node().set(RecordType::NSEC).is_none() {
            return Ok(Self::None);
        }
        let nodes = zone
            .nodes()
            .filter(|node| node.set(RecordType::NSEC).is_some());
        let key = |node: &Node<'_>| sort_key(node.name(), zone.apex().len());
        Ok(Self::Nsec(
            nodes.map(|node| (key(&node), node.place())).collect(),
        ))
    }

    /// The type that proofs are made of; nothing where there are none.
    pub(crate) fn rtype(&self) -> Option<RecordType> {
        match self {
            Self::None => None,
            Self::Nsec(_) => Some(RecordType::NSEC),
            Self::Nsec3(_) => Some(RecordType::NSEC3),
        }
    }
}

impl Zone {
    /// The type of the records that prove what is not there; nothing where the zone has none.
    pub fn denial_type(&self) -> Option<RecordType> {
        self.denial.rtype()
    }

    /// How often the zone's NSEC3 records have names hashed again; nothing where it has none.
    pub fn nsec3_iterations(&self) -> Option<u16> {
        match &self.denial {
            Denial::Nsec3(chain) => Some(chain.iterations()),
            Denial::None | Denial::Nsec(_) => None,
        }
    }

    /// Proves that a name is not there, and that no wildcard stands for it (RFC 4035 section
    /// 3.1.3.2, RFC 5155 section 7.2.2). `encloser` is its closest encloser.
    pub fn prove_name_error(&self, name: &Name, encloser: Node<'_>, proof: &mut Proof) {
        // With opt-out the provable encloser may be further up.
        let encloser = self.prove_no_closer(name, encloser, proof);
        match &self.denial {
            Denial::None => (),
            Denial::Nsec(nodes) => {
                if let Some(wildcard) = below_asterisk(encloser) {
                    self.cover(nodes, wildcard.wire(), proof);
                }
            }
            Denial::Nsec3(chain) => {
                if let Some(wildcard) = below_asterisk(encloser) {
                    let hash = chain.hash(wildcard.wire());
                    let place = chain.matching(&hash).or_else(|| chain.covering(&hash));
                    self.add(place, proof);
                }
            }
        }
    }

    /// Proves that nothing stands closer to a name than a wildcard, or that what would is not there
    /// (RFC 4035 section 3.1.3.3, RFC 5155 section 7.2.6).
    pub fn prove_expansion(&self, name: &Name, encloser: Node<'_>, proof: &mut Proof) {
        match &self.denial {
            Denial::None => (),
            Denial::Nsec(nodes) => self.cover(nodes, name.wire(), proof),
            Denial::Nsec3(chain) => self.cover_next_closer(chain, name, encloser, proof),
        }
    }

    /// Proves that a name has no records of a type (RFC 4035 section 3.1.3.1, RFC 5155 sections
    /// 7.2.3 and 7.2.4). At a delegation, that it is an insecure one.
    pub fn prove_no_data(&self, node: Node<'_>, proof: &mut Proof) {
        match &self.denial {
            Denial::None => (),
            Denial::Nsec(nodes) => match node.set(RecordType::NSEC) {
                Some(_) => proof.add(node),
                // An empty non-terminal: the NSEC record in front of it leads to a name below.
                None => self.cover(nodes, node.name(), proof),
            },
            Denial::Nsec3(chain) => match chain.matching(&chain.hash(node.name())) {
                Some(place) => proof.add(self.at(place)),
                None => {
                    let Ok(name) = Name::from_wire(node.name()) else {
                        return;
                    };
                    let above = self.closest_encloser(&name);
                    self.prove_no_closer(&name, above, proof);
                }
            },
        }
    }

    /// Proves that the wildcard that stands for a name has no records of a type (RFC 4035 section
    /// 3.1.3.4, RFC 5155 section 7.2.5).
    pub fn prove_no_wildcard_data(
        &self,
        name: &Name,
        encloser: Node<'_>,
        wildcard: Node<'_>,
        proof: &mut Proof,
    ) {
        self.prove_no_closer(name, encloser, proof);
        self.prove_no_data(wildcard, proof);
    }

    /// Proves that a name's closest encloser is one, or with NSEC that the name is not there. Returns
    /// the encloser that was proved.
    fn prove_no_closer<'z>(
        &'z self,
        name: &Name,
        encloser: Node<'z>,
        proof: &mut Proof,
    ) -> Node<'z> {
        match &self.denial {
            Denial::None => encloser,
            Denial::Nsec(nodes) => {
                self.cover(nodes, name.wire(), proof);
                encloser
            }
            Denial::Nsec3(chain) => {
                let (encloser, place) = self.provable(chain, encloser);
                self.add(place, proof);
                self.cover_next_closer(chain, name, encloser, proof);
                encloser
            }
        }
    }

    /// The closest encloser that has an NSEC3 record, and the place of that: with opt-out, names that
    /// only lead to insecure delegations have none (RFC 5155 section 7.2.1).
    fn provable<'z>(&'z self, chain: &Chain, encloser: Node<'z>) -> (Node<'z>, Option<u32>) {
        let mut node = encloser;
        for _ in 0..ENCLOSERS_MAX {
            // Hashing is what a denial costs: each name once.
            let place = chain.matching(&chain.hash(node.name()));
            match Name::from_wire(node.name()) {
                Ok(name) if place.is_none() && node.labels() > 0 => {
                    node = self.closest_encloser(&name);
                }
                _ => return (node, place),
            }
        }
        (node, None)
    }

    fn cover_next_closer(&self, chain: &Chain, name: &Name, encloser: Node<'_>, proof: &mut Proof) {
        let closer = name.suffix(self.apex_labels() + encloser.labels() + 1);
        self.add(chain.covering(&chain.hash(closer)), proof);
    }

    fn cover(&self, nodes: &[(u64, u32)], name: &[u8], proof: &mut Proof) {
        let asked = sort_key(name, self.apex().len());
        let behind = nodes.partition_point(|(key, place)| match key.cmp(&asked) {
            Ordering::Equal => canonical(self.at(*place).name(), name).is_lt(),
            unequal => unequal.is_lt(),
        });
        let before = behind.checked_sub(1).and_then(|index| nodes.get(index));
        self.add(before.map(|(_, place)| *place), proof);
    }

    fn add(&self, place: Option<u32>, proof: &mut Proof) {
        if let Some(place) = place {
            proof.add(self.at(place));
        }
    }
}

/// The wildcard right below a name, if that is short enough to have one.
fn below_asterisk(encloser: Node<'_>) -> Option<Name> {
    let mut wire = [0; 257];
    let length = encloser.name().len();
    wire[..2].copy_from_slice(b"\x01*");
    wire.get_mut(2..2 + length)?
        .copy_from_slice(encloser.name());
    Name::from_wire(wire.get(..2 + length)?).ok()
}
