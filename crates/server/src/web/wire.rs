//! HTTP/1.1 and HTTP/2 behind one face.
use std::time::Instant;

use corten_web::http2::{Event, PREFACE, Timeouts};
use corten_web::{Request, http1, http2};

use crate::limits;

/// How a connection speaks.
pub(crate) enum Wire {
    /// It has not said enough yet.
    Unknown,
    /// HTTP/1.1, the request that is being answered, and when the one that is coming began to.
    One(http1::Session, Option<Box<Request>>, Instant),
    Two(Box<http2::Session>),
}

/// The request of a response: a stream of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// What of the input was taken.
pub(crate) enum Taken {
    /// So many octets; zero when more have to come.
    Octets(usize),
    /// So many, and a request.
    Request(usize, Ticket, Box<Request>),
    /// The connection ends when the output is written.
    Over,
}

impl Wire {
    /// Finds out how the client speaks; HTTP/2 begins with words that no HTTP/1.1 request begins with
    /// (RFC 9113 section 3.4).
    fn begin(
        &mut self,
        input: &[u8],
        only_two: bool,
        streams: u32,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let length = input.len().min(PREFACE.len());
        let may_be_two = input[..length] == PREFACE[..length];
        if !only_two && may_be_two && length < PREFACE.len() {
            return;
        }
        *self = match only_two || may_be_two {
            true => {
                let config = http2::Config {
                    streams_max: streams,
                    body_octets_max: limits::WEB_BODY_OCTETS_MAX,
                    header_octets_max: limits::HTTP_HEADER_OCTETS_MAX as u32,
                };
                Self::Two(Box::new(http2::Session::new(config, now, out)))
            }
            false => Self::One(
                http1::Session::new(http1::Config {
                    head_octets_max: limits::HTTP_HEADER_OCTETS_MAX,
                    body_octets_max: limits::WEB_BODY_OCTETS_MAX as usize,
                }),
                None,
                now,
            ),
        };
    }

    /// Takes a frame, or a part of a request.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        only_two: bool,
        streams: u32,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Taken {
        if matches!(self, Self::Unknown) {
            self.begin(input, only_two, streams, now, out);
        }
        match self {
            Self::Unknown => Taken::Octets(0),
            Self::One(session, ..) if session.is_over() => Taken::Over,
            Self::One(session, _, begun) => {
                if !session.is_waiting_for_client() {
                    *begun = now;
                }
                match session.receive(input, out) {
                    (length, None) => Taken::Octets(length),
                    (length, Some(request)) => Taken::Request(length, Ticket(0), request),
                }
            }
            Self::Two(session) => match session.receive(input, now, out) {
                Ok((length, Event::Request(stream, request))) => {
                    Taken::Request(length, Ticket(stream), request)
                }
                // An exchange that waits goes on: its answer fills caches.
                Ok((length, Event::Nothing | Event::Cancelled(_))) => Taken::Octets(length),
                Err(_) => Taken::Over,
            },
        }
    }

    /// Keeps what of a request is needed to answer it.
    pub(crate) fn hold(&mut self, request: Box<Request>) {
        match self {
            Self::Two(session) => session.recycle(request),
            Self::One(_, held, _) => *held = Some(request),
            Self::Unknown => (),
        }
    }

    /// Asks the client to ask nothing more.
    pub(crate) fn leave(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Two(session) => session.leave(out),
            Self::One(session, ..) => session.leave(),
            Self::Unknown => (),
        }
    }

    /// Whether every request is answered, and the answer is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Two(session) => session.is_idle(),
            Self::One(session, held, _) => held.is_none() && !session.is_waiting_for_client(),
            Self::Unknown => true,
        }
    }

    /// Whether a clock has to be kept for what the client has begun.
    pub(crate) fn is_waiting_for_client(&self) -> bool {
        match self {
            Self::Two(session) => session.is_waiting_for_client(),
            Self::One(session, ..) => session.is_waiting_for_client(),
            Self::Unknown => false,
        }
    }

    /// What takes too long, one request at a time.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        timeouts: &Timeouts,
        out: &mut Vec<u8>,
    ) -> Result<Option<(Ticket, Box<Request>)>, Over> {
        match self {
            Self::Two(session) => match session.expire(now, timeouts, out) {
                Ok(late) => Ok(late.map(|(stream, request)| (Ticket(stream), request))),
                Err(_) => Err(Over),
            },
            Self::One(session, _, begun)
                if now.saturating_duration_since(*begun) >= timeouts.request =>
            {
                Ok(session.expire().map(|request| (Ticket(0), request)))
            }
            _ => Ok(None),
        }
    }
}

/// The connection is over once the output is written.
pub(crate) struct Over;

/// A response of HTTP/2.
pub(crate) struct Response<'a> {
    pub(crate) block: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) trailers: Option<&'a [u8]>,
}

impl Ticket {
    /// Answers on a stream.
    pub(crate) fn respond(
        self,
        session: &mut http2::Session,
        response: &Response<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        session.respond(
            self.0,
            response.block,
            response.body,
            response.trailers,
            now,
            out,
        );
    }
}
