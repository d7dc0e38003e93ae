//! What DNS over QUIC and over HTTP/3 have in common: each query has a stream of its own.
use std::sync::Arc;
use std::time::Instant;

use quinn::{RecvStream, SendStream};
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};

use super::link::Link;
use super::round_trip;
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

    /// Tells the client that the connection is about to end, and answers what was asked. The caller
    /// bounds the time.
    fn farewell(&mut self, reason: Reason) -> impl Future<Output = ()> + Send;
}

/// Why no more streams are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client is silent, or the address is no longer served.
    Leaving,
    /// The client has had all the queries that a connection may have.
    Exhausted,
}

/// Accepts streams until the client is silent too long, has had its queries, or the address is no
/// longer served, and waits then, within a bound, for what was asked to be answered. Nothing is
/// returned when the client has left.
pub(super) async fn accept(streams: &mut impl Streams, mut current: Current) -> Option<()> {
    let reason = accept_from(streams, &mut current).await?;
    if !streams.link().is_shaken() {
        let _ = timeout(limits::LAST_HANDSHAKE, streams.link().until_shaken()).await;
    }
    let _ = timeout(limits::DRAIN, streams.farewell(reason)).await;
    Some(())
}

/// Answers what the client has sent before it could know of the end.
pub(super) async fn take_last(streams: &mut impl Streams) {
    let connection = streams.link().connection.clone();
    let on_their_way = limits::LAST_WORDS.max(round_trip(&connection));
    let _ = timeout(on_their_way, async {
        while let Ok((send, recv)) = connection.accept_bi().await {
            streams.take(send, recv);
        }
    })
    .await;
}

async fn accept_from<S: Streams>(streams: &mut S, current: &mut Current) -> Option<Reason> {
    let mut taken = 0;
    let silence = sleep_until(until(streams));
    tokio::pin!(silence);
    loop {
        tokio::select! {
            biased;
            generation = current.changed() => {
                let Some(table) = generation.table(&streams.link().listener) else {
                    return Some(Reason::Leaving);
                };
                streams.renew(generation, table);
            }
            // The client's window for them bounds how many there are.
            stream = streams.link().connection.accept_uni(), if S::LISTENS => streams.listen(stream.ok()?),
            stream = streams.link().connection.accept_bi() => {
                let (send, recv) = stream.ok()?;
                streams.take(send, recv);
                taken += 1;
                if taken >= streams.table().tuning.streams.queries_max {
                    return Some(Reason::Exhausted);
                }
                if taken % limits::TURN_QUERIES == 0 {
                    yield_now().await;
                }
            }
            () = &mut silence => {
                // Whoever waits for an answer is not silent.
                if streams.link().is_busy() {
                    streams.link().heard(Instant::now());
                }
                if until(streams) <= Instant::now().into() {
                    return Some(Reason::Leaving);
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
