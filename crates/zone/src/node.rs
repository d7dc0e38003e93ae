//! Names of a zone with their RRsets, as they lie one behind the other in one piece of memory.
//!
//! ```text
//! node    cut:4 wildcard:4 rank:4 sets:4 flags:1 labels:1 length:1 | name | set set …
//! set     type:2 flags:1 _:1 count:2 ttl:4 octets:4 | record record …
//! record  length:2 | RDATA
//! ```
//!
//! Numbers are in the machine's order; RDATA is in wire form. The signatures of a set are a set of
//! their own right behind it.
use corten_wire::RecordType;

use crate::record::Record;

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Octets in front of a node's name.
pub(crate) const NODE_OCTETS: usize = 19;
pub(crate) const CUT_AT: usize = 0;
pub(crate) const WILDCARD_AT: usize = 4;
pub(crate) const RANK_AT: usize = 8;
pub(crate) const SETS_AT: usize = 12;
pub(crate) const FLAGS_AT: usize = 16;
pub(crate) const LABELS_AT: usize = 17;
pub(crate) const LENGTH_AT: usize = 18;

/// Octets in front of a set's records.
pub(crate) const SET_OCTETS: usize = 14;

/// Nothing but a way to names below: an empty non-terminal.
pub(crate) const EMPTY: u8 = 1;
/// NS records below the apex: a delegation.
pub(crate) const DELEGATION: u8 = 2;
/// A DNAME record.
pub(crate) const REDIRECTION: u8 = 4;
/// A CNAME record.
pub(crate) const ALIAS: u8 = 8;
/// Nothing but NSEC3: the name of a hash is no name of the zone (RFC 5155 section 7.2.8).
pub(crate) const HASH: u8 = 16;

/// Every name in the set's RDATA ends with the apex.
pub(crate) const INSIDE: u8 = 1;

#[inline]
pub(crate) fn number(octets: &[u8], at: usize) -> u32 {
    match octets.get(at..).and_then(<[u8]>::first_chunk) {
        Some(number) => u32::from_ne_bytes(*number),
        None => NONE,
    }
}

#[inline]
pub(crate) fn short(octets: &[u8], at: usize) -> u16 {
    match octets.get(at..).and_then(<[u8]>::first_chunk) {
        Some(number) => u16::from_ne_bytes(*number),
        None => 0,
    }
}

pub(crate) fn set_number(octets: &mut [u8], at: usize, number: u32) {
    if let Some(place) = octets.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_ne_bytes());
    }
}

/// A name of a zone: one that has records, or one that only leads to others.
#[derive(Clone, Copy)]
pub struct Node<'z> {
    arena: &'z [u8],
    at: u32,
}

impl<'z> Node<'z> {
    #[inline]
    pub(crate) fn new(arena: &'z [u8], at: u32) -> Self {
        Self { arena, at }
    }

    /// The node's place in its zone: the same node has the same in one version.
    pub fn place(self) -> u32 {
        self.at
    }

    #[inline]
    fn start(self) -> usize {
        self.at as usize
    }

    #[inline]
    fn octet(self, at: usize) -> u8 {
        self.arena.get(self.start() + at).copied().unwrap_or(0)
    }

    /// Its name in wire form, lower-cased.
    #[inline]
    pub fn name(self) -> &'z [u8] {
        let start = self.start() + NODE_OCTETS;
        let length = usize::from(self.octet(LENGTH_AT));
        self.arena.get(start..start + length).unwrap_or(&[0])
    }

    /// Labels of its name, those of the apex not included.
    #[inline]
    pub fn labels(self) -> usize {
        usize::from(self.octet(LABELS_AT))
    }

    #[inline]
    pub(crate) fn is(self, flag: u8) -> bool {
        self.octet(FLAGS_AT) & flag != 0
    }

    /// Whether it has no records, and only names below it do (RFC 8499, "empty non-terminal").
    pub fn is_empty_non_terminal(self) -> bool {
        self.is(EMPTY)
    }

    /// Whether it is a delegation: NS records below the apex, and no delegation or DNAME above.
    pub fn is_delegation(self) -> bool {
        self.is(DELEGATION) && number(self.arena, self.start() + CUT_AT) == self.at
    }

    /// The delegation that the name is at or below, or the DNAME that it is below: what stands here
    /// is not the zone's to answer, but for DS and NSEC at the delegation itself.
    #[inline]
    pub fn cut(self) -> Option<Self> {
        self.link(CUT_AT)
    }

    /// The wildcard right below.
    #[inline]
    pub fn wildcard(self) -> Option<Self> {
        self.link(WILDCARD_AT)
    }

    /// Where the name stands in canonical order, counted from the apex.
    pub fn rank(self) -> usize {
        number(self.arena, self.start() + RANK_AT) as usize
    }

    #[inline]
    fn link(self, at: usize) -> Option<Self> {
        match number(self.arena, self.start() + at) {
            NONE => None,
            at => Some(Self { at, ..self }),
        }
    }

    /// Its RRsets by type, the SOA first; signatures stand behind what they cover.
    #[inline]
    pub fn sets(self) -> Sets<'z> {
        Sets {
            rest: self.set_octets(),
        }
    }

    /// Everything that it holds, as octets.
    pub(crate) fn set_octets(self) -> &'z [u8] {
        let start = self.start() + NODE_OCTETS + usize::from(self.octet(LENGTH_AT));
        let octets = number(self.arena, self.start() + SETS_AT) as usize;
        self.arena.get(start..start + octets).unwrap_or_default()
    }

    /// The RRset of a type, without its signatures. Not for RRSIG, of which there may be several.
    #[inline]
    pub fn set(self, rtype: RecordType) -> Option<RrSet<'z>> {
        self.sets().find(|set| set.rtype == rtype)
    }

    /// The RRset of a type with the one of its signatures.
    #[inline]
    pub fn signed_set(self, rtype: RecordType) -> Option<SignedSet<'z>> {
        let mut sets = self.sets();
        let set = sets.find(|set| set.rtype == rtype)?;
        Some(SignedSet::new(set, sets))
    }

    /// All records.
    pub fn records(self) -> impl Iterator<Item = Record<'z>> {
        let owner = self.name();
        self.sets().flat_map(move |set| {
            set.rdata().map(move |rdata| Record {
                owner,
                rtype: set.rtype,
                ttl: set.ttl,
                rdata,
            })
        })
    }
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match corten_wire::Name::from_wire(self.name()) {
            Ok(name) => write!(f, "Node({name})"),
            Err(error) => write!(f, "Node({error})"),
        }
    }
}

/// The RRsets of a node.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'z> {
    rest: &'z [u8],
}

impl<'z> Iterator for Sets<'z> {
    type Item = RrSet<'z>;

    #[inline]
    fn next(&mut self) -> Option<RrSet<'z>> {
        let octets = number(self.rest, 10) as usize;
        let (head, behind) = self.rest.split_at_checked(SET_OCTETS)?;
        let (records, rest) = behind.split_at_checked(octets)?;
        self.rest = rest;
        Some(RrSet {
            rtype: RecordType(short(head, 0)),
            flags: head[2],
            count: short(head, 4),
            ttl: number(head, 6),
            records,
        })
    }
}

/// Records of one owner and type.
#[derive(Clone, Copy, Debug)]
pub struct RrSet<'z> {
    /// TYPE.
    pub rtype: RecordType,
    /// Seconds; of records that differ the least (RFC 2181 section 5.2).
    pub ttl: u32,
    /// Number of records.
    pub count: u16,
    flags: u8,
    records: &'z [u8],
}

impl<'z> RrSet<'z> {
    /// RDATA of each record, in the order they were added.
    #[inline]
    pub fn rdata(self) -> impl Iterator<Item = &'z [u8]> {
        let mut rest = self.records;
        std::iter::from_fn(move || {
            let length = usize::from(short(rest, 0));
            let (rdata, behind) = rest.get(2..)?.split_at_checked(length)?;
            rest = behind;
            Some(rdata)
        })
    }

    /// RDATA of the first record.
    #[inline]
    pub fn first(self) -> &'z [u8] {
        self.rdata().next().unwrap_or_default()
    }

    /// Whether the name at the end of each record's RDATA is in the zone.
    #[inline]
    pub fn targets_are_inside(self) -> bool {
        self.flags & INSIDE != 0
    }

    /// Octets of the set in a message, owners compressed to two and nothing else compressed.
    #[inline]
    pub fn message_octets(self) -> usize {
        self.records.len() + 10 * usize::from(self.count)
    }

    /// The type that a signature is for; nothing for other types.
    #[inline]
    pub fn covered(self) -> Option<RecordType> {
        let code = self
            .first()
            .first_chunk()
            .filter(|_| self.rtype == RecordType::RRSIG);
        code.map(|code| RecordType(u16::from_be_bytes(*code)))
    }
}

/// An RRset with its signatures.
#[derive(Clone, Copy, Debug)]
pub struct SignedSet<'z> {
    /// The RRset.
    pub set: RrSet<'z>,
    /// RRSIG records that cover it.
    pub signatures: Option<RrSet<'z>>,
}

impl<'z> SignedSet<'z> {
    /// The set, and the one behind it if those are its signatures.
    #[inline]
    pub(crate) fn new(set: RrSet<'z>, mut behind: Sets<'z>) -> Self {
        let signatures = behind
            .next()
            .filter(|next| next.covered() == Some(set.rtype));
        Self { set, signatures }
    }
}
