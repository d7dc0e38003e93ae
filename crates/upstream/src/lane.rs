//! One worker's sockets to one server.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::datagram::Port;
use crate::flight::{Carrier, Refusal, Ticket};
use crate::https::Sender;
use crate::settings::Settings;
use crate::stream::{Connection, Route};
use crate::upstream::Ask;

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
/// How long that is believed.
const BELIEF: Duration = Duration::from_secs(600);

/// Sockets of one worker, so that workers do not meet.
#[derive(Default)]
pub(crate) struct Lane {
    port: Mutex<Option<Arc<Port>>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Until when the server is believed to take one query at a time on a connection.
    one_at_a_time: Mutex<Option<Instant>>,
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
        ask: &Ask<'_>,
    ) -> Result<(Ticket<Port>, Kept), Refusal> {
        let mut port = lock(&self.port);
        // A port that is used up, or that has an old failure to tell, is replaced.
        if let Some(ticket) = port.as_ref().and_then(|port| port.ask(ask).ok()) {
            return Ok((ticket, Kept::Yes));
        }
        let (source, expire) = (ask.settings.source_address, ask.settings.expire);
        let fresh = Port::open(remote, source, expire, self).map_err(Refusal::Send)?;
        let ticket = fresh.ask(ask)?;
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
        let one_at_a_time = lock(&self.one_at_a_time).is_some_and(|end| Instant::now() < end);
        let (in_flight, spread) = match one_at_a_time {
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
            // One that nobody waits on makes room: servers that take few queries on each leave many.
            let is_idle = |own: &Arc<Connection>| own.flight().lock().in_flight() == 0;
            let at = connections.iter().position(is_idle);
            let idle = connections.remove(at.ok_or(Refusal::Full)?);
            idle.flight().retire();
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
            *lock(&self.one_at_a_time) = Some(Instant::now() + BELIEF);
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

#[cfg(test)]
mod tests {
    use corten_wire::{Class, Query, Question, RecordType};

    use super::*;
    use crate::settings::{Protocol, Server};

    #[tokio::test]
    async fn a_connection_that_is_idle_makes_room() {
        let server = Arc::new(Server {
            address: ([127, 0, 0, 1], 9).into(),
            protocol: Protocol::Plain,
        });
        let route = || Route {
            server: Arc::clone(&server),
            dial: Arc::new(crate::dial::Dial::new()),
            source: None,
            wait: Duration::from_secs(1),
        };
        let question = Question {
            name: "www.example".parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        let (lane, settings) = (Arc::new(Lane::default()), Settings::default());
        let query = Query::ask(7, &question);
        let until = Instant::now() + Duration::from_secs(1);
        let fresh = || lane.ask_stream(route, &settings, query.octets(), until, true);
        let mut waiting: Vec<_> = (0..CONNECTIONS_MAX).map(|_| fresh().unwrap()).collect();
        assert!(matches!(fresh(), Err(Refusal::Full)));
        waiting.pop();
        let (newcomer, kept) = fresh().expect("there is room");
        assert_eq!(kept, Kept::No);
        assert!(matches!(fresh(), Err(Refusal::Full)));
        drop(newcomer);
    }
}
