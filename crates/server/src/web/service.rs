//! What a request asks and how it is answered: DNS over HTTPS or CoreDNS's service over gRPC.
use std::time::Instant;

use corten_plugin::{TraceContext, Transport};
use corten_web::http2::hpack::{self, index};
use corten_web::{Field, Problem, Request, http1};

use super::grpc::{self, Failure};
use super::wire::{Response, Ticket, Wire};
use crate::doh::date::Date;
use crate::doh::request::{self, Head, Method};
use crate::doh::status::{Status, Tally};
use crate::doh::{MEDIA_TYPE, freshness};

/// What a listener's requests are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Doh,
    Grpc,
}

/// Why a request gets no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Status(Status),
    /// The same without a body: what HEAD gets.
    Bare(Status),
    Failure(Failure),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Memory for what is composed.
#[derive(Default)]
pub(crate) struct Scratch {
    block: Vec<u8>,
    body: Vec<u8>,
    trailers: Vec<u8>,
    date: Date,
}

impl Service {
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::Doh => Transport::Https,
            Self::Grpc => Transport::Grpc,
        }
    }

    /// The DNS message of a request; what has to be decoded is put into `decoded`.
    pub(crate) fn message<'m>(
        self,
        request: &'m Request,
        decoded: &'m mut Vec<u8>,
    ) -> Result<&'m [u8], Refusal> {
        self.asked(request, decoded)
            .map_err(|refusal| match refusal {
                Refusal::Status(status) if request.is_head() => Refusal::Bare(status),
                other => other,
            })
    }

    fn asked<'m>(
        self,
        request: &'m Request,
        decoded: &'m mut Vec<u8>,
    ) -> Result<&'m [u8], Refusal> {
        let path = request.field(Field::Path).unwrap_or_default();
        let method = Method::new(request.field(Field::Method).unwrap_or_default());
        let content_type = request.field(Field::ContentType);
        if self == Self::Grpc {
            return called(request, path, method, content_type);
        }
        if let Some(problem) = request.problem {
            return Err(Refusal::Status(match problem {
                Problem::HeadersTooLarge => Status::HeadersTooLarge,
                Problem::BodyTooLarge => Status::TooLarge,
                Problem::Late => Status::Timeout,
                Problem::UnknownCoding => Status::NotImplemented,
                Problem::Malformed => Status::BadRequest,
            }));
        }
        let message = match request::head(method, path, content_type).map_err(Refusal::Status)? {
            Head::Body => &request.body,
            Head::Target => {
                request::from_target(path, decoded).map_err(Refusal::Status)?;
                &*decoded
            }
        };
        request::check(message).map_err(Refusal::Status)?;
        Ok(message)
    }

    /// What a query gets that the chain drops.
    pub(crate) const fn nothing(self) -> Refusal {
        match self {
            Self::Doh => Refusal::Status(Status::NoResponse),
            Self::Grpc => Refusal::Failure(Failure::NoResponse),
        }
    }

    /// What a query gets while too many wait.
    pub(crate) const fn busy(self) -> Refusal {
        match self {
            Self::Doh => Refusal::Status(Status::NoResponse),
            Self::Grpc => Refusal::Failure(Failure::Busy),
        }
    }
}

fn called<'m>(
    request: &'m Request,
    path: &[u8],
    method: Method,
    content_type: Option<&[u8]>,
) -> Result<&'m [u8], Refusal> {
    if method != Method::Post {
        return Err(Refusal::Status(Status::MethodNotAllowed));
    }
    if !grpc::is_grpc(content_type) {
        return Err(Refusal::Status(Status::UnsupportedMediaType));
    }
    let failure = match request.problem {
        Some(Problem::HeadersTooLarge) => return Err(Refusal::Status(Status::HeadersTooLarge)),
        Some(Problem::BodyTooLarge) => Failure::TooLarge,
        Some(Problem::Late) => Failure::Late,
        Some(_) => return Err(Refusal::Status(Status::BadRequest)),
        None if path != grpc::PATH => grpc::unknown(path),
        None => {
            let message = grpc::message(&request.body).map_err(Refusal::Failure)?;
            match request::check(message) {
                Ok(()) => return Ok(message),
                Err(_) => Failure::NoQuery,
            }
        }
    };
    Err(Refusal::Failure(failure))
}

impl Scratch {
    /// Answers with a DNS message.
    pub(crate) fn reply(
        &mut self,
        service: Service,
        (wire, ticket): (&mut Wire, Ticket),
        reply: &[u8],
        tally: &Tally,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        self.block.clear();
        if service == Service::Grpc {
            let Wire::Two(session) = wire else { return };
            self.body.clear();
            self.trailers.clear();
            grpc::write_head(&mut self.block);
            corten_web::grpc::write_message(reply, &mut self.body);
            grpc::write_trailers(&mut self.trailers);
            let response = Response {
                block: &self.block,
                body: &self.body,
                trailers: Some(&self.trailers),
            };
            return ticket.respond(session, &response, now, out);
        }
        tally.count(Status::Ok);
        let (mut age, mut length) = (Digits::default(), Digits::default());
        let age = age.write("max-age=", freshness::seconds(reply));
        let date = self.date.now();
        match wire {
            Wire::Two(session) => {
                hpack::write_indexed(&mut self.block, index::STATUS_200);
                let media_type = MEDIA_TYPE.as_bytes();
                hpack::write_value(&mut self.block, index::CONTENT_TYPE, media_type);
                hpack::write_value(&mut self.block, index::CACHE_CONTROL, age.as_bytes());
                let length = length.write("", reply.len() as u32).as_bytes();
                hpack::write_value(&mut self.block, index::CONTENT_LENGTH, length);
                hpack::write_value(&mut self.block, index::DATE, date.as_bytes());
                let response = Response {
                    block: &self.block,
                    body: reply,
                    trailers: None,
                };
                ticket.respond(session, &response, now, out);
            }
            Wire::One(session, held, _) => {
                let response = http1::Response {
                    status: "200 OK",
                    fields: &[
                        ("content-type", MEDIA_TYPE),
                        ("cache-control", age),
                        ("date", date),
                    ],
                };
                session.respond(held.take().unwrap_or_default(), response, reply, out);
            }
            Wire::Unknown => (),
        }
    }

    /// Answers without one.
    pub(crate) fn refuse(
        &mut self,
        service: Service,
        (wire, ticket): (&mut Wire, Ticket),
        refusal: Refusal,
        tally: &Tally,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        self.block.clear();
        let (status, is_bare) = match refusal {
            Refusal::Status(status) => (status, false),
            Refusal::Bare(status) => (status, true),
            Refusal::Failure(failure) => {
                let Wire::Two(session) = wire else { return };
                grpc::write_failure(failure, &mut self.block);
                let response = Response {
                    block: &self.block,
                    body: &[],
                    trailers: None,
                };
                return ticket.respond(session, &response, now, out);
            }
        };
        // What is counted are responses of DoH.
        if service == Service::Doh {
            tally.count(status);
        }
        let text = status.text();
        let date = self.date.now();
        let allow = (status == Status::MethodNotAllowed).then_some(("allow", "GET, POST"));
        match wire {
            Wire::Two(session) => {
                let block = &mut self.block;
                hpack::write_value(block, index::STATUS, status.digits().as_bytes());
                hpack::write_value(block, index::CONTENT_TYPE, PLAIN.as_bytes());
                if let Some((_, methods)) = allow {
                    hpack::write_value(block, index::ALLOW, methods.as_bytes());
                }
                let mut length = Digits::default();
                let length = length.write("", text.len() as u32).as_bytes();
                hpack::write_value(block, index::CONTENT_LENGTH, length);
                hpack::write_value(block, index::DATE, date.as_bytes());
                let response = Response {
                    block,
                    body: if is_bare { b"" } else { text.as_bytes() },
                    trailers: None,
                };
                ticket.respond(session, &response, now, out);
            }
            Wire::One(session, held, _) => {
                let line = format!("{} {}", status.digits(), status.reason());
                let mut fields = vec![("content-type", PLAIN), ("date", date)];
                fields.extend(allow);
                let response = http1::Response {
                    status: &line,
                    fields: &fields,
                };
                session.respond(
                    held.take().unwrap_or_default(),
                    response,
                    text.as_bytes(),
                    out,
                );
            }
            Wire::Unknown => (),
        }
    }
}

/// The trace that a request says it belongs to.
pub(crate) fn trace(request: &Request) -> Option<TraceContext> {
    let field = |field| request.field(field);
    if let Some(text) = field(Field::TraceParent) {
        return TraceContext::w3c(text);
    }
    if let Some(text) = field(Field::B3) {
        return TraceContext::b3(text);
    }
    let decided = field(Field::B3Sampled).unwrap_or_default();
    TraceContext::b3_fields(field(Field::B3TraceId)?, field(Field::B3SpanId)?, decided)
}

/// What texts for people are.
pub(crate) const PLAIN: &str = "text/plain; charset=utf-8";

/// A number behind a word, without memory of its own.
#[derive(Default)]
pub(crate) struct Digits([u8; 20]);

impl Digits {
    /// The word and the number behind it.
    pub(crate) fn write(&mut self, word: &str, number: u32) -> &str {
        let (mut at, mut rest) = (self.0.len(), number);
        loop {
            at -= 1;
            self.0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let start = at.saturating_sub(word.len());
        self.0[start..at].copy_from_slice(&word.as_bytes()[..at - start]);
        std::str::from_utf8(&self.0[start..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_behind_words() {
        for (number, text) in [
            (0, "max-age=0"),
            (3600, "max-age=3600"),
            (u32::MAX, "max-age=4294967295"),
        ] {
            assert_eq!(Digits::default().write("max-age=", number), text);
        }
        assert_eq!(Digits::default().write("", 512), "512");
    }
}
