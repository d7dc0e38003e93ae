//! One tap: what it wants of an exchange, and where that goes.
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use corten_plugin::wire::finish::Carrier;
use corten_plugin::{Exchange, Told, Transport, UpstreamExchange};
use rustls::{ClientConfig, ServerConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Endpoint};
use crate::listener::{Bound, Collectors};
use crate::message::{Event, Framer, Kind, Protocol};
use crate::queue::Queue;
use crate::sink::Sink;
use crate::tls;

thread_local! {
    static FRAMER: RefCell<Framer> = RefCell::default();
    static MESSAGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One occurrence of the directive at work.
pub(crate) struct Point {
    config: Config,
    queue: Queue,
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<ServerConfig>>,
    /// A listener's socket, from its start on.
    bound: Mutex<Option<Arc<Bound>>>,
    /// A listener's collectors: without any nothing needs to be made.
    collectors: Arc<AtomicUsize>,
}

impl Point {
    /// `bound`: the socket of the running configuration's listener at the same place.
    pub(crate) fn new(config: Config, bound: Option<Arc<Bound>>) -> Result<Self, String> {
        let is_tls = matches!(config.endpoint, Endpoint::Tls { .. });
        let client = match is_tls && !config.listen {
            true => Some(tls::client(config.skip_verify)?),
            false => None,
        };
        let server = match (&config.tls, is_tls && config.listen) {
            (Some(files), true) => Some(tls::server(files, config.skip_verify)?),
            _ => None,
        };
        Ok(Self {
            queue: Queue::new(config.queue_messages),
            client,
            server,
            bound: Mutex::new(bound),
            collectors: Arc::default(),
            config,
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// A listener's socket, for the next configuration.
    pub(crate) fn bound(&self) -> Option<Arc<Bound>> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.clone()
    }

    /// Lets go of a listener's socket.
    pub(crate) fn release(&self) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        *bound = None;
    }

    /// Starts the task that writes. That there is no collector is logged, and no reason not to
    /// serve.
    pub(crate) async fn start(&self, tasks: &TaskTracker, end: &CancellationToken) {
        let (endpoint, queue) = (self.config.endpoint.clone(), self.queue.clone());
        if !self.config.listen {
            let sink = Sink {
                endpoint,
                tls: self.client.clone(),
                write_buffer_octets: self.config.write_buffer_octets,
                queue,
            };
            tasks.spawn(sink.run(end.clone()));
            return;
        }
        if matches!(endpoint, Endpoint::Tls { .. }) && self.server.is_none() {
            tracing::warn!(target: "plugin/dnstap", "TLS listener requires cert and key files");
            return;
        }
        let bound = match self.bound() {
            Some(bound) => Ok(bound),
            None => Bound::new(&endpoint).await.map(Arc::new),
        };
        let bound = match bound {
            Ok(bound) => bound,
            Err(error) => {
                return tracing::error!(target: "plugin/dnstap", "Failed to start dnstap listener: {error}");
            }
        };
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&bound));
        let collectors = Collectors {
            bound,
            tls: self.server.clone(),
            queue,
            count: Arc::clone(&self.collectors),
        };
        tasks.spawn(collectors.run(end.clone()));
    }

    /// CLIENT_QUERY.
    pub(crate) fn query(&self, ex: &Exchange) {
        let event = Event {
            kind: Kind::ClientQuery,
            protocol: ex.transport.into(),
            query_address: Some(ex.client),
            response_address: None,
            asked: arrival(ex),
            answered: None,
            message: ex.query.octets(),
        };
        self.put(ex, event);
    }

    /// CLIENT_RESPONSE; `message` as it leaves.
    pub(crate) fn response(&self, ex: &Exchange, message: &[u8]) {
        let event = Event {
            kind: Kind::ClientResponse,
            protocol: ex.transport.into(),
            query_address: Some(ex.client),
            response_address: None,
            asked: arrival(ex),
            answered: Some(SystemTime::now()),
            message,
        };
        self.put(ex, event);
    }

    /// FORWARDER_QUERY, and FORWARDER_RESPONSE if there is one.
    pub(crate) fn upstream(&self, ex: &Exchange, exchange: &UpstreamExchange<'_>) {
        let mut event = Event {
            kind: Kind::ForwarderQuery,
            protocol: Protocol::from(exchange.transport),
            query_address: exchange.local,
            response_address: Some(exchange.server),
            asked: exchange.asked,
            answered: None,
            message: exchange.query,
        };
        self.put(ex, event);
        if let Some(response) = exchange.response {
            (event.kind, event.message) = (Kind::ForwarderResponse, response);
            event.answered = Some(exchange.answered);
            self.put(ex, event);
        }
    }

    fn put(&self, ex: &Exchange, mut event: Event<'_>) {
        if self.config.listen && self.collectors.load(Relaxed) == 0 {
            return;
        }
        if !self.config.full {
            event.message = &[];
        }
        FRAMER.with(|kept| {
            // Metadata may come from a plugin that asks, and is tapped, itself.
            let (mut kept, mut own) = (kept.try_borrow_mut(), None);
            let framer = match &mut kept {
                Ok(framer) => &mut **framer,
                Err(_) => own.insert(Framer::default()),
            };
            framer.extra.clear();
            if let Some(extra) = &self.config.extra {
                extra.fill(ex, Told::Query, &mut framer.extra);
            }
            self.queue
                .push(framer.frame(&self.config.identity, &self.config.version, &event));
        });
    }
}

/// When the query was received, by the clock on the wall.
fn arrival(ex: &Exchange) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(ex.received.elapsed()).unwrap_or(now)
}

/// The reply as it will leave; empty unless it is wanted.
pub(crate) fn with_message(ex: &Exchange, wanted: bool, then: impl FnOnce(&[u8])) {
    if !wanted {
        return then(&[]);
    }
    let carrier = match ex.transport {
        Transport::Udp => Carrier::Datagram,
        _ => Carrier::Stream,
    };
    MESSAGE.with(|kept| {
        let (mut kept, mut own) = (kept.try_borrow_mut(), Vec::new());
        let message = kept.as_deref_mut().unwrap_or(&mut own);
        message.clear();
        ex.reply.finish(&ex.query, carrier, message);
        then(message);
    });
}

#[cfg(test)]
mod tests {
    use corten_plugin::Format;
    use corten_plugin::wire::{Gate, Rcode};

    use super::*;
    use crate::queue::Batch;

    fn point(listen: bool) -> Point {
        let config = Config {
            listen,
            endpoint: Endpoint::Unix("/nowhere".into()),
            full: true,
            write_buffer_octets: 1 << 20,
            queue_messages: 100,
            identity: b"me".to_vec(),
            version: b"v".to_vec(),
            extra: Some(Format::read("{name} {rcode}")),
            skip_verify: false,
            tls: None,
        };
        Point::new(config, None).unwrap()
    }

    fn exchange() -> Exchange {
        let mut ex = Exchange::new();
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";
        assert_eq!(ex.query.read(query), Gate::Pass);
        let _ = ex.answer(Rcode::NXDOMAIN);
        ex
    }

    #[test]
    fn an_exchange_makes_two_frames_and_no_allocation() {
        let (point, ex, mut batch) = (point(false), exchange(), Batch::default());
        let run = |batch: &mut Batch| {
            point.query(&ex);
            with_message(&ex, true, |message| point.response(&ex, message));
            point.queue.take(batch);
        };
        // Two buffers change places, and both have to grow.
        run(&mut batch);
        run(&mut batch);
        let info = allocation_counter::measure(|| run(&mut batch));
        assert_eq!((info.count_total, batch.count), (0, 2));
        let text = String::from_utf8_lossy(&batch.frames);
        assert!(text.contains("www.example. -") && text.contains("\x03www\x07example"));
    }

    #[test]
    fn nothing_is_made_for_a_listener_without_collectors() {
        let (point, ex, mut batch) = (point(true), exchange(), Batch::default());
        point.query(&ex);
        point.queue.take(&mut batch);
        assert_eq!(batch.count, 0);
        point.collectors.store(1, Relaxed);
        point.query(&ex);
        point.queue.take(&mut batch);
        assert_eq!(batch.count, 1);
    }
}
