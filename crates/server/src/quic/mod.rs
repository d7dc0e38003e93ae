//! QUIC connections (RFC 9000): DNS over QUIC, and DNS over HTTP/3.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | what a listener shakes hands with, and the bounds of its connections |
//! | [`behind`] | the socket, where proxies may stand in front of it |
//! | [`link`] | what the queries of one connection share |
//! | [`streams`] | accepting streams, whatever the protocol |
//! | [`doq`] | DNS over QUIC (RFC 9250) |
//! | [`frame`] | one query of a DoQ stream |
//! | [`h3`], [`response`] | DNS over HTTPS (RFC 8484) on HTTP/3 |
//!
//! Every worker has an endpoint of its own on a socket of its own: the kernel sends what comes from
//! one address and port to one socket, and nothing is shared by cores. Connections do not move: a
//! client is whom the handshake was with, because access lists, views and transfers go by its address
//! (`disable_active_migration`, RFC 9000 section 18.2). One whose address changes all the same mostly
//! comes to another worker's socket; that one answers with a stateless reset, whose key all workers
//! share (RFC 9000 section 10.3), so that the client connects anew at once instead of waiting for an
//! answer.
mod behind;
mod doq;
mod frame;
mod h3;
mod link;
mod response;
mod settings;
mod streams;

use std::cell::Cell;
use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corten_corefile::Transport as Scheme;
use quinn::{Connection, Endpoint, Incoming, TokioRuntime, VarInt};
use tokio::time::{sleep, timeout};

use crate::connections::Member;
use crate::current::Current;
use crate::generation::{Listener, Table};
use crate::limits;
use behind::Behind;
use link::Link;

/// DOQ_NO_ERROR (RFC 9250 section 8.4) and H3_NO_ERROR (RFC 9114 section 8.1).
const DOQ_NO_ERROR: VarInt = VarInt::from_u32(0);
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);

thread_local! {
    static HANDSHAKES: Cell<usize> = const { Cell::new(0) };
}

/// One of the worker's handshakes that are not over.
struct Handshake;

impl Handshake {
    fn begin() -> Self {
        HANDSHAKES.with(|count| count.set(count.get() + 1));
        Self
    }

    fn count() -> usize {
        HANDSHAKES.with(Cell::get)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let _ = HANDSHAKES.try_with(|count| count.set(count.get().saturating_sub(1)));
    }
}

/// Serves one socket until a generation no longer listens there.
pub(crate) async fn serve(socket: UdpSocket, listener: Listener, mut current: Current) {
    let generation = current.take();
    let Some(table) = generation.tables.get(&listener) else {
        return;
    };
    let endpoint = settings::server(listener.transport, table).and_then(|server| {
        let opened = Behind::new(socket).and_then(|behind| {
            let endpoint = Endpoint::new_with_abstract_socket(
                settings::endpoint(),
                Some(server),
                Arc::clone(&behind) as _,
                Arc::new(TokioRuntime),
            )?;
            Ok((endpoint, behind))
        });
        opened.map_err(|error| error.to_string())
    });
    let (endpoint, behind) = match endpoint {
        Ok(opened) => opened,
        Err(error) => return tracing::error!("quic {}: {error}", listener.address),
    };
    behind.set_proxy(table.tuning.proxy.as_ref());
    if listener.transport == Scheme::Quic {
        // Visible before anything is counted.
        let _ = link::Counters::of(&table.name);
    }
    drop(generation);
    loop {
        tokio::select! {
            biased;
            generation = current.changed() => {
                let Some(table) = generation.tables.get(&listener) else {
                    break;
                };
                behind.set_proxy(table.tuning.proxy.as_ref());
                match settings::server(listener.transport, table) {
                    Ok(server) => endpoint.set_server_config(Some(server)),
                    // What was there goes on.
                    Err(error) => tracing::error!("quic {}: {error}", listener.address),
                }
            }
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => begin(incoming, &behind, listener, &current),
                None => return,
            }
        }
    }
    // Nobody new; connections answer what they were asked and part by themselves.
    endpoint.set_server_config(None);
    let _ = timeout(limits::DRAIN, endpoint.wait_idle()).await;
    let code = match listener.transport {
        Scheme::Https3 => H3_NO_ERROR,
        _ => DOQ_NO_ERROR,
    };
    endpoint.close(code, b"");
    let _ = timeout(limits::QUIC_LAST_WORDS, endpoint.wait_idle()).await;
}

/// Starts the task of a new connection, unless there are too many whose clients have not shown that
/// they are where they say.
fn begin(incoming: Incoming, behind: &Behind, listener: Listener, current: &Current) {
    let under_way = Handshake::count();
    if under_way >= limits::QUIC_HANDSHAKES_MAX {
        return incoming.ignore();
    }
    if under_way >= limits::QUIC_RETRY_FROM && incoming.may_retry() {
        let _ = incoming.retry();
        return;
    }
    let Some(client) = behind.client(incoming.remote_address()) else {
        return incoming.ignore();
    };
    let handshake = Handshake::begin();
    let current = current.clone();
    tokio::spawn(greet(incoming, client, handshake, listener, current));
}

/// Shakes hands and serves the client.
async fn greet(
    incoming: Incoming,
    client: SocketAddr,
    handshake: Handshake,
    listener: Listener,
    current: Current,
) {
    let Some(table) = current.generation().table(&listener) else {
        return incoming.refuse();
    };
    let limit = table.tuning.streams.handshake;
    let most = connections_max(listener.transport, &table);
    until_ready(&table).await;
    let asks_clients = table.tls.iter().any(|identity| identity.verifies_clients());
    drop(table);
    let Ok(connecting) = incoming.accept() else {
        return;
    };
    let (connection, shaken) = if asks_clients {
        let Ok(Ok(connection)) = timeout(limit, connecting).await else {
            return;
        };
        (connection, None)
    } else {
        match connecting.into_0rtt() {
            Ok((connection, shaken)) => (connection, Some(shaken)),
            // A server's is always granted.
            Err(_) => return,
        }
    };
    let link = Link::new(connection.clone(), client, listener, shaken.is_none());
    let served = tokio::spawn(serve_link(Arc::clone(&link), current));
    let is_shaken = match shaken {
        None => true,
        Some(shaken) => {
            // What it says is whether there was 0-RTT.
            timeout(limit, shaken).await.is_ok() && connection.close_reason().is_none()
        }
    };
    drop(handshake);
    let member = match is_shaken {
        true => Member::join(client.ip(), listener, most),
        false => None,
    };
    let Some(member) = member else {
        connection.close(link::excessive_load(listener.transport), b"");
        return;
    };
    member.ends_with()(served.abort_handle());
    link.set_shaken(member);
}

/// How many connections a listener of QUIC may have.
fn connections_max(scheme: Scheme, table: &Table) -> usize {
    match scheme {
        Scheme::Https3 => {
            let set = table.tuning.https3.connections_max;
            set.unwrap_or(limits::HTTP3_CONNECTIONS_MAX)
        }
        _ => usize::MAX,
    }
}

/// Waits for the first certificate, as long as a client may be expected to wait.
async fn until_ready(table: &Table) {
    // Which of several the client wants is in its first message; that one is read later.
    let Some(identity) = table.tls.iter().find(|identity| !identity.is_ready()) else {
        return;
    };
    if table.tls.iter().any(|identity| identity.is_ready()) {
        return;
    }
    let _ = timeout(limits::FIRST_CERTIFICATE, identity.until_ready()).await;
}

async fn serve_link(link: Arc<Link>, current: Current) {
    // It does not matter who left.
    let _ = match link.listener.transport {
        Scheme::Https3 => h3::serve(link, current).await,
        _ => doq::serve(link, current).await,
    };
}

/// What a future has to say without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// How long what the client has sent may still be on its way.
fn round_trip(connection: &Connection) -> Duration {
    connection.rtt().min(limits::QUIC_LAST_WORDS)
}

/// Three round trips: what was sent last has arrived, or is lost.
fn last_words(round_trip: Duration) -> Duration {
    (3 * round_trip).min(limits::QUIC_LAST_WORDS)
}

async fn until_last_words_arrive(connection: &Connection) {
    sleep(last_words(connection.rtt())).await;
}
