//! The task that writes to one collector, and looks for it again when it has gone.
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::config::Endpoint;
use crate::queue::{Queue, Reader};
use crate::stream::{FrameStream, PATIENCE};

/// Time between two lines about messages that were dropped, and the longest between two attempts
/// to connect; CoreDNS's.
const CHECK: Duration = Duration::from_secs(10);
/// Time between the first two attempts to connect; twice as long each time.
const RETRY: Duration = Duration::from_secs(1);

/// One collector.
pub(crate) struct Sink {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) write_buffer_octets: usize,
    pub(crate) queue: Queue,
}

impl Sink {
    /// Writes until the end, then what is left. Messages for which no collector is there are
    /// dropped and counted.
    pub(crate) async fn run(self, end: CancellationToken) {
        let mut link = Link::default();
        let mut reader = Reader::new(self.queue.clone());
        if let Err(error) = link.take(self.connect_until(&end).await)
            && !end.is_cancelled()
        {
            tracing::error!(target: "plugin/dnstap", "No connection to dnstap endpoint: {error}");
        }
        let mut check = Instant::now() + CHECK;
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => (),
                () = reader.some() => self.write(&mut link, &mut reader, &end).await,
                () = link.gone() => self.again(&mut link, &end).await,
                () = sleep_until(check) => {
                    check = Instant::now() + CHECK;
                    tell(&mut link, &reader);
                }
            }
        }
        self.write(&mut link, &mut reader, &end).await;
        if let Some(stream) = link.stream.take() {
            stream.close().await;
        }
        tell(&mut link, &reader);
    }

    async fn write(&self, link: &mut Link, reader: &mut Reader, end: &CancellationToken) {
        reader.take();
        let batch = &reader.batch;
        let Some(stream) = &mut link.stream else {
            link.dropped += batch.count;
            return;
        };
        if batch.count > 0 && stream.send(&batch.frames).await.is_err() {
            link.dropped += batch.count;
            self.again(link, end).await;
        }
    }

    /// Connects again, after the other side has gone or an attempt is due.
    async fn again(&self, link: &mut Link, end: &CancellationToken) {
        link.stream = None;
        let _ = link.take(self.connect_until(end).await);
    }

    async fn connect_until(&self, end: &CancellationToken) -> io::Result<FrameStream> {
        tokio::select! {
            connected = self.connect() => connected,
            () = end.cancelled() => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    async fn connect(&self) -> io::Result<FrameStream> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let stream = timeout(PATIENCE, UnixStream::connect(path)).await??;
                FrameStream::open(stream).await
            }
            Endpoint::Tcp { host, port } => FrameStream::open(self.tcp(host, *port).await?).await,
            Endpoint::Tls { host, port } => {
                let stream = self.tcp(host, *port).await?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let Some(tls) = &self.tls else {
                    return Err(io::Error::other("no TLS settings"));
                };
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = timeout(PATIENCE, connector.connect(name, stream)).await??;
                FrameStream::open(stream).await
            }
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = timeout(PATIENCE, TcpStream::connect((host, port))).await??;
        // The kernel gives what it allows; less is no reason to do without a collector.
        let _ = SockRef::from(&stream).set_send_buffer_size(self.write_buffer_octets);
        Ok(stream)
    }
}

fn tell(link: &mut Link, reader: &Reader) {
    let dropped = std::mem::take(&mut link.dropped) + reader.take_lost();
    if dropped > 0 {
        tracing::warn!(target: "plugin/dnstap", "Dropped dnstap messages: {dropped}");
    }
}

/// The connection, or when to try again.
#[derive(Default)]
struct Link {
    stream: Option<FrameStream>,
    pause: Duration,
    retry: Option<Instant>,
    dropped: u64,
}

impl Link {
    fn take(&mut self, connected: io::Result<FrameStream>) -> io::Result<()> {
        match connected {
            Ok(stream) => {
                self.stream = Some(stream);
                self.pause = Duration::ZERO;
                Ok(())
            }
            Err(error) => {
                self.pause = (2 * self.pause).clamp(RETRY, CHECK);
                self.retry = Some(Instant::now() + self.pause);
                Err(error)
            }
        }
    }

    /// Returns when the collector has gone, or it is time to look for it again.
    async fn gone(&mut self) {
        match (&mut self.stream, self.retry) {
            (Some(stream), _) => stream.gone().await,
            (None, Some(retry)) => sleep_until(retry).await,
            (None, None) => (),
        }
    }
}
