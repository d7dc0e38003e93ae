//! DNS over HTTPS (RFC 8484) on HTTP/3 (RFC 9114): a stream for each request.
//!
//! As over DoQ, what is answered from memory is answered where the stream is accepted, and all else
//! has a task of its own.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corten_plugin::{Chain, Exchange};
use corten_web::Request;
use corten_web::http3::request::{Limits, Reader};
use corten_web::http3::{Code, Fault, uni, write_control, write_goaway};
use quinn::{ReadError, RecvStream, SendStream, VarInt};
use tokio::time::{timeout, timeout_at};

use super::link::{Held, Link, Unfinished, is_replayable};
use super::now;
use super::response::Scratch;
use super::streams::{Reason, Streams, accept, take_last};
use crate::answer::{Outcome, finish, finish_afterwards, go_on, read, respond};
use crate::current::Current;
use crate::doh::status::Status;
use crate::generation::{Generation, Table};
use crate::limits;
use crate::pool;
use crate::udp::Place;
use crate::web::service::{Service, trace};

/// From one of a client's streams for requests to the next (RFC 9000 section 2.1).
const STREAM_STEP: u64 = 4;

const LIMITS: Limits = Limits {
    header_octets_max: limits::HTTP_HEADER_OCTETS_MAX as u32,
    body_octets_max: limits::WEB_BODY_OCTETS_MAX,
};

fn code(code: Code) -> VarInt {
    VarInt::from_u32(code as u32)
}

/// Answers a connection's requests until the client leaves, is silent too long, has had its queries,
/// or the address is no longer served; nothing when the client left.
pub(super) async fn serve(link: Arc<Link>, mut current: Current) -> Option<()> {
    let generation = current.take();
    let table = generation.table(&link.listener)?;
    // Our control stream; to end it would end the connection.
    let mut control = link.connection.open_uni().await.ok()?;
    let mut words = Vec::new();
    write_control(&mut words, LIMITS.header_octets_max);
    control.write_all(&words).await.ok()?;
    let mut connection = Connection {
        link,
        control,
        next: 0,
        generation,
        table,
        ex: Box::default(),
        scratch: Scratch::default(),
    };
    accept(&mut connection, current).await?;
    // Our control stream is open until then.
    connection.link.part(code(Code::NoError)).await;
    Some(())
}

/// Reads a stream that the client opened for itself.
async fn listen(link: Arc<Link>, mut recv: RecvStream) {
    let mut reader = uni::Reader::default();
    loop {
        match recv.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => {
                let before = reader.kind();
                if let Err(fault) = reader.take(&chunk.bytes) {
                    return end(&link, fault, None);
                }
                match reader.kind() {
                    Some(uni::Kind::Other) => {
                        let _ = recv.stop(code(Code::StreamCreation));
                        return;
                    }
                    // There is one of each (RFC 9114 section 6.2.1, RFC 9204 section 4.2).
                    Some(kind) if before.is_none() && !link.opens(kind) => {
                        return end(&link, Fault::Connection(Code::StreamCreation), None);
                    }
                    _ => (),
                }
            }
            Ok(None) | Err(ReadError::Reset(_)) => {
                if reader.kind().is_some() {
                    end(&link, Fault::Connection(Code::ClosedCriticalStream), None);
                }
                return;
            }
            Err(_) => return,
        }
    }
}

/// Ends what cannot go on.
fn end(link: &Link, fault: Fault, stream: Option<(&mut SendStream, &mut RecvStream)>) {
    match (fault, stream) {
        (Fault::Stream(reason), Some((send, recv))) => {
            let _ = send.reset(code(reason));
            let _ = recv.stop(code(reason));
        }
        (Fault::Connection(reason) | Fault::Stream(reason), _) => {
            link.connection.close(code(reason), b"");
        }
    }
}

/// A connection whose streams are being accepted.
struct Connection {
    link: Arc<Link>,
    control: SendStream,
    /// The first of the client's streams that has not been accepted.
    next: u64,
    generation: Arc<Generation>,
    table: Arc<Table>,
    ex: Box<Exchange>,
    scratch: Scratch,
}

impl Streams for Connection {
    const LISTENS: bool = true;

    fn link(&self) -> &Link {
        &self.link
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn renew(&mut self, generation: Arc<Generation>, table: Arc<Table>) {
        (self.generation, self.table) = (generation, table);
    }

    fn listen(&self, recv: RecvStream) {
        tokio::spawn(listen(Arc::clone(&self.link), recv));
    }

    /// As RFC 9114 section 5.2 would have it: first that the end is near, a round trip later where it is.
    async fn farewell(&mut self, reason: Reason) {
        if reason == Reason::Leaving {
            self.go_away(None);
            take_last(self).await;
        }
        self.go_away(Some(self.next));
        let link = Arc::clone(&self.link);
        let refused = async {
            while let Ok((mut send, mut recv)) = link.connection.accept_bi().await {
                let _ = send.reset(code(Code::RequestRejected));
                let _ = recv.stop(code(Code::RequestRejected));
            }
        };
        tokio::select! {
            () = link.until_idle() => (),
            () = refused => (),
        }
    }

    fn take(&mut self, mut send: SendStream, mut recv: RecvStream) {
        self.next = u64::from(VarInt::from(send.id())) + STREAM_STEP;
        let memory = std::mem::take(&mut self.scratch.request);
        let mut reader = Reader::new(LIMITS, memory);
        loop {
            match now(recv.read_chunk(usize::MAX, true)) {
                None => return self.leave(send, recv, reader),
                Some(Ok(Some(chunk))) => {
                    if let Err(fault) = reader.take(&chunk.bytes) {
                        return end(&self.link, fault, Some((&mut send, &mut recv)));
                    }
                    // As much as a small request; what is longer comes in its own time.
                    if reader.is_hopeless() || reader.held() > limits::READ_OCTETS {
                        return self.leave(send, recv, reader);
                    }
                }
                Some(Ok(None)) => break,
                Some(Err(_)) => {
                    let _ = send.reset(code(Code::RequestCancelled));
                    return;
                }
            }
        }
        let request = match reader.finish() {
            Ok(request) => request,
            Err(fault) => return end(&self.link, fault, Some((&mut send, &mut recv))),
        };
        let received = Instant::now();
        self.link.heard(received);
        let message = match Service::Doh.message(&request, &mut self.scratch.decoded) {
            Ok(message) => message,
            Err(refusal) => {
                self.scratch.refuse(refusal, &self.table);
                self.scratch.request = request;
                return self.send(send, recv, None);
            }
        };
        self.ex.trace = trace(&request);
        let gate = read(
            &mut self.ex,
            &self.table,
            message,
            self.link.journey(received),
        );
        if !self.link.is_shaken() && !is_replayable(&self.ex.query) {
            return self.answer_later(send, recv, request);
        }
        self.scratch.reply.clear();
        let then = match respond(&mut self.ex, &self.table, gate, &mut self.scratch.reply) {
            Outcome::Reply(then) => {
                let then = then.map(Arc::clone);
                self.scratch.answer(&self.table);
                then
            }
            Outcome::Nothing => {
                self.scratch.refuse(Status::NoResponse, &self.table);
                None
            }
            Outcome::Waits(waiting) => {
                let waits = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                let Some(place) = Place::take() else {
                    let _ = send.reset(code(Code::ExcessiveLoad));
                    return;
                };
                let ex = std::mem::replace(&mut self.ex, pool::take());
                let work = self.link.work();
                let stream = self.stream(send, recv);
                tokio::spawn(async move {
                    let (_place, _work) = (place, work);
                    stream.go_on(ex, waits, Scratch::default()).await;
                });
                return;
            }
        };
        if request.is_small() {
            self.scratch.request = request;
        }
        let then = then.map(|chain| {
            let ex = std::mem::replace(&mut self.ex, pool::take());
            (ex, chain)
        });
        self.send(send, recv, then);
    }
}

impl Connection {
    /// Says on the control stream from which of its streams on the client is not answered.
    fn go_away(&mut self, stream: Option<u64>) {
        let mut words = Vec::new();
        write_goaway(&mut words, stream);
        // The client has room for a few octets there (RFC 9114 section 6.2).
        let _ = now(self.control.write_all(&words));
    }

    /// Sends what stands in the scratch memory, as far as the client has room for it.
    fn send(
        &mut self,
        mut send: SendStream,
        recv: RecvStream,
        then: Option<(Box<Exchange>, Arc<Chain>)>,
    ) {
        let (mut sent, output) = (0, &self.scratch.output);
        while let Some(rest) = output.get(sent..).filter(|rest| !rest.is_empty()) {
            match now(send.write(rest)) {
                Some(Ok(octets)) => sent += octets,
                Some(Err(_)) => return,
                None => break,
            }
        }
        let all_sent = sent == output.len();
        if all_sent {
            let _ = send.finish();
            if then.is_none() {
                return;
            }
        }
        let rest = output[sent..].to_vec();
        let Some(held) = self.link.hold(rest.len()) else {
            return end(&self.link, Fault::Connection(Code::ExcessiveLoad), None);
        };
        let mut stream = self.stream(send, recv);
        let work = self.link.work();
        tokio::spawn(async move {
            let (_held, _work) = (held, work);
            if !all_sent {
                stream.send(&rest).await;
            }
            if let Some((mut ex, chain)) = then
                && let Some(_place) = Place::take()
            {
                finish_afterwards(&mut ex, &stream.table, &chain).await;
                pool::give(ex);
            }
        });
    }

    /// Leaves a request that is not whole yet to a task.
    fn leave(&mut self, send: SendStream, recv: RecvStream, reader: Reader) {
        let (Some(unfinished), Some(held)) =
            (self.link.unfinished(), self.link.hold(reader.held()))
        else {
            return end(&self.link, Fault::Connection(Code::ExcessiveLoad), None);
        };
        let stream = self.stream(send, recv);
        tokio::spawn(stream.run(reader, held, unfinished));
    }

    /// Leaves a request that must wait for the handshake to a task.
    fn answer_later(&mut self, send: SendStream, recv: RecvStream, request: Request) {
        let Some(unfinished) = self.link.unfinished() else {
            return end(&self.link, Fault::Connection(Code::ExcessiveLoad), None);
        };
        let stream = self.stream(send, recv);
        tokio::spawn(async move {
            let _unfinished = unfinished;
            stream.answer(request).await;
        });
    }

    fn stream(&self, send: SendStream, recv: RecvStream) -> Stream {
        Stream {
            link: Arc::clone(&self.link),
            _generation: Arc::clone(&self.generation),
            table: Arc::clone(&self.table),
            send,
            recv,
        }
    }
}

/// One stream in a task of its own.
struct Stream {
    link: Arc<Link>,
    /// It ends when this request has been answered.
    _generation: Arc<Generation>,
    table: Arc<Table>,
    send: SendStream,
    recv: RecvStream,
}

impl Stream {
    /// Reads the rest of a request and answers it.
    async fn run(mut self, mut reader: Reader, mut held: Held, unfinished: Unfinished) {
        let deadline = Instant::now() + self.table.tuning.streams.first_query;
        while !reader.is_hopeless() {
            let more = self.recv.read_chunk(usize::MAX, true);
            match timeout_at(deadline.into(), more).await {
                Ok(Ok(Some(chunk))) => {
                    let before = reader.held();
                    if let Err(fault) = reader.take(&chunk.bytes) {
                        let stream = Some((&mut self.send, &mut self.recv));
                        return end(&self.link, fault, stream);
                    }
                    if !held.grow(reader.held().saturating_sub(before)) {
                        let fault = Fault::Connection(Code::ExcessiveLoad);
                        return end(&self.link, fault, None);
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Err(_)) => {
                    let _ = self.send.reset(code(Code::RequestCancelled));
                    return;
                }
                Err(_) => {
                    let mut scratch = Scratch::default();
                    scratch.refuse(Status::Timeout, &self.table);
                    let _ = self.recv.stop(code(Code::NoError));
                    return self.send(&scratch.output).await;
                }
            }
        }
        drop(unfinished);
        let hopeless = reader.is_hopeless();
        match reader.finish() {
            Ok(request) => {
                if hopeless {
                    // RFC 9114 section 4.1.1: the rest is of no interest, and that is no mistake.
                    let _ = self.recv.stop(code(Code::NoError));
                }
                self.answer(request).await;
            }
            Err(fault) => end(&self.link, fault, Some((&mut self.send, &mut self.recv))),
        }
    }

    /// Answers a whole request, once that can do no harm.
    async fn answer(mut self, request: Request) {
        let _work = self.link.work();
        let mut scratch = Scratch::default();
        let mut ex = pool::take();
        let received = Instant::now();
        let message = match Service::Doh.message(&request, &mut scratch.decoded) {
            Ok(message) => Bytes::copy_from_slice(message),
            Err(refusal) => {
                scratch.refuse(refusal, &self.table);
                return self.send(&scratch.output).await;
            }
        };
        ex.trace = trace(&request);
        let mut gate = read(&mut ex, &self.table, &message, self.link.journey(received));
        if !self.link.is_shaken() && !is_replayable(&ex.query) {
            // The connection ends when the handshake is not over in time.
            tokio::select! {
                () = self.link.until_shaken() => (),
                _ = self.link.connection.closed() => return,
            }
            gate = read(&mut ex, &self.table, &message, self.link.journey(received));
        }
        let table = Arc::clone(&self.table);
        let then = match respond(&mut ex, &table, gate, &mut scratch.reply) {
            Outcome::Reply(then) => {
                scratch.answer(&table);
                then.map(Arc::clone)
            }
            Outcome::Nothing => {
                scratch.refuse(Status::NoResponse, &table);
                None
            }
            Outcome::Waits(waiting) => {
                let waits = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                let Some(_place) = Place::take() else {
                    let _ = self.send.reset(code(Code::ExcessiveLoad));
                    return;
                };
                return self.go_on(ex, waits, scratch).await;
            }
        };
        self.send(&scratch.output).await;
        if let Some(chain) = then {
            finish_afterwards(&mut ex, &table, &chain).await;
        }
        pool::give(ex);
    }

    /// Goes on with an exchange that waits, and sends what comes of it.
    async fn go_on(
        mut self,
        mut ex: Box<Exchange>,
        (chain, at, phase): (Arc<Chain>, u8, corten_plugin::Phase),
        mut scratch: Scratch,
    ) {
        scratch.reply.clear();
        match go_on(&mut ex, &self.table, &chain, at, phase).await {
            true => {
                finish(&mut ex, &mut scratch.reply);
                scratch.answer(&self.table);
            }
            false => scratch.refuse(Status::NoResponse, &self.table),
        }
        self.send(&scratch.output).await;
        if ex.has_afterwards() {
            finish_afterwards(&mut ex, &self.table, &chain).await;
        }
        pool::give(ex);
    }

    /// Sends a response. A client that does not take it loses it.
    async fn send(&mut self, response: &[u8]) {
        let Some(_held) = self.link.hold(response.len()) else {
            return end(&self.link, Fault::Connection(Code::ExcessiveLoad), None);
        };
        let limit = self.table.tuning.streams.write;
        match timeout(limit, self.send.write_all(response)).await {
            Ok(Ok(())) => {
                let _ = self.send.finish();
            }
            Ok(Err(_)) => (),
            Err(_) => {
                let _ = self.send.reset(code(Code::ExcessiveLoad));
            }
        }
    }
}
