//! One worker's sockets to one server.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::datagram::Port;
use crate::flight::{Carrier, Refusal, Ticket};
use crate::https::Sender;
use crate::settings::Settings;
use crate::stream::{Connection, Route};

/// Queries in flight on a connection before another one is opened.
const IN_FLIGHT: usize = 32;
/// Connections that are opened to spread queries.
const CONNECTIONS: usize = 8;
/// Queries in flight on a connection, at most.
const IN_FLIGHT_MAX: usize = 256;
/// Connections of a worker to a server, at most.
const CONNECTIONS_MAX: usize = 512;
/// A server that closes a connection after so few replies while more are waited for takes one query
/// at a time.
const SHORT: u32 = 2;

/// Sockets of one worker, so that workers do not meet.
#[derive(Default)]
pub(crate) struct Lane {
    port: Mutex<Option<Arc<Port>>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// The server takes one query at a time on a connection.
    one_at_a_time: AtomicBool,
    pub(crate) https: tokio::sync::Mutex<Option<Sender>>,
}

/// Whether a kept socket was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    /// Sends a query over UDP.
    pub(crate) fn ask_datagram(
        self: &Arc<Self>,
        remote: SocketAddr,
        settings: &Settings,
        query: &[u8],
        until: Instant,
    ) -> Result<(Ticket<Port>, Kept), Refusal> {
        let mut port = lock(&self.port);
        // A port that is used up, or that has an old failure to tell, is replaced.
        if let Some(ticket) = port.as_ref().and_then(|port| port.ask(query, until).ok()) {
            return Ok((ticket, Kept::Yes));
        }
        let source = settings.source_address;
        let fresh = Port::open(remote, source, settings.expire, self).map_err(Refusal::Send)?;
        let ticket = fresh.ask(query, until)?;
        if let Some(old) = port.replace(fresh) {
            old.flight().retire();
        }
        Ok((ticket, Kept::No))
    }

    /// Enters a query on a connection; on one of its own where `fresh` is set.
    pub(crate) fn ask_stream(
        self: &Arc<Self>,
        route: impl Fn() -> Route,
        settings: &Settings,
        query: &[u8],
        until: Instant,
        fresh: bool,
    ) -> Result<(Ticket<Connection>, Kept), Refusal> {
        let mut connections = lock(&self.connections);
        connections.retain(|connection| !connection.flight().lock().is_retired());
        let (in_flight, spread) = match self.one_at_a_time.load(Relaxed) {
            true => (1, CONNECTIONS_MAX),
            false => (IN_FLIGHT, CONNECTIONS),
        };
        let kept = |max, patient| {
            connections
                .iter()
                .find_map(|connection| connection.ask(query, until, max, patient).ok())
        };
        if !fresh {
            if let Some(ticket) = kept(in_flight, false) {
                return Ok((ticket, Kept::Yes));
            }
            if connections.len() >= spread
                && let Some(ticket) = kept(IN_FLIGHT_MAX, true)
            {
                return Ok((ticket, Kept::Yes));
            }
        }
        if connections.len() >= CONNECTIONS_MAX {
            return Err(Refusal::Full);
        }
        let connection = Connection::open(route(), settings, self);
        let ticket = connection.ask(query, until, IN_FLIGHT_MAX, true)?;
        connections.push(connection);
        Ok((ticket, Kept::No))
    }

    /// Closes unused connections beyond the settings' number, the oldest first.
    pub(crate) fn trim(&self, settings: &Settings) {
        if settings.idle_max == 0 {
            return;
        }
        let connections = lock(&self.connections);
        let unused: Vec<_> = connections
            .iter()
            .filter(|connection| connection.flight().lock().in_flight() == 0)
            .collect();
        let surplus = unused.len().saturating_sub(settings.idle_max);
        for connection in unused.into_iter().take(surplus) {
            connection.flight().retire();
        }
    }

    /// Learns from how a connection ended.
    pub(crate) fn note_end(&self, connection: &Connection) {
        let inner = connection.flight().lock();
        if (1..=SHORT).contains(&inner.delivered()) && inner.in_flight() > 0 {
            self.one_at_a_time.store(true, Relaxed);
        }
    }

    pub(crate) fn forget_port(&self, port: &Arc<Port>) {
        let mut current = lock(&self.port);
        if current.as_ref().is_some_and(|own| Arc::ptr_eq(own, port)) {
            *current = None;
        }
    }

    pub(crate) fn forget_connection(&self, connection: &Arc<Connection>) {
        lock(&self.connections).retain(|own| !Arc::ptr_eq(own, connection));
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Their tasks end with the last query.
        if let Some(port) = lock(&self.port).take() {
            port.flight().retire();
        }
        for connection in lock(&self.connections).drain(..) {
            connection.flight().retire();
        }
    }
}
