//! HTTP/2 (RFC 9113): one connection, frames in order, streams, flow control.
//!
//! | module | what it is |
//! |---|---|
//! | `bodies` | bodies of requests, and how much of them is held |
//! | `settings` | what the client says of itself: settings and windows |
//! | `headers` | header blocks: requests begin, trailers end them |
//! | `respond` | responses, as far as the client has room for them |
//! | `stream` | one stream |
//! | `calm` | how many frames that lead nowhere are put up with |
//! | `frame` | heads of frames, and frames that are written |
//! | [`hpack`] | header compression (RFC 7541) |
//! | `huffman` | its strings |
//!
//! Not here: server push, priorities (read and ignored, RFC 9113 section 5.3.2), tunnels.
mod bodies;
mod calm;
mod frame;
mod headers;
pub mod hpack;
pub(crate) mod huffman;
mod respond;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use calm::Calm;
pub use frame::Reason;
use frame::{HEAD, Head, PAYLOAD_MAX, flag, kind, setting};
use hpack::Decoder;
use stream::{State, Stream};

use crate::request::{Field, Problem, Request};

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames of one header block; an empty CONTINUATION is cheap to send (CVE-2024-27316).
const BLOCK_FRAMES_MAX: u8 = 8;
/// Octets of a header block as it comes.
const BLOCK_OCTETS_MAX: usize = PAYLOAD_MAX;
/// Octets of bodies that are being received on a connection.
const WINDOW: u32 = 256 * 1024;
/// Octets of responses that a client has not made room for; beyond it its requests are refused.
const PENDING_MAX: usize = 512 * 1024;
/// Streams of late that we have reset: what the client sent before it heard of it is no mistake.
const RESET_KEPT: usize = 32;
/// What a reset of either side costs, in frames that lead nowhere.
const RESET_COST: u32 = 4;
/// Largest window (RFC 9113 section 6.9.1).
const WINDOW_MAX: i64 = 0x7fff_ffff;

/// How much a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Requests at a time.
    pub streams_max: u32,
    /// Octets of a body.
    pub body_octets_max: u32,
    /// Octets of header fields, as RFC 9113 section 6.5.2 counts them.
    pub header_octets_max: u32,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the body of a request.
    pub request: Duration,
    /// To make room for more of a response.
    pub response: Duration,
}

/// What has come.
#[derive(Debug)]
pub enum Event {
    /// A frame that needs nobody's attention.
    Nothing,
    /// A request on this stream.
    Request(u32, Box<Request>),
    /// The client does not want the response on this stream any more.
    Cancelled(u32),
}

/// The connection is over: what has been written says why, and is all there is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fatal(pub Reason);

/// What becomes of a frame.
enum Fault {
    /// The connection ends.
    Connection(Reason),
    /// The stream ends.
    Stream(u32, Reason),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Connection(reason)
    }
}

/// The server's side of one connection.
pub struct Session {
    config: Config,
    calm: Calm,
    decoder: Decoder,
    streams: Vec<Stream>,
    /// Those behind the preface and the first SETTINGS.
    begun: bool,
    greeted: bool,
    /// A header block that goes on: its stream, whether the request ends with it, its frames.
    block_of: Option<(u32, bool, u8)>,
    block: Vec<u8>,
    last: u32,
    leaving: bool,
    reset: [u32; RESET_KEPT],
    resets: usize,
    peer_window: i64,
    peer_frame: usize,
    window: i64,
    /// Octets that have come since we made room for more.
    received: u32,
    /// Boxes, because they are handed out and come back without being copied.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Request>>,
}

impl Session {
    /// The beginning of a connection; writes our settings.
    pub fn new(config: Config, now: Instant, out: &mut Vec<u8>) -> Self {
        let values = [
            (setting::MAX_CONCURRENT_STREAMS, config.streams_max),
            (setting::INITIAL_WINDOW_SIZE, config.body_octets_max + 1),
            (setting::MAX_HEADER_LIST_SIZE, config.header_octets_max),
        ];
        frame::settings(out, &values);
        frame::window_update(out, 0, WINDOW - 65_535);
        Self {
            config,
            calm: Calm::new(now),
            decoder: Decoder::default(),
            streams: Vec::new(),
            begun: false,
            greeted: false,
            block_of: None,
            block: Vec::new(),
            last: 0,
            leaving: false,
            reset: [0; RESET_KEPT],
            resets: 0,
            peer_window: 65_535,
            peer_frame: PAYLOAD_MAX,
            window: 65_535,
            received: 0,
            spare: Vec::new(),
        }
    }

    /// Takes one frame from the beginning of `input`; returns how many octets it had, none when more
    /// have to come.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn receive(
        &mut self,
        input: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Event), Fatal> {
        if !self.begun {
            let length = input.len().min(PREFACE.len());
            if input[..length] != PREFACE[..length] {
                return Err(self.end(Reason::ProtocolError, out));
            }
            self.begun = length == PREFACE.len();
            let taken = if self.begun { length } else { 0 };
            return Ok((taken, Event::Nothing));
        }
        let Some(head) = Head::read(input) else {
            return Ok((0, Event::Nothing));
        };
        if head.length > PAYLOAD_MAX {
            return Err(self.end(Reason::FrameSizeError, out));
        }
        let Some(payload) = input.get(HEAD..HEAD + head.length) else {
            return Ok((0, Event::Nothing));
        };
        let taken = HEAD + head.length;
        match self.frame(head, payload, now, out) {
            Ok(event) => Ok((taken, event)),
            Err(Fault::Connection(reason)) => Err(self.end(reason, out)),
            Err(Fault::Stream(stream, reason)) => {
                self.abandon(stream, reason, out);
                // Resets that we are made to send are a nuisance like those of the client.
                match self.calm.spend(RESET_COST, now) {
                    true => Ok((taken, Event::Cancelled(stream))),
                    false => Err(self.end(Reason::EnhanceYourCalm, out)),
                }
            }
        }
    }

    /// Tells the client to ask nothing more here; what it has asked is still answered.
    pub fn leave(&mut self, out: &mut Vec<u8>) {
        if !self.leaving {
            self.leaving = true;
            frame::go_away(out, self.last, Reason::NoError);
        }
    }

    /// Whether no request is under way and no response waits for room.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether the client keeps us waiting, so that [`Session::expire`] should be called from time to
    /// time.
    pub fn is_waiting_for_client(&self) -> bool {
        let waits = |stream: &Stream| !matches!(stream.state, State::Answering);
        self.block_of.is_some() || self.streams.iter().any(waits)
    }

    /// Ends what takes too long: a body that does not come is answered as
    /// [`Problem::Late`]; a client that does not make room for responses loses the connection.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn expire(
        &mut self,
        now: Instant,
        timeouts: &Timeouts,
        out: &mut Vec<u8>,
    ) -> Result<Option<(u32, Box<Request>)>, Fatal> {
        let late = |stream: &Stream, limit| now.saturating_duration_since(stream.since) >= limit;
        let stuck = |stream: &&Stream| {
            matches!(stream.state, State::Sending { .. }) && late(stream, timeouts.response)
        };
        if self.streams.iter().any(|stream| stuck(&stream)) {
            return Err(self.end(Reason::EnhanceYourCalm, out));
        }
        for stream in &mut self.streams {
            let id = stream.id;
            if matches!(stream.state, State::Receiving { .. }) && late(stream, timeouts.request) {
                let State::Receiving { mut request, .. } =
                    std::mem::replace(&mut stream.state, State::Answering)
                else {
                    continue;
                };
                request.problem = Some(Problem::Late);
                request.body.clear();
                self.note_reset(id);
                self.make_room(out);
                return Ok(Some((id, request)));
            }
        }
        Ok(None)
    }

    /// Takes a request back whose memory is to be used again.
    pub fn recycle(&mut self, request: Box<Request>) {
        if request.is_small() && self.spare.len() < 16 {
            self.spare.push(request);
        }
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        if !self.greeted && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Reason::ProtocolError.into());
        }
        self.greeted = true;
        if self.block_of.is_some() != (head.kind == kind::CONTINUATION) {
            return Err(Reason::ProtocolError.into());
        }
        let on_stream = matches!(
            head.kind,
            kind::DATA | kind::HEADERS | kind::PRIORITY | kind::RST_STREAM | kind::CONTINUATION
        );
        let on_connection = matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        if on_stream && head.stream == 0 || on_connection && head.stream != 0 {
            return Err(Reason::ProtocolError.into());
        }
        match head.kind {
            kind::DATA => self.data(head, payload, now, out),
            kind::HEADERS => self.headers(head, payload, now, out),
            kind::CONTINUATION => self.continuation(head, payload, now, out),
            kind::PRIORITY => {
                let Some(dependency) = payload.first_chunk::<4>().filter(|_| payload.len() == 5)
                else {
                    return Err(Fault::Stream(head.stream, Reason::FrameSizeError));
                };
                if u32::from_be_bytes(*dependency) & 0x7fff_ffff == head.stream {
                    return Err(Fault::Stream(head.stream, Reason::ProtocolError));
                }
                self.nuisance(1, now)
            }
            kind::RST_STREAM => {
                if payload.len() != 4 {
                    return Err(Reason::FrameSizeError.into());
                }
                self.must_have_been(head.stream)?;
                // More than the request that it takes back has earned.
                self.nuisance(RESET_COST, now)?;
                self.forget(head.stream);
                self.make_room(out);
                Ok(Event::Cancelled(head.stream))
            }
            kind::SETTINGS => {
                self.nuisance(1, now)?;
                self.settings(head, payload, out)
            }
            kind::PUSH_PROMISE => Err(Reason::ProtocolError.into()),
            kind::PING => {
                let Some(opaque) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
                    return Err(Reason::FrameSizeError.into());
                };
                if !head.has(flag::ACK) {
                    frame::head(out, 8, kind::PING, flag::ACK, 0);
                    out.extend_from_slice(opaque);
                }
                self.nuisance(1, now)
            }
            kind::GOAWAY if payload.len() < 8 => Err(Reason::FrameSizeError.into()),
            kind::WINDOW_UPDATE => {
                self.nuisance(1, now)?;
                self.window_update(head.stream, payload, out)
            }
            _ => self.nuisance(1, now),
        }
    }

    fn nuisance(&mut self, cost: u32, now: Instant) -> Result<Event, Fault> {
        match self.calm.spend(cost, now) {
            true => Ok(Event::Nothing),
            false => Err(Reason::EnhanceYourCalm.into()),
        }
    }

    /// An error unless the client has opened this stream at some time.
    fn must_have_been(&self, id: u32) -> Result<(), Fault> {
        match id <= self.last && id % 2 == 1 {
            true => Ok(()),
            false => Err(Reason::ProtocolError.into()),
        }
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.streams.iter().rposition(|stream| stream.id == id)
    }

    fn forget(&mut self, id: u32) {
        if let Some(at) = self.position(id) {
            let stream = self.streams.swap_remove(at);
            if let State::Receiving { request, .. } = stream.state {
                self.recycle(request);
            }
        }
    }

    fn abandon(&mut self, id: u32, reason: Reason, out: &mut Vec<u8>) {
        self.forget(id);
        self.note_reset(id);
        frame::reset(out, id, reason);
        self.make_room(out);
    }

    fn note_reset(&mut self, id: u32) {
        self.reset[self.resets % RESET_KEPT] = id;
        self.resets += 1;
    }

    fn was_reset(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }

    fn end(&mut self, reason: Reason, out: &mut Vec<u8>) -> Fatal {
        self.leaving = true;
        frame::go_away(out, self.last, reason);
        Fatal(reason)
    }
}
