//! How one listener behaves: bounds of its connections, number of its sockets, headers in front of
//! messages. Made from the options of the blocks that share it.
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::{
    GrpcOptions, Https3Options, HttpsOptions, ListenerOptions, Overload, ProxyProtocol, QuicOptions,
};

use crate::limits;

/// What the blocks of one listener want of it.
#[derive(Clone, Default)]
pub(crate) struct Tuning {
    pub(crate) streams: StreamLimits,
    /// Sockets that were asked for on each address; nothing for one on each worker.
    pub(crate) sockets: Option<usize>,
    pub(crate) proxy: Option<Arc<ProxyProtocol>>,
    pub(crate) overload: Option<Arc<dyn Overload>>,
    pub(crate) quic: QuicOptions,
    pub(crate) https3: Https3Options,
    pub(crate) https: HttpsOptions,
    pub(crate) grpc: GrpcOptions,
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) handshake: Duration,
    pub(crate) first_query: Duration,
    pub(crate) idle: Duration,
    pub(crate) write: Duration,
    pub(crate) queries_max: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            handshake: limits::HANDSHAKE,
            first_query: limits::FIRST_QUERY,
            idle: limits::IDLE,
            write: limits::WRITE,
            queries_max: u64::MAX,
        }
    }
}

impl Tuning {
    /// What the first block of a listener wants: it decides about the sockets.
    pub(crate) fn first(options: &ListenerOptions) -> Self {
        Self {
            sockets: options.sockets,
            ..Self::default()
        }
    }

    /// Adds what a block wants; an error when it cannot be had beside what another one wants.
    pub(crate) fn add(&mut self, options: &ListenerOptions) -> Result<(), &'static str> {
        let (own, wanted) = (&mut self.streams, &options.streams);
        if let Some(read) = wanted.read {
            (own.handshake, own.first_query) = (read, read);
        }
        own.idle = wanted.idle.unwrap_or(own.idle);
        own.write = wanted.write.unwrap_or(own.write);
        own.queries_max = wanted.queries_max.unwrap_or(own.queries_max);
        let (quic, wanted) = (&mut self.quic, &options.quic);
        quic.streams_max = wanted.streams_max.or(quic.streams_max);
        quic.waiting_max = wanted.waiting_max.or(quic.waiting_max);
        let (https3, wanted) = (&mut self.https3, &options.https3);
        https3.streams_max = wanted.streams_max.or(https3.streams_max);
        https3.connections_max = wanted.connections_max.or(https3.connections_max);
        let (https, wanted) = (&mut self.https, &options.https);
        https.connections_max = wanted.connections_max.or(https.connections_max);
        if wanted.proxies.is_some() {
            https.proxies.clone_from(&wanted.proxies);
        }
        let (grpc, wanted) = (&mut self.grpc, &options.grpc);
        grpc.connections_max = wanted.connections_max.or(grpc.connections_max);
        grpc.streams_max = wanted.streams_max.or(grpc.streams_max);
        if options.overload.is_some() {
            self.overload.clone_from(&options.overload);
        }
        match (&self.proxy, &options.proxy) {
            (Some(one), Some(other)) if one != other => {
                return Err(
                    "PROXY headers are dealt with differently by another server block on the same address and port",
                );
            }
            (None, Some(_)) => self.proxy.clone_from(&options.proxy),
            _ => (),
        }
        Ok(())
    }

    /// Sockets of each worker: as many on all of them, because the kernel spreads the load over the
    /// sockets, not over the workers.
    pub(crate) fn sockets_per_worker(&self, workers: usize) -> usize {
        self.sockets.unwrap_or(1).div_ceil(workers.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::{HeaderPolicy, StreamOptions};

    use super::*;

    fn streams(read: Option<u64>, idle: Option<u64>, queries_max: Option<u64>) -> ListenerOptions {
        ListenerOptions {
            streams: StreamOptions {
                read: read.map(Duration::from_secs),
                write: None,
                idle: idle.map(Duration::from_secs),
                queries_max,
            },
            ..ListenerOptions::default()
        }
    }

    #[test]
    fn the_last_block_that_says_something_about_connections_counts() {
        let mut tuning = Tuning::default();
        for options in [
            streams(Some(7), None, Some(3)),
            streams(Some(8), Some(9), None),
            ListenerOptions::default(),
        ] {
            tuning.add(&options).unwrap();
        }
        let limits = tuning.streams;
        assert_eq!(
            (limits.first_query, limits.handshake, limits.idle),
            (
                Duration::from_secs(8),
                Duration::from_secs(8),
                Duration::from_secs(9)
            )
        );
        assert_eq!((limits.write, limits.queries_max), (limits::WRITE, 3));
    }

    #[test]
    fn blocks_that_disagree_about_headers_cannot_share_a_listener() {
        let with = |others| ListenerOptions {
            proxy: Some(Arc::new(ProxyProtocol {
                trusted: Vec::new(),
                others,
                sessions: None,
            })),
            ..ListenerOptions::default()
        };
        let mut tuning = Tuning::default();
        tuning.add(&ListenerOptions::default()).unwrap();
        tuning.add(&with(HeaderPolicy::Use)).unwrap();
        tuning.add(&ListenerOptions::default()).unwrap();
        tuning.add(&with(HeaderPolicy::Use)).unwrap();
        assert!(tuning.proxy.is_some());
        assert!(tuning.add(&with(HeaderPolicy::Skip)).is_err());
    }

    #[test]
    fn every_worker_has_the_same_number_of_sockets() {
        for (sockets, workers, each) in [
            (None, 4, 1),
            (Some(1), 4, 1),
            (Some(4), 4, 1),
            (Some(5), 4, 2),
            (Some(3), 1, 3),
            (Some(1024), 2, 512),
        ] {
            let tuning = Tuning {
                sockets,
                ..Tuning::default()
            };
            assert_eq!(tuning.sockets_per_worker(workers), each);
        }
    }
}
