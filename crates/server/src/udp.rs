//! Datagrams, in batches.
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use corten_plugin::{Chain, Exchange, Transport};
use socket2::{MsgHdr, SockRef};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::answer::{Journey, Outcome, answer, finish, finish_afterwards, go_on};
use crate::batch::{Batch, backlog, source_control};
use crate::current::Current;
use crate::generation::{Generation, Listener, Table};
use crate::limits::{
    BATCH_MESSAGES, SHED_FROM, SHED_UNTIL, UDP_QUERY_OCTETS_MAX, UDP_QUEUE_MESSAGES, WAITING_MAX,
};
use crate::pool;
use crate::proxied::{Sessions, unwrap};

thread_local! {
    static WAITING: Cell<usize> = const { Cell::new(0) };
    /// The reply of an exchange that waited, until it is sent.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One place among the worker's waiting exchanges.
pub(crate) struct Place;

impl Place {
    /// A place, if one is free.
    pub(crate) fn take() -> Option<Self> {
        WAITING.with(|waiting| {
            (waiting.get() < WAITING_MAX).then(|| {
                waiting.set(waiting.get() + 1);
                Self
            })
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A task is dropped on its worker's thread; while that one ends the count no longer
        // matters.
        let _ = WAITING.try_with(|waiting| waiting.set(waiting.get().saturating_sub(1)));
    }
}

/// Serves one socket until a generation no longer listens there.
pub(crate) async fn serve(socket: StdSocket, listener: Listener, mut current: Current) {
    let generation = current.take();
    let Some(table) = generation.table(&listener) else {
        return;
    };
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return tracing::error!("udp {}: {error}", listener.address),
    };
    let mut worker = Worker {
        socket,
        local: listener.address,
        generation,
        table,
        ex: Box::default(),
        batch: Batch::new(BATCH_MESSAGES, UDP_QUERY_OCTETS_MAX),
        behind: Vec::new(),
        sessions: Sessions::default(),
        shedding: false,
    };
    worker.table.show_counters();
    loop {
        let socket = Arc::clone(&worker.socket);
        tokio::select! {
            biased;
            // Seldom ready, and cheap to ask: a look at a version number.
            generation = current.changed() => {
                match generation.table(&listener) {
                    Some(table) => {
                        table.show_counters();
                        (worker.table, worker.generation) = (table, generation);
                    }
                    None => break,
                }
            }
            ready = socket.readable() => {
                if ready.is_err() {
                    break;
                }
                // One system call a turn; an empty queue clears the readiness. Errors such as
                // ECONNREFUSED of a client that has gone are of no interest: the queue goes on.
                let _ = socket.try_io(Interest::READABLE, || worker.receive(socket.as_raw_fd()));
                worker.send().await;
            }
        }
    }
    // What the kernel has queued was asked while this address was served. It is no more than there is
    // room for: clients that never pause are not to keep the worker from everybody else.
    for _ in 0..UDP_QUEUE_MESSAGES.div_ceil(BATCH_MESSAGES) {
        if worker.receive(worker.socket.as_raw_fd()).is_err() {
            break;
        }
        worker.send().await;
    }
}

struct Worker {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    generation: Arc<Generation>,
    table: Arc<Table>,
    ex: Box<Exchange>,
    batch: Batch,
    /// Exchanges of which a plugin wants to go on when the replies are sent.
    behind: Vec<(Box<Exchange>, Arc<Chain>)>,
    /// Whom proxies speak for.
    sessions: Sessions,
    /// Whether the oldest queries are being dropped.
    shedding: bool,
}

impl Worker {
    /// Receives a batch and answers what needs no waiting.
    fn receive(&mut self, socket: i32) -> io::Result<()> {
        let count = self.batch.receive(socket)?;
        if self.sheds(socket, count) {
            return Ok(());
        }
        let received = Instant::now();
        for index in 0..count {
            self.take(index, received);
        }
        Ok(())
    }

    /// Drops the batch when so many queries stand behind it that its clients are about to give up:
    /// the newest are the ones whose answers still count.
    fn sheds(&mut self, socket: i32, count: usize) -> bool {
        let Some(overload) = &self.table.tuning.overload else {
            return false;
        };
        let full = match backlog(socket) {
            // What is not a whole batch leaves an empty queue.
            Some((used, limit)) if count == BATCH_MESSAGES && limit > 0 => {
                used as f32 / limit as f32
            }
            _ => 0.0,
        };
        self.shedding = full > if self.shedding { SHED_UNTIL } else { SHED_FROM };
        if self.shedding {
            overload.queries_dropped(self.table.site, count as u64);
        }
        self.shedding
    }

    fn take(&mut self, index: usize, received: Instant) {
        let mut out = std::mem::take(self.batch.reply_to(index));
        let Some(datagram) = self.batch.datagram(index) else {
            return self.batch.take_back();
        };
        let local = datagram
            .to
            .map_or(self.local, |to| SocketAddr::new(to, self.local.port()));
        let (mut client, mut octets) = (datagram.from, datagram.octets);
        if let Some(proxy) = &self.table.tuning.proxy {
            let Some(found) = unwrap(proxy, &mut self.sessions, client, octets, received) else {
                self.batch.take_back();
                return self.batch.put_back(index, out);
            };
            (client, octets) = (found.client, found.octets);
        }
        let journey = Journey {
            client,
            local,
            transport: Transport::Udp,
            received,
        };
        let outcome = answer(&mut self.ex, &self.table, octets, journey, &mut out);
        match outcome {
            Outcome::Reply(None) => (),
            Outcome::Reply(Some(chain)) => self
                .behind
                .push((std::mem::take(&mut self.ex), Arc::clone(chain))),
            Outcome::Nothing => self.batch.take_back(),
            Outcome::Waits(waiting) => {
                let (peer, source) = (datagram.from, datagram.to);
                let (chain, at, phase) = (Arc::clone(waiting.chain), waiting.at, waiting.phase);
                self.batch.take_back();
                // Memory answers go on when too many wait; the newest waiter is the one to lose.
                let Some(place) = Place::take() else {
                    if let Some(overload) = &self.table.tuning.overload {
                        overload.queries_dropped(self.ex.site, 1);
                    }
                    return;
                };
                let (socket, table) = (Arc::clone(&self.socket), Arc::clone(&self.table));
                let generation = Arc::clone(&self.generation);
                let mut ex = std::mem::replace(&mut self.ex, pool::take());
                tokio::spawn(async move {
                    let (_place, _generation) = (place, generation);
                    if go_on(&mut ex, &table, &chain, at, phase).await {
                        SCRATCH.with_borrow_mut(|out| {
                            out.clear();
                            finish(&mut ex, out);
                            let sent = send_one(&socket, out, peer, source);
                            if let (Err(_), Some(overload)) = (sent, &table.tuning.overload) {
                                overload.responses_dropped(ex.site, 1);
                            }
                        });
                    }
                    if ex.has_afterwards() {
                        finish_afterwards(&mut ex, &table, &chain).await;
                    }
                    pool::give(ex);
                });
                return;
            }
        }
        self.batch.put_back(index, out);
    }

    /// Sends the replies of the batch, then lets plugins go on that asked for it.
    async fn send(&mut self) {
        let mut sent = 0;
        let mut waited = false;
        while sent < self.batch.replies() {
            let socket = Arc::clone(&self.socket);
            match socket.try_io(Interest::WRITABLE, || {
                self.batch.send(socket.as_raw_fd(), sent)
            }) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !waited => {
                    waited = true;
                    if self.socket.writable().await.is_err() {
                        break;
                    }
                }
                // One reply that cannot be sent, such as to port 0, does not hold up the others.
                Err(_) => {
                    sent += 1;
                    if let Some(overload) = &self.table.tuning.overload {
                        overload.responses_dropped(self.table.site, 1);
                    }
                }
            }
        }
        self.batch.sent();
        for (mut ex, chain) in self.behind.drain(..) {
            let Some(place) = Place::take() else { continue };
            let (table, generation) = (Arc::clone(&self.table), Arc::clone(&self.generation));
            tokio::spawn(async move {
                let (_place, _generation) = (place, generation);
                finish_afterwards(&mut ex, &table, &chain).await;
            });
        }
    }
}

/// Sends the reply of an exchange that waited; from the address that was asked, where the socket
/// has several. A full queue loses the reply, as the network might; the client asks again.
fn send_one(
    socket: &UdpSocket,
    reply: &[u8],
    to: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<usize> {
    let to = to.into();
    match source.map(source_control) {
        Some((control, length)) => {
            let buffers = [io::IoSlice::new(reply)];
            let message = MsgHdr::new().with_addr(&to).with_buffers(&buffers);
            SockRef::from(socket).sendmsg(&message.with_control(&control[..length]), 0)
        }
        None => SockRef::from(socket).send_to(reply, &to),
    }
}
