//! One thread a core, each with a runtime of its own.
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::current::Current;
use crate::listen::Sockets;
use crate::{limits, quic, stream, udp};

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
                        // What is being written is finished; a call that hangs in the kernel, such as
                        // for a file server that does not answer, would be waited for without end.
                        runtime.shutdown_timeout(limits::LAST_CALLS);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_call_that_hangs_does_not_hold_up_the_end() {
        let workers = Workers::start(1).unwrap();
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        workers.handles[0].spawn(async move {
            let hang = tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                let _ = ends.recv();
            });
            let _ = hang.await;
        });
        begins.recv().unwrap();
        let (stopped, stops) = mpsc::channel();
        std::thread::spawn(move || {
            workers.stop();
            let _ = stopped.send(());
        });
        let waited = stops.recv_timeout(Duration::from_secs(60));
        drop(end);
        waited.expect("it has ended");
    }
}
