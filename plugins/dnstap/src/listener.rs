//! The task of `dnstap listen`: collectors come, and everyone gets everything.
use std::io;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Endpoint;
use crate::queue::{Queue, Reader};
use crate::stream::{FrameStream, PATIENCE, Wire};

/// Collectors at a time.
const COLLECTORS_MAX: usize = 64;
/// Batches that may wait for one collector; one that is slower than that loses its connection.
const BATCHES_MAX: usize = 32;
/// Longest wait for collectors at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A socket that is bound; handed on from one configuration to the next. Its file goes with it.
#[derive(Debug)]
pub(crate) enum Bound {
    Unix(StdUnixListener, PathBuf),
    Tcp(std::net::TcpListener),
}

impl Bound {
    pub(crate) async fn new(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(path) => {
                remove_stale(path);
                let listener = StdUnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, path.clone()))
            }
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port)).await?;
                Ok(Self::Tcp(listener.into_std()?))
            }
        }
    }

    fn accepting(&self) -> io::Result<Accepting> {
        Ok(match self {
            Self::Unix(listener, _) => {
                Accepting::Unix(UnixListener::from_std(listener.try_clone()?)?)
            }
            Self::Tcp(listener) => Accepting::Tcp(TcpListener::from_std(listener.try_clone()?)?),
        })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket's file that nobody listens on was left by a process that did not end well.
fn remove_stale(path: &Path) {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if StdUnixStream::connect(path).is_err_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Accepting {
    async fn accept(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// The collectors that have come to one tap.
pub(crate) struct Collectors {
    pub(crate) bound: Arc<Bound>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) queue: Queue,
    /// How many there are, for those who make messages.
    pub(crate) count: Arc<AtomicUsize>,
}

impl Collectors {
    /// Accepts collectors and hands frames to them until the end, then the last ones.
    pub(crate) async fn run(self, end: CancellationToken) {
        let listener = match self.bound.accepting() {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(target: "plugin/dnstap", "Failed to start dnstap listener: {error}");
            }
        };
        let (joins, mut joined) = mpsc::channel(COLLECTORS_MAX);
        let mut tasks = JoinSet::new();
        let mut present: Vec<mpsc::Sender<Bytes>> = Vec::new();
        let mut reader = Reader::new(self.queue.clone());
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => (),
                accepted = listener.accept() => match accepted {
                    Ok(wire) if tasks.len() < COLLECTORS_MAX => {
                        tasks.spawn(attend(wire, self.tls.clone(), joins.clone()));
                    }
                    Ok(_) => tracing::warn!(target: "plugin/dnstap", "more than {COLLECTORS_MAX} dnstap connections; one is refused"),
                    Err(error) => {
                        tracing::warn!(target: "plugin/dnstap", "Error accepting dnstap connection: {error}");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(collector) = joined.recv() => present.push(collector),
                Some(_) = tasks.join_next() => present.retain(|collector| !collector.is_closed()),
                () = reader.some() => hand_out(&mut reader, &mut present),
            }
            self.count.store(present.len(), Relaxed);
        }
        self.count.store(0, Relaxed);
        hand_out(&mut reader, &mut present);
        drop((present, joins, joined));
        let _ = timeout(FAREWELL, async {
            while tasks.join_next().await.is_some() {}
        })
        .await;
    }
}

/// Hands frames to all; those who cannot keep up are let go.
fn hand_out(reader: &mut Reader, present: &mut Vec<mpsc::Sender<Bytes>>) {
    reader.take();
    let lost = reader.take_lost();
    if lost > 0 {
        tracing::warn!(target: "plugin/dnstap", "Dropped dnstap messages: {lost}");
    }
    if reader.batch.count == 0 {
        return;
    }
    let frames = Bytes::copy_from_slice(&reader.batch.frames);
    present.retain(|collector| match collector.try_send(frames.clone()) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(_)) => {
            tracing::warn!(target: "plugin/dnstap", "a dnstap connection is too slow and is closed");
            false
        }
    });
}

/// Serves one collector until it goes, or nobody has frames for it any more.
async fn attend(
    wire: Box<dyn Wire>,
    tls: Option<Arc<ServerConfig>>,
    joins: mpsc::Sender<mpsc::Sender<Bytes>>,
) {
    let opened = async {
        match tls {
            None => FrameStream::open(wire).await,
            Some(tls) => {
                let wire = timeout(PATIENCE, TlsAcceptor::from(tls).accept(wire)).await??;
                FrameStream::open(wire).await
            }
        }
    };
    let mut stream = match opened.await {
        Ok(stream) => stream,
        Err(error) => {
            return tracing::warn!(target: "plugin/dnstap", "Error creating encoder for dnstap client: {error}");
        }
    };
    let (sender, mut batches) = mpsc::channel(BATCHES_MAX);
    if joins.send(sender).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            frames = batches.recv() => match frames {
                Some(frames) => {
                    if stream.send(&frames).await.is_err() {
                        return;
                    }
                }
                None => return stream.close().await,
            },
            () = stream.gone() => return,
        }
    }
}
