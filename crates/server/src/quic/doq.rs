//! DNS over QUIC (RFC 9250): a stream for each query.
//!
//! What is answered from memory is answered where the stream is accepted. Everything else has a
//! task of its own: a query that comes in pieces, one that waits for the network, a reply that does
//! not fit into what the client has room for.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corten_plugin::{Chain, Exchange, Phase};
use quinn::{ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{timeout, timeout_at};

use super::frame::{Frame, frame, may_be_query};
use super::link::{Claim, Counters, Held, Link, Unfinished, excessive_load, is_replayable};
use super::streams::{Reason, Streams, accept, take_last};
use super::{DOQ_NO_ERROR, now};
use crate::answer::{Outcome, finish, finish_afterwards, go_on, read, respond};
use crate::current::Current;
use crate::generation::{Generation, Table};
use crate::parts::{Piece, Sender};
use crate::pool;
use crate::udp::Place;

/// DOQ_PROTOCOL_ERROR, DOQ_REQUEST_CANCELLED and DOQ_UNSPECIFIED_ERROR (RFC 9250 section 8.4).
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
const UNSPECIFIED_ERROR: VarInt = VarInt::from_u32(5);

/// The option edns-tcp-keepalive, which has no place here (RFC 9250 section 5.5.2).
const TCP_KEEPALIVE: u16 = 11;

/// Answers a connection's queries until the client leaves, is silent too long, has had its queries, or
/// the address is no longer served; nothing when the client left.
pub(super) async fn serve(link: Arc<Link>, mut current: Current) -> Option<()> {
    let generation = current.take();
    let table = generation.table(&link.listener)?;
    let counters = Arc::new(Counters::of(&table.name));
    let mut doq = Doq {
        link,
        counters,
        generation,
        table,
        ex: Box::default(),
        output: Vec::new(),
    };
    accept(&mut doq, current).await?;
    doq.link.part(DOQ_NO_ERROR).await;
    Some(())
}

/// A connection whose streams are being accepted.
struct Doq {
    link: Arc<Link>,
    counters: Arc<Counters>,
    generation: Arc<Generation>,
    table: Arc<Table>,
    ex: Box<Exchange>,
    output: Vec<u8>,
}

impl Streams for Doq {
    fn link(&self) -> &Link {
        &self.link
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn renew(&mut self, generation: Arc<Generation>, table: Arc<Table>) {
        (self.generation, self.table) = (generation, table);
    }

    async fn farewell(&mut self, reason: Reason) {
        if reason == Reason::Leaving {
            take_last(self).await;
        }
        self.link.until_idle().await;
    }

    fn take(&mut self, mut send: SendStream, mut recv: RecvStream) {
        let chunk = match now(recv.read_chunk(usize::MAX, true)) {
            Some(Ok(Some(chunk))) => chunk.bytes,
            None => return self.leave(send, recv, Bytes::new(), None),
            // An end without a query.
            Some(Ok(None)) => return self.violated(),
            Some(Err(error)) => return given_up(&error, &mut send),
        };
        let message = match frame(&chunk) {
            Frame::Whole(message) => message,
            Frame::Unfinished => return self.leave(send, recv, chunk, None),
            Frame::Excess => return self.violated(),
        };
        let ended = match now(recv.read_chunk(usize::MAX, true)) {
            None => false,
            Some(Ok(None)) => true,
            Some(Ok(Some(_))) => return self.violated(),
            Some(Err(error)) => return given_up(&error, &mut send),
        };
        let received = Instant::now();
        self.link.heard(received);
        let message = &chunk[message];
        if !may_be_query(message) {
            return self.violated();
        }
        let gate = read(
            &mut self.ex,
            &self.table,
            message,
            self.link.journey(received),
        );
        if self.ex.query.edns_option(TCP_KEEPALIVE).is_some() {
            return self.violated();
        }
        if recv.is_0rtt() && !self.link.is_shaken() && !is_replayable(&self.ex.query) {
            return self.leave(send, recv, chunk, None);
        }
        self.output.clear();
        self.output.extend_from_slice(&[0, 0]);
        let then = match respond(&mut self.ex, &self.table, gate, &mut self.output) {
            Outcome::Reply(then) => then.map(Arc::clone),
            Outcome::Nothing => {
                let _ = send.reset(UNSPECIFIED_ERROR);
                return;
            }
            Outcome::Waits(waiting) => {
                let waits = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                return self.leave(send, recv, chunk, Some(waits));
            }
        };
        prefix(&mut self.output);
        self.counters.no_error.increment();
        let mut sent = 0;
        while let Some(rest) = self.output.get(sent..).filter(|rest| !rest.is_empty()) {
            match now(send.write(rest)) {
                Some(Ok(octets)) => sent += octets,
                Some(Err(_)) => return,
                None => break,
            }
        }
        let all_sent = sent == self.output.len() && send.finish().is_ok();
        if !all_sent || !ended || then.is_some() {
            let rest = self.output[sent..].to_vec();
            let unfinished = match ended {
                true => None,
                false => match self.link.unfinished() {
                    None => return self.overloaded(),
                    unfinished => unfinished,
                },
            };
            let task = self.task(send, recv);
            let ex = std::mem::replace(&mut self.ex, pool::take());
            let then = then.map(|chain| (ex, chain));
            tokio::spawn(task.rest(rest, all_sent, unfinished, then));
        }
    }
}

impl Doq {
    /// Leaves a stream to a task, with what has been read of it. A query that waits has been read
    /// into the exchange.
    fn leave(
        &mut self,
        mut send: SendStream,
        recv: RecvStream,
        begun: Bytes,
        waits: Option<(Arc<Chain>, u8, Phase)>,
    ) {
        let mut claim = Claim::default();
        if waits.is_some() {
            // As for all transports, the newest that would wait is the one to lose.
            claim.place = Place::take();
            if claim.place.is_none() {
                let _ = send.reset(excessive_load(self.link.listener.transport));
                return;
            }
            claim.work = Some(self.link.work());
        } else {
            claim.unfinished = self.link.unfinished();
            if claim.unfinished.is_none() {
                return self.overloaded();
            }
        }
        let Some(held) = self.link.hold(begun.len()) else {
            return self.overloaded();
        };
        let task = self.task(send, recv);
        let ex = std::mem::replace(&mut self.ex, pool::take());
        tokio::spawn(task.run(ex, begun, waits, claim, held));
    }

    fn task(&self, send: SendStream, recv: RecvStream) -> Stream {
        Stream {
            link: Arc::clone(&self.link),
            counters: Arc::clone(&self.counters),
            _generation: Arc::clone(&self.generation),
            table: Arc::clone(&self.table),
            send,
            recv,
            deadline: Instant::now() + self.table.tuning.streams.first_query,
        }
    }

    fn violated(&self) {
        violated(&self.link, &self.counters);
    }

    fn overloaded(&self) {
        overloaded(&self.link);
    }
}

/// One stream in a task of its own.
struct Stream {
    link: Arc<Link>,
    counters: Arc<Counters>,
    /// It ends when this query has been answered.
    _generation: Arc<Generation>,
    table: Arc<Table>,
    send: SendStream,
    recv: RecvStream,
    /// When the client must have said all it has to say.
    deadline: Instant,
}

impl Stream {
    /// Reads the query unless it waits already, answers it, and sees the stream end.
    async fn run(
        mut self,
        mut ex: Box<Exchange>,
        begun: Bytes,
        mut waits: Option<(Arc<Chain>, u8, Phase)>,
        mut claim: Claim,
        mut held: Held,
    ) {
        let mut output = vec![0, 0];
        let mut answered = None;
        if waits.is_none() {
            let Some(query) = self.query(begun, &mut held).await else {
                return;
            };
            let Frame::Whole(message) = frame(&query) else {
                return;
            };
            let message = &query[message];
            let received = Instant::now();
            if !may_be_query(message) {
                return violated(&self.link, &self.counters);
            }
            let mut gate = read(&mut ex, &self.table, message, self.link.journey(received));
            if ex.query.edns_option(TCP_KEEPALIVE).is_some() {
                return violated(&self.link, &self.counters);
            }
            claim.work = Some(self.link.work());
            if !self.link.is_shaken() && !is_replayable(&ex.query) {
                // The connection ends when the handshake is not over in time.
                tokio::select! {
                    () = self.link.until_shaken() => (),
                    _ = self.link.connection.closed() => return,
                }
                gate = read(&mut ex, &self.table, message, self.link.journey(received));
            }
            match respond(&mut ex, &self.table, gate, &mut output) {
                Outcome::Reply(then) => answered = Some(then.map(Arc::clone)),
                Outcome::Nothing => {
                    let _ = self.send.reset(UNSPECIFIED_ERROR);
                    return self.see_end(false).await;
                }
                Outcome::Waits(waiting) => {
                    waits = Some((Arc::clone(waiting.chain), waiting.at, waiting.phase));
                    claim.place = Place::take();
                    if claim.place.is_none() {
                        let _ = self
                            .send
                            .reset(excessive_load(self.link.listener.transport));
                        return;
                    }
                }
            }
        }
        if let Some((chain, at, phase)) = waits {
            let table = Arc::clone(&self.table);
            let waiting: &Semaphore = table.waiting();
            let Ok(_permit) = waiting.acquire().await else {
                return;
            };
            output.truncate(2);
            match self.go_on(&mut ex, &chain, at, phase).await {
                true => finish(&mut ex, &mut output),
                false if ex.is_sent() => {
                    self.counters.no_error.increment();
                    let _ = self.send.finish();
                }
                false => {
                    let _ = self.send.reset(UNSPECIFIED_ERROR);
                }
            }
            answered = Some(ex.has_afterwards().then_some(chain));
        }
        if output.len() > 2 {
            prefix(&mut output);
            if !held.grow(output.len()) {
                return overloaded(&self.link);
            }
            self.counters.no_error.increment();
            self.reply(&output).await;
        }
        if let Some(Some(chain)) = answered {
            finish_afterwards(&mut ex, &self.table, &chain).await;
        }
        pool::give(ex);
        (claim.place, claim.work) = (None, None);
        self.see_end(false).await;
    }

    /// Goes on with an exchange that waits; sends what comes in several messages (RFC 9250 section
    /// 4.2). Returns whether there is a reply to send.
    async fn go_on(&mut self, ex: &mut Exchange, chain: &Arc<Chain>, at: u8, phase: Phase) -> bool {
        let (parts, mut pieces) = mpsc::channel(1);
        ex.set_parts(Sender::new(parts));
        let table = Arc::clone(&self.table);
        let going = go_on(ex, &table, chain, at, phase);
        tokio::pin!(going);
        loop {
            let (piece, done) = tokio::select! {
                biased;
                Some(piece) = pieces.recv() => (piece, None),
                done = &mut going => match pieces.try_recv() {
                    Ok(piece) => (piece, Some(done)),
                    Err(_) => return done,
                },
            };
            if let Piece::Part(part) = piece {
                let (mut output, mut room) = (Vec::new(), Vec::new());
                part.write(&mut output, &mut room);
                let limit = self.table.tuning.streams.write;
                let sent = timeout(limit, self.send.write_all(&output)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    // Whoever makes the messages learns that the client has gone.
                    pieces.close();
                }
            }
            if let Some(done) = done {
                return done;
            }
        }
    }

    /// The rest of what [`Doq::take`] has begun.
    async fn rest(
        mut self,
        reply: Vec<u8>,
        all_sent: bool,
        unfinished: Option<Unfinished>,
        then: Option<(Box<Exchange>, Arc<Chain>)>,
    ) {
        if !all_sent {
            let _work = self.link.work();
            let Some(_held) = self.link.hold(reply.len()) else {
                return overloaded(&self.link);
            };
            self.reply(&reply).await;
        }
        if let Some((mut ex, chain)) = then
            && let Some(_place) = Place::take()
        {
            finish_afterwards(&mut ex, &self.table, &chain).await;
            pool::give(ex);
        }
        self.see_end(unfinished.is_none()).await;
    }

    /// Reads until a whole query is there.
    async fn query(&mut self, begun: Bytes, held: &mut Held) -> Option<Vec<u8>> {
        let mut query = begun.to_vec();
        loop {
            match frame(&query) {
                Frame::Whole(_) => return Some(query),
                Frame::Excess => {
                    violated(&self.link, &self.counters);
                    return None;
                }
                Frame::Unfinished => (),
            }
            let more = self.recv.read_chunk(usize::MAX, true);
            match timeout_at(self.deadline.into(), more).await {
                Ok(Ok(Some(chunk))) => {
                    if !held.grow(chunk.bytes.len()) {
                        overloaded(&self.link);
                        return None;
                    }
                    query.extend_from_slice(&chunk.bytes);
                }
                // The stream has ended, or the client takes too much time.
                Ok(Ok(None)) | Err(_) => {
                    violated(&self.link, &self.counters);
                    return None;
                }
                Ok(Err(error)) => {
                    given_up(&error, &mut self.send);
                    return None;
                }
            }
        }
    }

    /// Sends a reply, and that nothing comes behind it. A client that does not take it loses it.
    async fn reply(&mut self, reply: &[u8]) {
        let limit = self.table.tuning.streams.write;
        match timeout(limit, self.send.write_all(reply)).await {
            Ok(Ok(())) => {
                let _ = self.send.finish();
            }
            // The client no longer wants it, or is gone.
            Ok(Err(_)) => (),
            Err(_) => {
                let _ = self
                    .send
                    .reset(excessive_load(self.link.listener.transport));
            }
        }
    }

    /// Sees to it that nothing follows the query, and that the client says so.
    async fn see_end(mut self, ended: bool) {
        if ended {
            return;
        }
        let deadline = self.deadline.max(Instant::now());
        match timeout_at(deadline.into(), self.recv.read_chunk(usize::MAX, true)).await {
            Ok(Ok(Some(_))) | Err(_) => violated(&self.link, &self.counters),
            Ok(Ok(None) | Err(_)) => (),
        }
    }
}

/// RFC 9250 section 4.3.3: a mistake of the client ends the connection.
fn violated(link: &Link, counters: &Counters) {
    if link.connection.close_reason().is_none() {
        counters.protocol_error.increment();
        link.connection.close(PROTOCOL_ERROR, b"");
    }
}

fn overloaded(link: &Link) {
    link.connection
        .close(excessive_load(link.listener.transport), b"");
}

/// A client that resets its stream wants no answer any more (RFC 9250 section 4.3.1).
fn given_up(error: &ReadError, send: &mut SendStream) {
    if matches!(error, ReadError::Reset(_)) {
        let _ = send.reset(REQUEST_CANCELLED);
    }
}

/// Writes the length of a message into the two octets in front of it.
fn prefix(output: &mut [u8]) {
    // No message is longer than 65,535 octets.
    let length = (output.len() - 2) as u16;
    if let Some(place) = output.first_chunk_mut::<2>() {
        *place = length.to_be_bytes();
    }
}
