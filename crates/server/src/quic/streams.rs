//! What DNS over QUIC and over HTTP/3 have in common: each query has a stream of its own.
use std::sync::Arc;
use std::time::Instant;

use quinn::{RecvStream, SendStream};
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};

use super::link::Link;
use crate::current::Current;
use crate::generation::{Generation, Table};
use crate::limits;

/// A connection of one of the protocols.
pub(super) trait Streams {
    /// Whether clients open streams for themselves.
    const LISTENS: bool = false;

    fn link(&self) -> &Link;

    fn table(&self) -> &Table;

    /// The next query is answered by another generation.
    fn renew(&mut self, generation: Arc<Generation>, table: Arc<Table>);

    /// Answers a query that is there and whose answer is, else leaves the stream to a task.
    fn take(&mut self, send: SendStream, recv: RecvStream);

    /// Takes a stream that the client opened for itself.
    fn listen(&self, _: RecvStream) {}
}

/// Accepts streams until the client is silent too long or the address is no longer served, and waits
/// then, within a bound, for what was asked to be answered. Nothing is returned when the client has
/// left.
pub(super) async fn accept(mut streams: impl Streams, mut current: Current) -> Option<()> {
    accept_from(&mut streams, &mut current).await?;
    let _ = timeout(limits::DRAIN, streams.link().until_idle()).await;
    Some(())
}

async fn accept_from<S: Streams>(streams: &mut S, current: &mut Current) -> Option<()> {
    let mut turn = 0;
    let silence = sleep_until(until(streams));
    tokio::pin!(silence);
    loop {
        tokio::select! {
            biased;
            generation = current.changed() => {
                let table = generation.tables.get(&streams.link().listener);
                let Some(table) = table.map(Arc::clone) else {
                    return Some(());
                };
                streams.renew(generation, table);
            }
            // The client's window for them bounds how many there are.
            stream = streams.link().connection.accept_uni(), if S::LISTENS => streams.listen(stream.ok()?),
            stream = streams.link().connection.accept_bi() => {
                let (send, recv) = stream.ok()?;
                streams.take(send, recv);
                turn += 1;
                if turn % limits::TURN_QUERIES == 0 {
                    yield_now().await;
                }
            }
            () = &mut silence => {
                // Whoever waits for an answer is not silent.
                if streams.link().is_busy() {
                    streams.link().heard(Instant::now());
                }
                if until(streams) <= Instant::now().into() {
                    return Some(());
                }
                silence.as_mut().reset(until(streams));
            }
        }
    }
}

/// How long the client may be silent.
fn until(streams: &impl Streams) -> tokio::time::Instant {
    (streams.link().last_heard() + streams.table().tuning.streams.idle).into()
}
