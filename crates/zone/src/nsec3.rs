//! Hashed names (RFC 5155).
use corten_wire::{Name, RecordType};
use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::node::Node;
use crate::zone::{Zone, ZoneError};

/// Iterations that are served. RFC 9276 wants none, and says nothing of servers that have others' zones:
/// BIND, Knot and NSD serve any number. Each is work that anybody can have done by asking for names that
/// are not there (CVE-2023-50868); with these a denial costs some tenths of a millisecond. Where there are
/// more, resolvers take the zone's denials for failures (section 3.2).
pub(crate) const ITERATIONS_MAX: u16 = 500;
/// Iterations with which validators take a denial for one (RFC 9276 section 3.2): with more the zone is
/// insecure to them.
pub(crate) const ITERATIONS_VALIDATED: u16 = 50;
/// SHA-1 (RFC 5155 section 11).
const SHA1: u8 = 1;
const HASH_OCTETS: usize = 20;

/// A name as the chain knows it.
type Hash = [u8; HASH_OCTETS];

/// How a zone's names are hashed, and its NSEC3 records by hash.
#[derive(Debug)]
pub(crate) struct Chain {
    iterations: u16,
    salt: Box<[u8]>,
    /// Sorted.
    nodes: Box<[(Hash, u32)]>,
    /// Hashes of the apex and of the wildcard below it, which most denials want.
    known: Vec<(Box<[u8]>, Hash)>,
}

impl Chain {
    /// The chain of the first NSEC3PARAM record that can be served with; nothing if there is none.
    pub(crate) fn of(zone: &Zone) -> Result<Option<Self>, ZoneError> {
        let Some(parameters) = zone.apex_node().set(RecordType::NSEC3PARAM) else {
            return Ok(None);
        };
        for rdata in parameters.rdata() {
            // RFC 5155 section 4.1.2: records with flags are not for serving.
            let &[SHA1, 0, high, low, length, ref salt @ ..] = rdata else {
                continue;
            };
            let iterations = u16::from_be_bytes([high, low]);
            if salt.len() != usize::from(length) {
                continue;
            }
            if iterations > ITERATIONS_MAX {
                return Err(ZoneError::Nsec3Iterations(iterations));
            }
            let mut chain = Self::collect(zone, iterations, salt);
            if !chain.nodes.is_empty() {
                chain.learn(zone.apex());
                return Ok(Some(chain));
            }
        }
        Ok(None)
    }

    fn collect(zone: &Zone, iterations: u16, salt: &[u8]) -> Self {
        let one_below = zone.nodes().filter(|node| node.labels() == 1);
        let mut nodes: Vec<_> = one_below
            .filter_map(|node| {
                let rdata = parameters_of(node)?;
                let same = rdata.first() == Some(&SHA1)
                    && rdata.get(2..4) == Some(&iterations.to_be_bytes())
                    && rdata.get(5..5 + salt.len()) == Some(salt)
                    && rdata.get(4).map(|length| usize::from(*length)) == Some(salt.len());
                let hash = same.then(|| unspell(node.name()))??;
                Some((hash, node.place()))
            })
            .collect();
        nodes.sort_unstable();
        Self {
            iterations,
            salt: salt.into(),
            nodes: nodes.into(),
            known: Vec::new(),
        }
    }

    fn learn(&mut self, apex: &[u8]) {
        for name in [apex.to_vec(), [b"\x01*", apex].concat()] {
            let hash = self.hash(&name);
            self.known.push((name.into(), hash));
        }
    }

    /// How often a hash is hashed again.
    pub(crate) fn iterations(&self) -> u16 {
        self.iterations
    }

    /// The hash of a name in wire form, lower-cased (RFC 5155 section 5).
    pub(crate) fn hash(&self, name: &[u8]) -> Hash {
        let mut known = self.known.iter();
        if let Some((_, hash)) = known.find(|(known, _)| **known == *name) {
            return *hash;
        }
        let round = |octets: &[u8]| {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(octets);
            context.update(&self.salt);
            bytes(&context.finish())
        };
        let mut hash = match self.salt.is_empty() {
            true => bytes(&digest(&SHA1_FOR_LEGACY_USE_ONLY, name)),
            false => round(name),
        };
        for _ in 0..self.iterations {
            hash = round(&hash);
        }
        hash
    }

    /// The record of a name.
    pub(crate) fn matching(&self, hash: &Hash) -> Option<u32> {
        let found = self.nodes.binary_search_by(|(other, _)| other.cmp(hash));
        Some(self.nodes[found.ok()?].1)
    }

    /// The record that shows that a name is not there: the last before it, going round.
    pub(crate) fn covering(&self, hash: &Hash) -> Option<u32> {
        let behind = self.nodes.partition_point(|(other, _)| other < hash);
        let before = behind
            .checked_sub(1)
            .or_else(|| self.nodes.len().checked_sub(1))?;
        Some(self.nodes[before].1)
    }
}

fn parameters_of(node: Node<'_>) -> Option<&[u8]> {
    node.set(RecordType::NSEC3).map(|set| set.first())
}

fn bytes(digest: &Digest) -> Hash {
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// The hash that a name's first label spells (RFC 4648 section 7).
fn unspell(name: &[u8]) -> Option<Hash> {
    let name = Name::from_wire(name).ok()?;
    let label = name.label(0).filter(|label| label.len() == 32)?;
    let mut hash = Hash::default();
    for (octets, digits) in hash.chunks_mut(5).zip(label.chunks(8)) {
        let mut number = 0u64;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'v' => digit - b'a' + 10,
                _ => return None,
            };
            number = number << 5 | u64::from(value);
        }
        octets.copy_from_slice(&number.to_be_bytes()[3..]);
    }
    Some(hash)
}
