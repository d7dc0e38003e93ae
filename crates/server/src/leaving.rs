//! How replies leave a connection, and how a connection ends.
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use corten_plugin::{Chain, Exchange};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::answer::finish_afterwards;
use crate::generation::Table;
use crate::limits;
use crate::udp::Place;

/// An exchange whose plugins want a call when the reply has left.
pub(crate) type Behind = (Box<Exchange>, Arc<Table>, Arc<Chain>);

/// Sends what there is, if anything, to a client that must take it within `limit`; the buffer is empty
/// afterwards, and no larger than a connection's may stay.
pub(crate) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    output: &mut Vec<u8>,
    limit: Duration,
) -> io::Result<()> {
    if output.is_empty() {
        return Ok(());
    }
    let mut sending = pin!(async {
        stream.write_all(output).await?;
        stream.flush().await
    });
    // Nearly always the kernel takes everything at once, and no clock has to be looked at.
    let first = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
    match first {
        Poll::Ready(result) => result?,
        Poll::Pending => timeout(limit, sending).await??,
    }
    output.clear();
    output.shrink_to(limits::KEPT_OCTETS);
    Ok(())
}

/// Calls those plugins, in tasks of their own.
pub(crate) fn call_afterwards(behind: &mut Vec<Behind>) {
    for (mut ex, table, chain) in behind.drain(..) {
        let Some(place) = Place::take() else { continue };
        tokio::spawn(async move {
            let _place = place;
            finish_afterwards(&mut ex, &table, &chain).await;
        });
    }
}

/// Ends a connection whose client may not know that it is over: what it still sends is read for a
/// while, because an unread octet would have the kernel reset the connection, and replies that have
/// not arrived would be lost.
pub(crate) async fn part(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.shutdown().await?;
    let mut scratch = [0; 1024];
    let _ = timeout(limits::LINGER, async {
        let mut left = limits::LINGER_OCTETS;
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
    })
    .await;
    Ok(())
}
