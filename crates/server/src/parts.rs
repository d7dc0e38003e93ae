//! Messages of one answer on their way to a connection.
//!
//! Whoever makes them waits for room, which comes back when they are written: a client that reads
//! slowly costs time and no memory.
use std::sync::Arc;

use corten_plugin::{Gone, PartSink, async_trait};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::limits;

/// What an exchange that waits has to say to its connection.
pub(crate) enum Piece {
    /// One message of several; others follow.
    Part(Part),
    /// The end, with its length in front; empty where nothing is to be sent.
    Last(Vec<u8>),
}

/// One message of several.
pub(crate) struct Part {
    message: Vec<u8>,
    room: Room,
}

/// Room for one message; free again when it is dropped.
pub(crate) struct Room(
    #[allow(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);

impl Part {
    /// Appends the message with its length in front; its room is taken until `until` is cleared.
    pub(crate) fn write(self, output: &mut Vec<u8>, until: &mut Vec<Room>) {
        // No message is longer than 65,535 octets.
        output.extend_from_slice(&(self.message.len() as u16).to_be_bytes());
        output.extend_from_slice(&self.message);
        until.push(self.room);
    }
}

/// One exchange's way to its connection.
pub(crate) struct Sender {
    connection: mpsc::Sender<Piece>,
    room: Arc<Semaphore>,
}

impl Sender {
    pub(crate) fn new(connection: mpsc::Sender<Piece>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            room: Arc::new(Semaphore::new(limits::PARTS_MAX)),
        })
    }
}

#[async_trait]
impl PartSink for Sender {
    async fn send(&self, message: Vec<u8>) -> Result<(), Gone> {
        if message.len() > usize::from(u16::MAX) {
            return Err(Gone);
        }
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_owned() => room.map_err(|_| Gone)?,
            () = self.connection.closed() => return Err(Gone),
        };
        let part = Part {
            message,
            room: Room(room),
        };
        self.connection
            .send(Piece::Part(part))
            .await
            .map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_sends_waits_for_what_is_written() {
        let (connection, mut pieces) = mpsc::channel(8);
        let sender = Sender::new(connection);
        for _ in 0..limits::PARTS_MAX {
            sender.send(vec![1, 2, 3]).await.unwrap();
        }
        let more = sender.send(vec![4]);
        tokio::pin!(more);
        tokio::select! {
            biased;
            _ = &mut more => panic!("there is no room"),
            () = tokio::task::yield_now() => (),
        }
        let (mut output, mut until) = (Vec::new(), Vec::new());
        let Some(Piece::Part(part)) = pieces.recv().await else {
            panic!("no part");
        };
        part.write(&mut output, &mut until);
        assert_eq!(output, [0, 3, 1, 2, 3]);
        tokio::select! {
            biased;
            _ = &mut more => panic!("it stands in the output still"),
            () = tokio::task::yield_now() => (),
        }
        until.clear();
        assert_eq!(more.await, Ok(()));
        drop(pieces);
        assert_eq!(sender.send(vec![5]).await, Err(Gone));
    }
}
