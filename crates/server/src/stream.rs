//! TCP and TLS connections (RFC 7766, RFC 7858); those of HTTP go on in [`crate::web`].
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use corten_corefile::Transport as Scheme;
use corten_plugin::{Exchange, Transport};
use corten_wire::MESSAGE_OCTETS_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_rustls::LazyConfigAcceptor;

use crate::answer::{Journey, Outcome, answer, finish, finish_afterwards, go_on};
use crate::arriving::Arriving;
use crate::connections::{self, Member};
use crate::current::Current;
use crate::generation::{Generation, Listener, Table};
use crate::leaving::{self, Behind};
use crate::limits;
use crate::parts::{Piece, Room, Sender};
use crate::pool;
use crate::proxied::{Beginning, introduce};
use crate::tuning::StreamLimits;
use crate::udp::Place;
use crate::web;

/// Protocol names of DNS over TLS (RFC 7858 section 3.1, registered by RFC 9250).
const DOT: &[&[u8]] = &[b"dot"];

/// Accepts connections until a generation no longer listens there; those that the kernel has made by
/// then are served as well.
pub(crate) async fn serve(socket: StdListener, listener: Listener, mut current: Current) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!("tcp {}: {error}", listener.address),
    };
    let mut generation = current.take();
    loop {
        tokio::select! {
            biased;
            new = current.changed() => match new.tables.contains_key(&listener) {
                true => generation = new,
                false => break,
            },
            accepted = socket.accept() => match accepted {
                Ok((stream, client)) => begin(stream, client, listener, &generation, &current),
                Err(error) => {
                    // Out of files, for one: trying again at once would only burn the processor.
                    tracing::warn!("tcp {}: {error}", listener.address);
                    connections::make_room();
                    sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    let Ok(socket) = socket.into_std() else {
        return;
    };
    for _ in 0..limits::BACKLOG {
        let Ok((stream, client)) = socket.accept() else {
            return;
        };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            begin(stream, client, listener, &generation, &current);
        }
    }
}

/// Starts the task of a new connection; one too many is closed.
fn begin(
    stream: TcpStream,
    client: SocketAddr,
    listener: Listener,
    generation: &Arc<Generation>,
    current: &Current,
) {
    let most = match web::protocols(listener.transport) {
        Some(_) => (generation.tables.get(&listener))
            .map_or(0, |table| web::connections_max(listener.transport, table)),
        None => usize::MAX,
    };
    let Some(member) = Member::join(client.ip(), listener, most) else {
        return;
    };
    let arriving = Arriving::new(listener, Arc::clone(generation), current.clone());
    let ends_with = member.ends_with();
    let task = tokio::spawn(async move {
        // How a connection ends is the client's business; it is told nothing more.
        let _ = greet(stream, client, arriving, member).await;
    });
    ends_with(task.abort_handle());
}

/// Finds out who the client is, and serves it. The table that it begins with must not live as long as
/// the connection: with it goes all that a configuration has in memory.
async fn greet(
    mut stream: TcpStream,
    client: SocketAddr,
    mut arriving: Arriving,
    member: Member,
) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let listener = arriving.listener;
    let local = stream.local_addr().unwrap_or(listener.address);
    let Some(table) = arriving.generation.table(&listener) else {
        return Ok(());
    };
    let beginning = match &table.tuning.proxy {
        None => Beginning::default(),
        Some(proxy) => {
            let header = introduce(&mut stream, client, proxy);
            let limit = table.tuning.streams.first_query;
            arriving.wait(limit, header).await?
        }
    };
    let (client, local) = beginning.addresses.unwrap_or((client, local));
    let who = Who {
        client: SocketAddr::new(client.ip().to_canonical(), client.port()),
        local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        listener,
    };
    let is_web = web::protocols(listener.transport).is_some();
    if is_web && table.tls.is_empty() {
        drop(table);
        let spoken = web::Spoken::Unknown;
        return web::serve(stream, who, spoken, beginning.rest, member, arriving).await;
    }
    if listener.transport == Scheme::Dns {
        drop(table);
        return Connection::new(stream, who, Transport::Tcp, beginning.rest, member)
            .run(arriving)
            .await;
    }
    if beginning.rest.is_empty() {
        return shake_hands(stream, who, table, arriving, member).await;
    }
    // The client's first words of TLS came along with the header.
    let (read, write) = stream.into_split();
    let read = io::Cursor::new(beginning.rest).chain(read);
    shake_hands(tokio::io::join(read, write), who, table, arriving, member).await
}

/// Both ends of a connection, and where it came in.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) listener: Listener,
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    who: Who,
    table: Arc<Table>,
    mut arriving: Arriving,
    member: Member,
) -> io::Result<()> {
    let limit = table.tuning.streams.handshake;
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
    let start = arriving.wait(limit, acceptor).await?;
    // A TLS listener without an identity is not built; should it happen, nothing is served.
    let Some(identity) = table.identity(start.client_hello().server_name()) else {
        return Ok(());
    };
    if !identity.is_ready() {
        let ready = async {
            identity.until_ready().await;
            Ok(())
        };
        // Afterwards the handshake fails with an alert; never is anything served in the clear.
        let _ = arriving.wait(limits::FIRST_CERTIFICATE, ready).await;
    }
    let web = web::protocols(who.listener.transport);
    let config = identity.config(web.unwrap_or(DOT));
    drop(table);
    let stream = arriving.wait(limit, start.into_stream(config)).await?;
    if web.is_some() {
        let spoken = web::Spoken::agreed(stream.get_ref().1.alpn_protocol());
        return web::serve(stream, who, spoken, Vec::new(), member, arriving).await;
    }
    Connection::new(stream, who, Transport::Tls, Vec::new(), member)
        .run(arriving)
        .await
}

/// One connection and what was read from and is to be written to it.
struct Connection<S> {
    stream: S,
    who: Who,
    transport: Transport,
    limits: StreamLimits,
    ex: Box<Exchange>,
    input: Vec<u8>,
    /// Where in `input` the first message begins that is not answered yet.
    begun: usize,
    output: Vec<u8>,
    /// Places of parts that stand in the output.
    parts: Vec<Room>,
    waiting: usize,
    /// When the last whole query came or a reply was ready, or the connection came.
    heard: Instant,
    queries: u64,
    behind: Vec<Behind>,
    member: Member,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A new connection; `input` is what has been read of it.
    fn new(stream: S, who: Who, transport: Transport, input: Vec<u8>, member: Member) -> Self {
        Self {
            stream,
            who,
            transport,
            limits: StreamLimits::default(),
            ex: Box::default(),
            input,
            begun: 0,
            output: Vec::new(),
            parts: Vec::new(),
            waiting: 0,
            heard: Instant::now(),
            queries: 0,
            behind: Vec::new(),
            member,
        }
    }

    /// Answers queries until the client closes, is silent too long, or the address is no longer
    /// served.
    ///
    /// Replies leave as they are ready, in whatever order (RFC 7766 section 6.2.1.1).
    async fn run(mut self, arriving: Arriving) -> io::Result<()> {
        let (sender, mut replies) = mpsc::channel(limits::PIPELINE_MAX);
        // Until when the client is heard, once the address is no longer served.
        let (mut generation, mut current, mut leaving) = arriving.arrived();
        let Some(mut table) = generation.table(&self.who.listener) else {
            return Ok(());
        };
        let silence = sleep(Duration::ZERO);
        tokio::pin!(silence);
        // The client has said all it wants to say.
        let mut heard_all = false;
        loop {
            self.limits = table.tuning.streams;
            loop {
                let before = self.queries;
                let more = self.answer_some(&table, &generation, &sender);
                self.flush().await?;
                if self.queries - before >= limits::TURN_QUERIES {
                    // Connections that never pause take turns with everybody else.
                    yield_now().await;
                }
                if !more {
                    break;
                }
            }
            let exhausted = self.queries >= self.limits.queries_max;
            let over = exhausted || leaving.is_some_and(|until| until <= Instant::now());
            if self.waiting == 0 {
                if over {
                    drop((table, generation));
                    return leaving::part(&mut self.stream).await;
                }
                if heard_all {
                    return self.stream.shutdown().await;
                }
                if silence.deadline() > self.until().into() {
                    silence.as_mut().reset(self.until().into());
                }
            }
            self.member.heard(self.heard, self.waiting > 0);
            let may_read = !over && !heard_all && self.waiting < limits::PIPELINE_MAX;
            tokio::select! {
                biased;
                reply = replies.recv(), if self.waiting > 0 => {
                    self.collect(reply);
                    while self.output.len() < limits::WRITE_OCTETS
                        && let Ok(reply) = replies.try_recv()
                    {
                        self.collect(Some(reply));
                    }
                }
                // Before anything is read: the next query is answered by the new generation.
                new = current.changed(), if leaving.is_none() => {
                    match new.table(&self.who.listener) {
                        Some(new_table) => (table, generation) = (new_table, new),
                        None => {
                            // What has arrived may not have been seen yet.
                            let until = Instant::now() + limits::LAST_WORDS;
                            leaving = Some(until);
                            silence.as_mut().reset(until.into());
                        }
                    }
                }
                read = self.stream.read_buf(&mut self.input), if may_read => heard_all = read? == 0,
                () = &mut silence => {
                    let now = tokio::time::Instant::now();
                    let until = self.until().into();
                    if let Some(words) = leaving.map(tokio::time::Instant::from) {
                        // What was asked is still answered, within a bound.
                        match words + limits::DRAIN {
                            _ if now < words => silence.as_mut().reset(words),
                            bound if now < bound => silence.as_mut().reset(bound),
                            _ => return self.stream.shutdown().await,
                        }
                    } else if until > now {
                        silence.as_mut().reset(until);
                    } else if self.waiting > 0 {
                        // Whoever waits for an answer is not silent.
                        silence.as_mut().reset(now + self.limits.idle);
                    } else {
                        return self.stream.shutdown().await;
                    }
                }
            }
            self.make_room();
        }
    }

    /// Answers whole messages of the input, as long as not too many wait; returns whether there may
    /// be more when the replies are written and others have had their turn.
    fn answer_some(
        &mut self,
        table: &Arc<Table>,
        generation: &Arc<Generation>,
        sender: &mpsc::Sender<Piece>,
    ) -> bool {
        let (mut received, before) = (None, self.queries);
        while self.waiting < limits::PIPELINE_MAX && self.queries < self.limits.queries_max {
            let turn_over = self.queries - before >= limits::TURN_QUERIES_MAX;
            if turn_over || self.output.len() >= limits::WRITE_OCTETS {
                return true;
            }
            let Some((length, rest)) = self
                .input
                .get(self.begun..)
                .and_then(|input| input.split_first_chunk::<2>())
            else {
                return false;
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(message) = rest.get(..length) else {
                return false;
            };
            let received = *received.get_or_insert_with(Instant::now);
            self.heard = received;
            self.queries += 1;
            self.begun += 2 + length;
            let journey = Journey {
                client: self.who.client,
                local: self.who.local,
                transport: self.transport,
                received,
            };
            let start = self.output.len();
            self.output.extend_from_slice(&[0, 0]);
            match answer(&mut self.ex, table, message, journey, &mut self.output) {
                Outcome::Reply(then) => {
                    prefix(&mut self.output, start);
                    if let Some(chain) = then {
                        self.behind.push((
                            std::mem::take(&mut self.ex),
                            Arc::clone(table),
                            Arc::clone(chain),
                        ));
                    }
                }
                Outcome::Nothing => self.output.truncate(start),
                Outcome::Waits(waiting) => {
                    self.output.truncate(start);
                    let (chain, at, phase) = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                    let Some(place) = Place::take() else { continue };
                    self.waiting += 1;
                    let (table, generation, sender) =
                        (Arc::clone(table), Arc::clone(generation), sender.clone());
                    let mut ex = std::mem::replace(&mut self.ex, pool::take());
                    tokio::spawn(async move {
                        let (_place, _generation) = (place, generation);
                        let mut out = Vec::new();
                        ex.set_parts(Sender::new(sender.clone()));
                        if go_on(&mut ex, &table, &chain, at, phase).await {
                            out.extend_from_slice(&[0, 0]);
                            finish(&mut ex, &mut out);
                            prefix(&mut out, 0);
                        }
                        // The channel has room for every waiter; it is closed when the client has
                        // gone.
                        let _ = sender.send(Piece::Last(out)).await;
                        if ex.has_afterwards() {
                            finish_afterwards(&mut ex, &table, &chain).await;
                        }
                        pool::give(ex);
                    });
                }
            }
        }
        false
    }

    /// How long the client may be silent.
    fn until(&self) -> Instant {
        let allowed = match self.queries {
            0 => self.limits.first_query,
            _ => self.limits.idle,
        };
        self.heard + allowed
    }

    /// Takes what an exchange that waited has to say; an empty reply is none.
    fn collect(&mut self, piece: Option<Piece>) {
        self.heard = Instant::now();
        match piece {
            Some(Piece::Part(part)) => part.write(&mut self.output, &mut self.parts),
            Some(Piece::Last(reply)) => {
                self.waiting = self.waiting.saturating_sub(1);
                self.output.extend_from_slice(&reply);
            }
            None => self.waiting = self.waiting.saturating_sub(1),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        leaving::send(&mut self.stream, &mut self.output, self.limits.write).await?;
        self.parts.clear();
        leaving::call_afterwards(&mut self.behind);
        Ok(())
    }

    /// Forgets answered input and sees to it that the next read has room, but not more than a
    /// message needs.
    fn make_room(&mut self) {
        if self.begun == self.input.len() {
            self.input.clear();
            self.input.shrink_to(limits::KEPT_OCTETS);
        } else {
            self.input.drain(..self.begun);
        }
        self.begun = 0;
        let room = limits::READ_OCTETS.min(
            (2 + MESSAGE_OCTETS_MAX)
                .saturating_sub(self.input.len())
                .max(1),
        );
        self.input.reserve(room);
    }
}

/// Writes the length of the message that begins two octets behind `start` in front of it.
fn prefix(output: &mut [u8], start: usize) {
    // No message is longer than 65,535 octets.
    let length = (output.len() - start - 2) as u16;
    output[start..start + 2].copy_from_slice(&length.to_be_bytes());
}
