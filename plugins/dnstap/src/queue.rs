//! Frames between the threads that answer queries and the task that writes them.
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::{Spool, SpoolLimit};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Octets of memory for each message that may wait; long ones take the place of others.
const MESSAGE_OCTETS: usize = 1024;
/// How long frames gather before they are written: many share a call.
const GATHER: Duration = Duration::from_millis(50);
/// Memory that is kept between two turns.
const KEPT_OCTETS: usize = 1 << 20;

/// The queue of one tap.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    spool: Arc<Spool>,
    some: Arc<Notify>,
}

impl Queue {
    pub(crate) fn new(messages: usize) -> Self {
        let some = Arc::new(Notify::new());
        let wake = Arc::clone(&some);
        let limit = SpoolLimit {
            entries: messages,
            octets: messages.saturating_mul(MESSAGE_OCTETS),
        };
        Self {
            spool: Arc::new(Spool::new(limit, move || wake.notify_one())),
            some,
        }
    }

    /// Puts a frame down, or loses it when the queue is full. Does not wait.
    pub(crate) fn push(&self, frame: &[u8]) {
        self.spool.push(frame);
    }

    /// Takes all frames, and says how many there are.
    pub(crate) fn take(&self, batch: &mut Batch) {
        batch.frames.clear();
        if batch.frames.capacity() > KEPT_OCTETS {
            batch.frames = Vec::new();
        }
        batch.count = 0;
        let (frames, count) = (&mut batch.frames, &mut batch.count);
        self.spool.drain(&mut batch.spare, |octets, entries| {
            frames.extend_from_slice(octets);
            *count += entries as u64;
        });
    }
}

/// The writing end of a queue.
#[derive(Debug)]
pub(crate) struct Reader {
    queue: Queue,
    pub(crate) batch: Batch,
    /// When to take what has gathered; nothing while there is nothing.
    due: Option<Instant>,
}

impl Reader {
    pub(crate) fn new(queue: Queue) -> Self {
        Self {
            queue,
            batch: Batch::default(),
            due: None,
        }
    }

    /// Waits until there are frames, and a moment more for others. May be given up and called
    /// again: frames are called out once, so what was heard is remembered.
    pub(crate) async fn some(&mut self) {
        if self.due.is_none() {
            self.queue.some.notified().await;
            self.due = Some(Instant::now() + GATHER);
        }
        if let Some(due) = self.due {
            sleep_until(due).await;
        }
    }

    /// Takes what has gathered into [`Reader::batch`].
    pub(crate) fn take(&mut self) {
        self.due = None;
        self.queue.take(&mut self.batch);
    }

    /// Frames for which there was no room since this was asked last.
    pub(crate) fn take_lost(&self) -> u64 {
        self.queue.spool.take_lost()
    }
}

/// Frames that are taken from a queue together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) frames: Vec<u8>,
    pub(crate) count: u64,
    spare: Vec<u8>,
}
