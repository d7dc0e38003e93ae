//! One thread a core, each with a runtime of its own.
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::current::Current;
use crate::listen::Sockets;
use crate::{quic, stream, udp};

/// The threads that serve.
///
/// Everything of a query stays on the thread that received it: sockets, waiting tasks, timers,
/// counters. A socket's task ends by itself when a generation no longer listens there, after it has
/// answered what was queued.
pub(crate) struct Workers {
    handles: Vec<Handle>,
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut workers = Self {
            handles: Vec::new(),
            stops: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..count {
            // Sockets are asked for new work after this many tasks: waiters must not starve them.
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(31)
                .build()?;
            let (stop, stopped) = oneshot::channel::<()>();
            workers.handles.push(runtime.handle().clone());
            workers.stops.push(stop);
            workers.threads.push(
                std::thread::Builder::new()
                    .name(format!("corten-{number}"))
                    .spawn(move || {
                        // Ends with a message or with the sender.
                        let _ = runtime.block_on(stopped);
                    })?,
            );
        }
        Ok(workers)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.handles.len()
    }

    /// Begins to serve: the workers take one of the sockets each, in turns.
    pub(crate) fn serve(&self, sockets: Vec<Sockets>, current: &Current) {
        for (handle, sockets) in self.handles.iter().cycle().zip(sockets) {
            let (listener, current) = (sockets.listener, current.clone());
            match sockets.udp {
                Some(udp) if sockets.tcp.is_none() => {
                    handle.spawn(quic::serve(udp, listener, current.clone()));
                }
                Some(udp) => {
                    handle.spawn(udp::serve(udp, listener, current.clone()));
                }
                None => (),
            }
            if let Some(tcp) = sockets.tcp {
                handle.spawn(stream::serve(tcp, listener, current));
            }
        }
    }

    /// Ends the threads; what still runs on them is abandoned.
    pub(crate) fn stop(self) {
        drop(self.stops);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}
