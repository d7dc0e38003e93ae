//! One query and what becomes of it.
use std::any::Any;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use corten_wire::{Opcode, Query, Question, Rcode, RecordType, Reply};

use crate::lookup::{Lookups, Resolve};
use crate::metadata::Metadata;
use crate::parts::PartSink;
use crate::seal::Seals;
use crate::{Chain, Flow, Site, Spans, TraceContext};

/// An error of any kind, for the *errors* plugin and the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// INFO-CODE of an Extended DNS Error (RFC 8914 section 4.21).
const NOT_AUTHORITATIVE: u16 = 20;

/// What carried the query here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484), over HTTP/1.1 or HTTP/2.
    Https,
    /// CoreDNS's service over gRPC.
    Grpc,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over HTTP/3.
    Https3,
}

impl Transport {
    /// `udp` or `tcp`: what CoreDNS's logs and metrics call it.
    pub const fn network(self) -> &'static str {
        match self {
            Self::Udp | Self::Quic | Self::Https3 => "udp",
            Self::Tcp | Self::Tls | Self::Https | Self::Grpc => "tcp",
        }
    }

    /// Whether a response is any number of messages there, as transfers need it (RFC 5936 section
    /// 4.2, RFC 9103, RFC 9250 section 4.4): HTTP and gRPC have one for each request.
    pub const fn carries_transfers(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Quic)
    }
}

/// One query on its way down a chain, and its reply on the way back.
///
/// Belongs to a worker and is used for one query after the other; a link that waits takes it along
/// into its task.
pub struct Exchange {
    /// The query; plugins may change its question and must put it back.
    pub query: Query,
    /// The reply so far.
    pub reply: Reply,
    /// Where the query came from.
    pub client: SocketAddr,
    /// The address it was sent to.
    pub local: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// When it was read from its socket; one reading of the clock serves a whole batch.
    pub received: Instant,
    /// The listener and the view, as metrics call them.
    pub site: Site,
    /// Which of [`crate::Block::zones`] the query was routed by.
    pub zone: u16,
    /// When the client is answered at the latest; whoever waits beyond it is given up, and the
    /// client gets SERVFAIL. Set by a link on the way down.
    pub deadline: Option<Instant>,
    /// A link would have denied the query, but for an answer that the process owes
    /// ([`crate::Owed`]); whoever owes it and has none refuses.
    pub excused: bool,
    /// The trace that the client says the query belongs to.
    pub trace: Option<TraceContext>,
    pub(crate) metadata: Metadata,
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    pub(crate) lookups: OnceLock<Box<Lookups>>,
    /// A lookup led to a block that judges clients.
    personal: AtomicBool,
    pub(crate) parts: Option<Arc<dyn PartSink>>,
    /// All that there was to send has been sent in parts.
    pub(crate) sent: bool,
    /// Octets of those parts.
    pub(crate) sent_octets: usize,
    pub(crate) seals: Seals,
    pub(crate) failure: Option<BoxError>,
    /// Which plugins work on the query, if anybody wants to know.
    pub(crate) spans: Option<Box<Spans>>,
    pub(crate) notes: Vec<(u8, Box<dyn Any + Send + Sync>)>,
    pub(crate) cursor: u8,
    pub(crate) watchers: u64,
    pub(crate) afterwards: u64,
    pub(crate) answered_by: Option<u8>,
    pub(crate) rounds: u8,
    pub(crate) dropped: bool,
}

impl Exchange {
    /// An empty one, for a worker to read queries into.
    pub fn new() -> Self {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            query: Query::new(),
            reply: Reply::new(),
            client: nobody,
            local: nobody,
            transport: Transport::Udp,
            received: Instant::now(),
            site: Site::new("", ""),
            zone: 0,
            deadline: None,
            excused: false,
            trace: None,
            metadata: Metadata::default(),
            resolver: None,
            lookups: OnceLock::new(),
            personal: AtomicBool::new(false),
            parts: None,
            sent: false,
            sent_octets: 0,
            seals: Seals::default(),
            failure: None,
            spans: None,
            notes: Vec::new(),
            cursor: 0,
            watchers: 0,
            afterwards: 0,
            answered_by: None,
            rounds: 0,
            dropped: false,
        }
    }

    /// Another question of the same client: header bits and EDNS are those of `like`.
    pub(crate) fn another(question: &Question, like: &Self) -> Self {
        Self {
            query: like.query.with_question(question),
            client: like.client,
            local: like.local,
            transport: like.transport,
            received: like.received,
            site: like.site,
            zone: like.zone,
            deadline: like.deadline,
            metadata: like.metadata.clone(),
            resolver: like.resolver.clone(),
            lookups: like.lookups.clone(),
            seals: like.seals.inherited(),
            ..Self::new()
        }
    }

    /// Octets of the largest reply that the client takes: what its OPT says over UDP, 512 at least
    /// (RFC 6891 section 6.2.3), and any message over a stream.
    pub fn client_octets_max(&self) -> u16 {
        match self.transport {
            Transport::Udp => self.query.edns().map_or(512, |edns| edns.udp_size.max(512)),
            _ => u16::MAX,
        }
    }

    /// Begins a reply with this RCODE; records go behind it with [`Reply::push`].
    pub fn start(&mut self, rcode: Rcode) -> &mut Reply {
        self.reply.start(&self.query, rcode);
        &mut self.reply
    }

    /// Answers with an RCODE and no records.
    pub fn answer(&mut self, rcode: Rcode) -> Flow {
        self.start(rcode);
        Flow::Respond
    }

    /// Answers with an RCODE and leaves `error` for the *errors* plugin.
    pub fn fail(&mut self, rcode: Rcode, error: impl Into<BoxError>) -> Flow {
        self.failure = Some(error.into());
        self.answer(rcode)
    }

    /// Tells the client why, as an Extended DNS Error (RFC 8914); sent when the client speaks EDNS.
    /// For replies that have been started.
    pub fn explain(&mut self, info_code: u16, extra_text: &str) {
        let mut data = Vec::with_capacity(2 + extra_text.len());
        data.extend_from_slice(&info_code.to_be_bytes());
        data.extend_from_slice(extra_text.as_bytes());
        self.reply.set_option(15, &data);
    }

    /// For plugins that ask other servers: the answer to a query for a zone transfer. What one of them
    /// sends is many messages, of which the first would be relayed and look like a whole zone. The zone
    /// is not ours: NOTAUTH (RFC 5936 section 2.2.1).
    pub fn refuse_transfer(&mut self) -> Option<Flow> {
        let is_transfer = matches!(
            self.query.question.rtype,
            RecordType::AXFR | RecordType::IXFR
        ) && self.query.opcode() == Opcode::QUERY;
        is_transfer.then(|| {
            let flow = self.answer(Rcode::NOTAUTH);
            self.explain(NOT_AUTHORITATIVE, "zone transfers are not relayed");
            flow
        })
    }

    /// Error left by a plugin further down.
    pub fn failure(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.failure.as_deref()
    }

    /// Whether the answer is for this client alone, because a question that was asked in its name came
    /// to a block that denies some clients what others get. Nobody else may have it.
    pub fn is_personal(&self) -> bool {
        self.personal.load(Relaxed)
    }

    /// For the server: the block that answered denies some clients what others get.
    pub fn set_personal(&mut self) {
        *self.personal.get_mut() = true;
    }

    /// Notes what an answer to a question of ours is made of.
    pub(crate) fn learn_from(&self, other: &Self) {
        if other.is_personal() {
            self.personal.store(true, Relaxed);
        }
    }

    /// Whether nothing is to be sent.
    pub fn is_dropped(&self) -> bool {
        self.dropped
    }

    /// Keeps a note for this plugin's own way back; one allocation.
    pub fn keep<T: Send + Sync + 'static>(&mut self, note: T) {
        self.notes.push((self.cursor, Box::new(note)));
    }

    /// Takes this plugin's note.
    pub fn kept<T: 'static>(&mut self) -> Option<T> {
        let cursor = self.cursor;
        let at = self
            .notes
            .iter()
            .position(|(owner, note)| *owner == cursor && note.is::<T>())?;
        self.notes
            .swap_remove(at)
            .1
            .downcast()
            .ok()
            .map(|note| *note)
    }

    /// Asks for a call of `wait` with [`crate::Phase::Sent`].
    pub fn after_send(&mut self) {
        self.afterwards |= 1 << self.cursor;
    }

    /// Whether a plugin asked for a call after the reply is sent.
    pub fn has_afterwards(&self) -> bool {
        self.afterwards != 0
    }

    /// Whether [`Flow::Again`] would be granted; without it the client gets SERVFAIL.
    pub fn may_ask_again(&self) -> bool {
        self.rounds < Chain::ROUNDS_MAX
    }

    /// Index of the plugin that answered.
    pub fn answered_by(&self) -> Option<usize> {
        self.answered_by.map(usize::from)
    }

    /// Forgets what plugins below `cursor` have done.
    pub(crate) fn forget_below(&mut self, cursor: u8) {
        let above = (1 << cursor) - 1;
        self.watchers &= above;
        self.afterwards &= above | 1 << cursor;
        self.notes.retain(|(owner, _)| *owner <= cursor);
        self.reply.clear();
        self.failure = None;
        self.answered_by = None;
        self.dropped = false;
        if let Some(spans) = &mut self.spans {
            spans.leave_below(cursor);
        }
    }

    /// Makes the exchange ready for the next query; keeps its memory. The query is left to the next
    /// reading.
    pub fn recycle(&mut self) {
        self.reply.clear();
        self.trace = None;
        self.metadata.clear();
        self.resolver = None;
        self.lookups.take();
        *self.personal.get_mut() = false;
        self.parts = None;
        self.sent = false;
        self.sent_octets = 0;
        self.seals.clear();
        self.failure = None;
        self.spans = None;
        self.notes.clear();
        self.dropped = false;
        self.deadline = None;
        self.excused = false;
        (
            self.cursor,
            self.watchers,
            self.afterwards,
            self.answered_by,
            self.rounds,
        ) = (0, 0, 0, None, 0);
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("question", &self.query.question)
            .field("client", &self.client)
            .field("rcode", &self.reply.rcode)
            .finish_non_exhaustive()
    }
}
