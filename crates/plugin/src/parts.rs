//! Several messages to one query (RFC 5936 section 2.2).
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Exchange, Flow};
use corten_wire::Rcode;

/// Where the messages of one answer go; the transport's part.
#[async_trait]
pub trait PartSink: Send + Sync {
    /// Hands a whole message over, and waits while the client takes no more: what is under way is
    /// bounded.
    async fn send(&self, message: Vec<u8>) -> Result<(), Gone>;
}

/// The client is no longer there, or takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

impl Exchange {
    /// For the transport: where answers of several messages go.
    pub fn set_parts(&mut self, parts: Arc<dyn PartSink>) {
        self.parts = Some(parts);
    }

    /// Whether the transport carries several messages for one query. Known in
    /// [`crate::Plugin::wait`] only.
    pub fn takes_parts(&self) -> bool {
        self.parts.is_some()
    }

    /// Octets of a part, at most: there is room for the seal.
    pub fn part_octets_max(&self) -> usize {
        usize::from(u16::MAX) - self.seal_room()
    }

    /// Sends one message of several, which is made like a reply of the server: header, question,
    /// records. It is sealed here, and nothing else is done to it.
    ///
    /// # Errors
    /// When the client has gone, or the transport carries no more than one message.
    pub async fn send_part(&mut self, mut message: Vec<u8>) -> Result<(), Gone> {
        let parts = self.parts.clone().ok_or(Gone)?;
        self.seal_message(&mut message);
        self.sent_octets += message.len();
        parts.send(message).await
    }

    /// Ends an answer of several messages: nothing more is sent. Plugins that look at replies see an
    /// empty one with this RCODE.
    pub fn end_parts(&mut self, rcode: Rcode) -> Flow {
        let flow = self.answer(rcode);
        self.reply.authoritative = true;
        self.sent = true;
        flow
    }

    /// Octets of the reply without compression, which is how CoreDNS counts them, or of all messages of
    /// an answer that was sent in parts.
    pub fn reply_octets(&self) -> usize {
        match self.sent {
            true => self.sent_octets,
            false => self.reply.uncompressed_length(),
        }
    }

    /// Whether the whole answer has been sent in parts.
    pub fn is_sent(&self) -> bool {
        self.sent
    }
}
