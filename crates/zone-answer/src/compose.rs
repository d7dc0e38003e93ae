//! Makes a reply from what a zone says: first the chain of aliases, then the sections behind it.
use corten_plugin::wire::name::NAME_OCTETS_MAX;
use corten_plugin::wire::{Name, Owner, Question, Rcode, RecordType, Reply, Section};
use corten_plugin::{Exchange, Fallthrough, Transport};
use corten_zone::{Found, Lookup, Node, Proof, RrSet, SignedSet, Zone};

use crate::write::Writer;

/// Aliases followed inside a zone for one query; a chain or a loop that goes on is left to the
/// client.
const CHAIN_MAX: usize = 16;
/// Targets that are compared, so that none brings its addresses twice.
const COMPARED_MAX: usize = 64;

/// How a chain of aliases ends; the answer section is complete.
#[derive(Debug)]
pub(crate) enum End<'z> {
    /// The name is not there, and a plugin below is asked: nothing has been written.
    Missing,
    /// With the records that were asked for, or where nobody follows any more.
    Data,
    /// With a type that is not there.
    NoData,
    /// With a name that is not there.
    NameError,
    /// At or below a delegation.
    Delegation(Node<'z>, SignedSet<'z>),
    /// With a name in another zone.
    Outside(Box<Name>),
    /// A DNAME makes a name of more than 255 octets.
    TooLong,
    /// Somebody else's denial is there already.
    Denied,
}

/// What is known about one reply while it is made.
#[derive(Debug)]
pub(crate) struct Composer<'z> {
    zone: &'z Zone,
    write: Writer<'z>,
    transport: Transport,
    proof: Proof,
    /// DNAME records that are in the answer, by their nodes: none is there twice (RFC 2181 section 5).
    redirections: Passed,
    /// The set of the answer whose targets may bring addresses, and the index of its first record.
    targets: Option<(RrSet<'z>, usize)>,
}

/// Nodes that a chain has passed.
#[derive(Debug, Default)]
struct Passed {
    places: [u32; CHAIN_MAX + 1],
    count: usize,
}

impl Passed {
    fn has(&self, node: Node<'_>) -> bool {
        self.places[..self.count].contains(&node.place())
    }

    /// Whether the chain comes to the node for the first time.
    fn is_first(&mut self, node: Node<'_>) -> bool {
        let known = self.has(node);
        if !known && let Some(place) = self.places.get_mut(self.count) {
            *place = node.place();
            self.count += 1;
        }
        !known
    }
}

impl<'z> Composer<'z> {
    pub(crate) fn new(ex: &Exchange, zone: &'z Zone) -> Self {
        Self {
            zone,
            write: Writer::new(ex, zone),
            transport: ex.transport,
            proof: Proof::new(),
            redirections: Passed::default(),
            targets: None,
        }
    }

    /// Begins the reply, and writes the answer section (RFC 1034 section 4.3.2).
    pub(crate) fn chain(&mut self, ex: &mut Exchange, fallthrough: &Fallthrough) -> End<'z> {
        let rtype = ex.query.question.rtype;
        let mut lookup = self.zone.lookup(&ex.query.question.name, rtype);
        if is_missing(&lookup) && fallthrough.lets_through(&ex.query.question.name) {
            return End::Missing;
        }
        if ex.has_metadata()
            && let (Some(node), Some(_)) = (lookup.node, lookup.encloser)
            && let Ok(name) = Name::from_wire(node.name())
        {
            ex.set_metadata("zone/wildcard", name.to_string());
        }
        let Exchange { query, reply, .. } = ex;
        reply.start(query, Rcode::NOERROR);
        reply.authoritative = true;
        let mut owner = Owner::Question;
        if let Some(end) = self.step(reply, &query.question.name, owner, rtype, &lookup) {
            return end;
        }
        let (mut name, mut target) = (query.question.name.clone(), Name::root());
        let mut seen = [0; CHAIN_MAX];
        for count in 0..CHAIN_MAX {
            seen[count] = self.zone.fingerprint(&name);
            if let Err(end) = read_target(&lookup, &name, &mut target) {
                return end;
            }
            if let Found::Redirection(_, set) = lookup.found {
                let (answer, ttl) = (Section::Answer, set.set.ttl);
                let written = reply.push(answer, owner, RecordType::CNAME, ttl, |rdata| {
                    self.write.name(rdata, target.wire());
                });
                if !written || rtype == RecordType::CNAME {
                    return End::Data;
                }
            }
            let Some(place) = last_alias(reply) else {
                return End::Data;
            };
            std::mem::swap(&mut name, &mut target);
            if !corten_zone::is_in(name.wire(), self.zone.apex()) {
                return End::Outside(Box::new(name));
            }
            if seen[..=count].contains(&self.zone.fingerprint(&name)) {
                return End::Data;
            }
            owner = Owner::At(place);
            lookup = self.zone.lookup(&name, rtype);
            if let Some(end) = self.step(reply, &name, owner, rtype, &lookup) {
                return end;
            }
        }
        End::Data
    }

    /// Writes what was found for one name of the chain. Nothing if it is an alias.
    fn step(
        &mut self,
        reply: &mut Reply,
        name: &Name,
        owner: Owner<'_>,
        rtype: RecordType,
        lookup: &Lookup<'z>,
    ) -> Option<End<'z>> {
        let answer = Section::Answer;
        match lookup.found {
            Found::Data(set) => {
                // CoreDNS brings no addresses of servers behind an alias.
                if rtype != RecordType::NS || matches!(owner, Owner::Question) {
                    self.targets = Some((set.set, reply.records().len()));
                }
                if rtype != RecordType::DNAME || !self.has_passed(lookup) {
                    self.write.signed(reply, answer, owner, set);
                }
            }
            Found::Several => self.several(reply, owner, rtype, lookup),
            Found::Alias(set) => {
                self.write.alias(reply, owner, set);
                self.prove_expansion(name, lookup);
                return None;
            }
            Found::Redirection(node, set) => {
                if self.redirections.is_first(node) {
                    let owner = Owner::Wire(node.name());
                    self.write.signed(reply, answer, owner, set);
                }
                return None;
            }
            Found::Delegation(node, servers) => return Some(End::Delegation(node, servers)),
            Found::NoData => {
                if self.write.dnssec {
                    self.prove_no_data(name, lookup);
                }
                return Some(End::NoData);
            }
            Found::NameError => {
                if self.write.dnssec
                    && let Some(encloser) = lookup.encloser
                {
                    self.zone.prove_name_error(name, encloser, &mut self.proof);
                }
                return Some(End::NameError);
            }
        }
        self.prove_expansion(name, lookup);
        Some(End::Data)
    }

    /// ANY and RRSIG: one RRset over UDP, where the client's address may be another's (RFC 8482
    /// sections 4.1 and 7), all of them over streams.
    fn several(&self, reply: &mut Reply, owner: Owner<'_>, rtype: RecordType, lookup: &Lookup<'z>) {
        let (node, passed) = (lookup.node, self.has_passed(lookup));
        let sets = node.into_iter().flat_map(Node::sets);
        let there = |set: &RrSet<'_>| {
            let signatures = self.write.dnssec && set.covered() == Some(RecordType::DNAME);
            passed && (set.rtype == RecordType::DNAME || signatures)
        };
        let wanted = sets
            .filter(|set| rtype == RecordType::ANY || set.rtype == rtype)
            .filter(|set| !there(set));
        for set in wanted {
            self.write.set(reply, Section::Answer, owner, set, set.ttl);
            if self.transport == Transport::Udp {
                let signatures = node
                    .and_then(|node| node.signed_set(set.rtype))
                    .and_then(|set| set.signatures)
                    .filter(|_| self.write.dnssec && rtype == RecordType::ANY);
                if let Some(set) = signatures {
                    self.write.set(reply, Section::Answer, owner, set, set.ttl);
                }
                return;
            }
        }
    }

    /// Whether the chain has led over the DNAME record of the name that was found.
    fn has_passed(&self, lookup: &Lookup<'z>) -> bool {
        let exact = lookup.node.filter(|_| lookup.encloser.is_none());
        exact.is_some_and(|node| self.redirections.has(node))
    }

    fn prove_expansion(&mut self, name: &Name, lookup: &Lookup<'z>) {
        if self.write.dnssec
            && let Some(encloser) = lookup.encloser
        {
            self.zone.prove_expansion(name, encloser, &mut self.proof);
        }
    }

    fn prove_no_data(&mut self, name: &Name, lookup: &Lookup<'z>) {
        let (zone, proof) = (self.zone, &mut self.proof);
        match (lookup.node, lookup.encloser) {
            (Some(node), None) => zone.prove_no_data(node, proof),
            (Some(wildcard), Some(encloser)) => {
                zone.prove_no_wildcard_data(name, encloser, wildcard, proof);
            }
            (None, _) => (),
        }
    }

    /// Writes the sections behind the answer.
    pub(crate) fn finish(&mut self, reply: &mut Reply, question: &Question, end: &End<'z>) {
        match end {
            End::NoData => self.deny(reply, Rcode::NOERROR),
            End::NameError => self.deny(reply, Rcode::NXDOMAIN),
            End::Delegation(node, servers) => self.refer(reply, *node, *servers),
            End::TooLong => reply.rcode = Rcode::YXDOMAIN,
            End::Missing | End::Denied => (),
            End::Data | End::Outside(_) => {
                let own_servers = matches!(question.rtype, RecordType::NS | RecordType::ANY)
                    && question.name.wire() == self.zone.apex();
                if !own_servers {
                    self.servers(reply);
                }
                self.prove(reply);
                self.addresses(reply);
            }
        }
    }

    /// The zone's name servers, as CoreDNS has them: where they fit.
    fn servers(&self, reply: &mut Reply) {
        if let Some(set) = self.zone.apex_node().signed_set(RecordType::NS)
            && self.write.fits(reply, set)
        {
            let section = Section::Authority;
            self.write.signed(reply, section, self.write.apex(), set);
        }
    }

    /// The SOA record with the TTL that denials have (RFC 2308 section 3), and proofs.
    fn deny(&self, reply: &mut Reply, rcode: Rcode) {
        reply.rcode = rcode;
        let Some(soa) = self.zone.apex_node().signed_set(RecordType::SOA) else {
            return;
        };
        let ttl = soa.set.ttl.min(self.zone.soa().minimum);
        let (section, owner) = (Section::Authority, self.write.apex());
        self.write.set(reply, section, owner, soa.set, ttl);
        if let Some(signatures) = soa.signatures.filter(|_| self.write.dnssec) {
            self.write.set(reply, section, owner, signatures, ttl);
        }
        self.prove(reply);
    }

    /// A referral: the servers, a DS record or the proof that there is none (RFC 4035 section 3.1.4),
    /// and addresses. Those of servers below the delegation are part of it: where they do not fit
    /// the reply is cut (RFC 9471 section 3.1). Those that only this zone has are good to have.
    fn refer(&mut self, reply: &mut Reply, cut: Node<'z>, servers: SignedSet<'z>) {
        reply.authoritative = reply
            .records()
            .iter()
            .any(|record| record.section == Section::Answer);
        let owner = Owner::Wire(cut.name());
        let first = reply.records().len();
        self.write.set(
            reply,
            Section::Authority,
            owner,
            servers.set,
            servers.set.ttl,
        );
        if self.write.dnssec {
            match cut.signed_set(RecordType::DS) {
                Some(set) => self.write.signed(reply, Section::Authority, owner, set),
                None => self.zone.prove_no_data(cut, &mut self.proof),
            }
            self.prove(reply);
        }
        let below = |name: &Name| corten_zone::is_in(name.wire(), cut.name());
        self.each_target(
            reply,
            servers.set,
            first,
            |this, reply, place, name, node| {
                if below(name) {
                    this.address(reply, place, name, node, |_, _, _| true);
                }
                true
            },
        );
        self.each_target(
            reply,
            servers.set,
            first,
            |this, reply, place, name, node| {
                if !below(name) && node.cut().is_some() {
                    this.address(reply, place, name, node, Writer::fits);
                }
                this.write.has_room(reply)
            },
        );
    }

    fn prove(&self, reply: &mut Reply) {
        let Some(rtype) = self.zone.denial_type() else {
            return;
        };
        for node in self.proof.nodes(self.zone) {
            if let Some(set) = node.signed_set(rtype) {
                let owner = Owner::Wire(node.name());
                self.write.signed(reply, Section::Authority, owner, set);
            }
        }
    }

    /// Addresses of names in the answer (RFC 1035 section 3.3, RFC 2782, RFC 9460 section 4.1), where
    /// they fit.
    fn addresses(&self, reply: &mut Reply) {
        let Some((set, first)) = self.targets else {
            return;
        };
        self.each_target(reply, set, first, |this, reply, place, name, node| {
            if node.cut().is_none() {
                this.address(reply, place, name, node, Writer::fits);
            }
            this.write.has_room(reply)
        });
    }

    fn address(
        &self,
        reply: &mut Reply,
        place: usize,
        name: &Name,
        node: Node<'z>,
        fits: impl Fn(&Writer<'z>, &Reply, SignedSet<'z>) -> bool,
    ) {
        let owner = match u16::try_from(place) {
            Ok(place) if place < 0x4000 => Owner::At(place),
            _ => Owner::Wire(name.wire()),
        };
        for rtype in [RecordType::A, RecordType::AAAA] {
            if let Some(set) = node.signed_set(rtype)
                && fits(&self.write, reply, set)
            {
                self.write.signed(reply, Section::Additional, owner, set);
            }
        }
    }

    /// Calls `each` for every name in the RDATA of a set that the zone has, with the name's place in
    /// the reply, each name once, until it says that there is no use.
    fn each_target(
        &self,
        reply: &mut Reply,
        set: RrSet<'z>,
        first: usize,
        mut each: impl FnMut(&Self, &mut Reply, usize, &Name, Node<'z>) -> bool,
    ) {
        let before = match set.rtype {
            RecordType::NS => 0,
            RecordType::MX | RecordType::SVCB | RecordType::HTTPS => 2,
            RecordType::SRV => 6,
            _ => return,
        };
        let target = |rdata: &'z [u8]| rdata.get(before..).unwrap_or_default();
        let mut name = Name::root();
        for (index, rdata) in set.rdata().enumerate() {
            if self.write.is_overfull(reply) {
                return;
            }
            let Some(record) = reply.records().get(first + index) else {
                return;
            };
            let place = usize::from(record.rdata) + before;
            let mut others = set.rdata().take(index.min(COMPARED_MAX)).map(target);
            let node = match name.read(rdata, before) {
                Ok(end) if !others.any(|other| starts_with_name(other, &rdata[before..end])) => {
                    self.zone.node(name.wire())
                }
                _ => None,
            };
            if let Some(node) = node
                && !each(self, reply, place, &name, node)
            {
                return;
            }
        }
    }
}

/// Where an alias leads.
fn read_target<'z>(lookup: &Lookup<'z>, name: &Name, target: &mut Name) -> Result<(), End<'z>> {
    match lookup.found {
        Found::Alias(set) => target.read(set.set.first(), 0).map_err(|_| End::Data)?,
        Found::Redirection(node, set) => {
            let kept = name.wire().len() - node.name().len();
            let new = set.set.first();
            let mut wire = [0; 2 * NAME_OCTETS_MAX];
            wire[..kept].copy_from_slice(&name.wire()[..kept]);
            let room = wire.get_mut(kept..kept + new.len()).ok_or(End::TooLong)?;
            room.copy_from_slice(new);
            // RFC 6672 section 2.2.
            target.read(&wire, 0).map_err(|_| End::TooLong)?
        }
        _ => return Err(End::Data),
    };
    Ok(())
}

/// A name that is not there, or only as a way to others: what `fallthrough` is for.
fn is_missing(lookup: &Lookup<'_>) -> bool {
    match lookup.found {
        Found::NameError => true,
        Found::NoData => {
            let exact = lookup.node.filter(|_| lookup.encloser.is_none());
            exact.is_some_and(Node::is_empty_non_terminal)
        }
        _ => false,
    }
}

/// Whether octets begin with a name, letter case aside.
fn starts_with_name(octets: &[u8], name: &[u8]) -> bool {
    octets
        .get(..name.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(name))
}

/// Where the target of the last CNAME record lies; nothing where no pointer reaches.
fn last_alias(reply: &Reply) -> Option<u16> {
    let records = reply.records().iter().rev();
    let mut aliases = records.filter(|record| record.rtype == RecordType::CNAME);
    aliases
        .next()
        .map(|record| record.rdata)
        .filter(|place| *place < 0x4000)
}
