//! One connection of HTTP: reads, answers, writes, waits.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_corefile::Transport as Scheme;
use corten_plugin::{Exchange, ForwardedHeader};
use corten_web::http2::Timeouts;
use corten_web::{Field, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::Spoken;
use super::service::{Refusal, Scratch, Service, trace};
use super::wire::{Taken, Ticket, Wire};
use crate::answer::{Journey, Outcome, answer, finish, finish_afterwards, go_on};
use crate::arriving::Arriving;
use crate::connections::Member;
use crate::doh::forwarded;
use crate::generation::{Generation, Table};
use crate::leaving::{self, Behind};
use crate::limits;
use crate::pool;
use crate::stream::Who;
use crate::tuning::StreamLimits;
use crate::udp::Place;

/// How often a clock is looked at while a client keeps us waiting.
const TICK: Duration = Duration::from_millis(500);

/// The reply of an exchange that waited, if there is one.
type Finished = (Ticket, Option<Vec<u8>>);

/// One connection and what was read from and is to be written to it.
pub(super) struct Connection<S> {
    stream: S,
    who: Who,
    service: Service,
    spoken: Spoken,
    wire: Wire,
    member: Member,
    limits: StreamLimits,
    ex: Box<Exchange>,
    input: Vec<u8>,
    output: Vec<u8>,
    reply: Vec<u8>,
    decoded: Vec<u8>,
    scratch: Scratch,
    waiting: usize,
    /// When the last whole request came or a reply was ready, or the connection came.
    heard: Instant,
    queries: u64,
    behind: Vec<Behind>,
}

/// How the work on the input ended.
enum Work {
    /// More octets have to come.
    Done,
    /// There may be more when what is ready is written and others have had their turn.
    More,
    /// The connection ends when what is ready is written.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, who: Who, spoken: Spoken, input: Vec<u8>, member: Member) -> Self {
        let service = match who.listener.transport {
            Scheme::Grpc => Service::Grpc,
            _ => Service::Doh,
        };
        Self {
            stream,
            who,
            service,
            spoken: match service {
                // gRPC knows nothing else.
                Service::Grpc => Spoken::Two,
                Service::Doh => spoken,
            },
            wire: Wire::Unknown,
            member,
            limits: StreamLimits::default(),
            ex: Box::default(),
            input,
            output: Vec::new(),
            reply: Vec::new(),
            decoded: Vec::new(),
            scratch: Scratch::default(),
            waiting: 0,
            heard: Instant::now(),
            queries: 0,
            behind: Vec::new(),
        }
    }

    /// Answers requests until the client closes, is silent too long, asks too much, or the address is
    /// no longer served.
    pub(super) async fn run(mut self, arriving: Arriving) -> io::Result<()> {
        let (sender, mut replies) = mpsc::channel::<Finished>(limits::PIPELINE_MAX);
        // Until when new requests are taken, once the address is no longer served.
        let (mut generation, mut current, mut last_words) = arriving.arrived();
        let Some(mut table) = generation.table(&self.who.listener) else {
            return Ok(());
        };
        let mut leaving = false;
        let clock = sleep(Duration::ZERO);
        tokio::pin!(clock);
        loop {
            self.limits = table.tuning.streams;
            loop {
                let before = self.queries;
                let work = self.work(&table, &generation, &sender);
                self.flush().await?;
                if self.queries - before >= limits::TURN_QUERIES {
                    // Connections that never pause take turns with everybody else.
                    yield_now().await;
                }
                match work {
                    Work::Done => break,
                    Work::More => (),
                    Work::Over => return leaving::part(&mut self.stream).await,
                }
            }
            let is_over = self.queries >= self.limits.queries_max
                || last_words.is_some_and(|until| until <= Instant::now());
            if is_over && !leaving {
                self.wire.leave(&mut self.output);
                self.flush().await?;
                leaving = true;
            }
            if leaving && self.waiting == 0 && self.wire.is_idle() {
                return leaving::part(&mut self.stream).await;
            }
            let next = match self.wire.is_waiting_for_client() {
                true => self.until().min(Instant::now() + TICK),
                false => self.until(),
            };
            let next = last_words
                .filter(|_| !leaving)
                .map_or(next, |until| until.min(next));
            if clock.deadline() > next.into() || clock.is_elapsed() {
                clock.as_mut().reset(next.into());
            }
            self.member.heard(self.heard, self.waiting > 0);
            // Requests of HTTP/1.1 behind the one that waits stay in the kernel.
            let may_read =
                self.waiting < limits::PIPELINE_MAX && self.input.len() < limits::WEB_INPUT_OCTETS;
            tokio::select! {
                biased;
                finished = replies.recv(), if self.waiting > 0 => {
                    self.collect(finished, &table);
                    while self.output.len() < limits::WRITE_OCTETS
                        && let Ok(finished) = replies.try_recv()
                    {
                        self.collect(Some(finished), &table);
                    }
                }
                // Before anything is read: the next request is answered by the new generation.
                new = current.changed(), if !leaving && last_words.is_none() => {
                    match new.table(&self.who.listener) {
                        Some(new_table) => (table, generation) = (new_table, new),
                        // What has arrived may not have been seen yet.
                        None => last_words = Some(Instant::now() + limits::LAST_WORDS),
                    }
                }
                read = self.stream.read_buf(&mut self.input), if may_read => {
                    if read? == 0 {
                        // Whoever has closed its side of HTTP waits for nothing any more.
                        return Ok(());
                    }
                }
                () = &mut clock => {
                    if self.look_at_the_clock(&table) {
                        self.wire.leave(&mut self.output);
                        self.flush().await?;
                        // A request that is on its way must not cost the client our last words.
                        return leaving::part(&mut self.stream).await;
                    }
                }
            }
            self.make_room();
        }
    }

    /// Takes what is there of the input.
    fn work(
        &mut self,
        table: &Arc<Table>,
        generation: &Arc<Generation>,
        sender: &mpsc::Sender<Finished>,
    ) -> Work {
        let only_two = self.spoken == Spoken::Two;
        let streams = match self.service {
            Service::Doh => limits::WEB_STREAMS_MAX,
            Service::Grpc => table
                .tuning
                .grpc
                .streams_max
                .unwrap_or(limits::GRPC_STREAMS_MAX),
        };
        let before = self.queries;
        let now = Instant::now();
        let mut begun = 0;
        let work = loop {
            if self.waiting >= limits::PIPELINE_MAX {
                break Work::Done;
            }
            let turn_over = self.queries - before >= limits::TURN_QUERIES_MAX;
            if turn_over || self.output.len() >= limits::WRITE_OCTETS {
                break Work::More;
            }
            let rest = &self.input[begun..];
            match self
                .wire
                .receive(rest, only_two, streams, now, &mut self.output)
            {
                Taken::Octets(0) => break Work::Done,
                Taken::Octets(length) => begun += length,
                Taken::Over => break Work::Over,
                Taken::Request(length, ticket, request) => {
                    begun += length;
                    self.heard = now;
                    self.queries += 1;
                    self.serve(ticket, request, (table, generation), now, sender);
                }
            }
        };
        self.input.drain(..begun);
        work
    }

    /// Answers a request as far as that goes without waiting.
    fn serve(
        &mut self,
        ticket: Ticket,
        request: Box<Request>,
        (table, generation): (&Arc<Table>, &Arc<Generation>),
        now: Instant,
        sender: &mpsc::Sender<Finished>,
    ) {
        let client = self.client(&request, table);
        let message = match self.service.message(&request, &mut self.decoded) {
            Ok(message) => message,
            Err(refusal) => {
                self.wire.hold(request);
                return self.refuse(ticket, refusal, table, now);
            }
        };
        let journey = Journey {
            client,
            local: self.who.local,
            transport: self.service.transport(),
            received: now,
        };
        self.reply.clear();
        self.ex.trace = trace(&request);
        let outcome = answer(&mut self.ex, table, message, journey, &mut self.reply);
        self.wire.hold(request);
        match outcome {
            Outcome::Reply(then) => {
                if let Some(chain) = then {
                    self.behind.push((
                        std::mem::take(&mut self.ex),
                        Arc::clone(table),
                        Arc::clone(chain),
                    ));
                }
                let reply = std::mem::take(&mut self.reply);
                self.respond(ticket, &reply, table, now);
                self.reply = reply;
            }
            Outcome::Nothing => self.refuse(ticket, self.service.nothing(), table, now),
            Outcome::Waits(waiting) => {
                let Some(place) = Place::take() else {
                    return self.refuse(ticket, self.service.busy(), table, now);
                };
                let (chain, at, phase) = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                self.waiting += 1;
                let (table, generation, sender) =
                    (Arc::clone(table), Arc::clone(generation), sender.clone());
                let mut ex = std::mem::replace(&mut self.ex, pool::take());
                tokio::spawn(async move {
                    let (_place, _generation) = (place, generation);
                    let reply = go_on(&mut ex, &table, &chain, at, phase).await.then(|| {
                        let mut out = Vec::new();
                        finish(&mut ex, &mut out);
                        out
                    });
                    // The channel has room for every waiter; it is closed when the client has gone.
                    let _ = sender.send((ticket, reply)).await;
                    if ex.has_afterwards() {
                        finish_afterwards(&mut ex, &table, &chain).await;
                    }
                    pool::give(ex);
                });
            }
        }
    }

    /// The client's address: the peer's, or what a trusted proxy says.
    fn client(&self, request: &Request, table: &Table) -> SocketAddr {
        let peer = self.who.client;
        let Some(proxies) = table
            .tuning
            .https
            .proxies
            .as_ref()
            .filter(|_| self.service == Service::Doh)
        else {
            return peer;
        };
        if !proxies.trusts(peer.ip()) {
            return peer;
        }
        let values = request.field(match proxies.header {
            ForwardedHeader::XForwardedFor => Field::XForwardedFor,
            ForwardedHeader::Forwarded => Field::Forwarded,
        });
        values
            .and_then(|values| forwarded::client(values, |ip| proxies.trusts(ip)))
            .unwrap_or(peer)
    }

    fn respond(&mut self, ticket: Ticket, reply: &[u8], table: &Table, now: Instant) {
        self.scratch.reply(
            self.service,
            (&mut self.wire, ticket),
            reply,
            &table.statuses,
            now,
            &mut self.output,
        );
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal, table: &Table, now: Instant) {
        self.scratch.refuse(
            self.service,
            (&mut self.wire, ticket),
            refusal,
            &table.statuses,
            now,
            &mut self.output,
        );
    }

    /// Takes the reply of an exchange that waited.
    fn collect(&mut self, finished: Option<Finished>, table: &Table) {
        let Some((ticket, reply)) = finished else {
            return;
        };
        let now = Instant::now();
        self.heard = now;
        self.waiting = self.waiting.saturating_sub(1);
        match reply {
            Some(reply) => self.respond(ticket, &reply, table, now),
            None => self.refuse(ticket, self.service.nothing(), table, now),
        }
    }

    /// How long the client may be silent.
    fn until(&self) -> Instant {
        let allowed = match self.queries {
            0 => self.limits.first_query,
            _ => self.limits.idle,
        };
        self.heard + allowed
    }

    /// Ends what takes too long; returns whether that is the connection.
    fn look_at_the_clock(&mut self, table: &Table) -> bool {
        let now = Instant::now();
        let timeouts = Timeouts {
            request: self.limits.first_query,
            response: self.limits.write,
        };
        loop {
            match self.wire.expire(now, &timeouts, &mut self.output) {
                Ok(None) => break,
                Ok(Some((ticket, request))) => {
                    let refusal = self.service.message(&request, &mut self.decoded).err();
                    self.wire.hold(request);
                    let refusal = refusal.unwrap_or_else(|| self.service.nothing());
                    self.refuse(ticket, refusal, table, now);
                    self.heard = now;
                }
                Err(_) => return true,
            }
        }
        if now < self.until() {
            return false;
        }
        if self.waiting > 0 {
            // Whoever waits for an answer is not silent.
            self.heard = now;
            return false;
        }
        true
    }

    async fn flush(&mut self) -> io::Result<()> {
        leaving::send(&mut self.stream, &mut self.output, self.limits.write).await?;
        leaving::call_afterwards(&mut self.behind);
        Ok(())
    }

    /// Sees to it that the next read has room; frames and heads are no longer than 16 KiB.
    fn make_room(&mut self) {
        let room = match self.input.len() {
            0 => limits::READ_OCTETS,
            length => limits::WEB_INPUT_OCTETS.saturating_sub(length),
        };
        self.input.shrink_to(limits::WEB_INPUT_OCTETS);
        self.input.reserve(room.max(limits::READ_OCTETS));
    }
}
