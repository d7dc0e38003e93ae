//! What happens to a message at the very last, and who signed the query.
use std::fmt;
use std::sync::Arc;

use corten_wire::Name;
use corten_wire::finish::Carrier;

use crate::Exchange;

/// Puts something behind a message that is otherwise as it leaves: a signature (RFC 8945).
pub trait Seal: Send + Sync {
    /// Octets that [`Seal::seal`] appends, at most.
    fn room(&self) -> usize;

    /// Completes the message that begins at `start`; its counts, too. Called for one message after
    /// the other when the answer has several.
    fn seal(&mut self, out: &mut Vec<u8>, start: usize);
}

/// Who signed a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name of the key.
    pub key: Name,
    /// Tells keys apart that have one name and different secrets: blocks have their own. Means nothing
    /// outside of the process.
    pub mark: u64,
}

impl Signer {
    /// Whether it was this key, and not another block's of that name.
    pub fn is(&self, key: &Name, mark: u64) -> bool {
        self.key == *key && self.mark == mark
    }
}

/// Both of one exchange.
#[derive(Default)]
pub(crate) struct Seals {
    seal: Option<Box<dyn Seal>>,
    signer: Option<Arc<Signer>>,
}

impl Seals {
    pub(crate) fn clear(&mut self) {
        self.seal = None;
        self.signer = None;
    }

    /// For a question in the name of the same client, whose answer stays here.
    pub(crate) fn inherited(&self) -> Self {
        Self {
            seal: None,
            signer: self.signer.clone(),
        }
    }
}

impl Exchange {
    /// Has every message that answers this query completed by `seal`, whatever becomes of it.
    pub fn seal_with(&mut self, seal: Box<dyn Seal>) {
        self.seals.seal = Some(seal);
    }

    /// Notes who signed the query: the signature has been verified.
    pub fn set_signer(&mut self, signer: Arc<Signer>) {
        self.seals.signer = Some(signer);
    }

    /// Whose signature the query has. Questions that plugins ask in a client's name have the
    /// client's.
    pub fn signer(&self) -> Option<&Arc<Signer>> {
        self.seals.signer.as_ref()
    }

    /// For the server: puts the exchange's seals aside while it is made whole again after a panic.
    pub fn recycle_sealed(&mut self) {
        let seals = std::mem::take(&mut self.seals);
        self.recycle();
        self.seals = seals;
    }

    /// For the server: appends the reply to `out` as it leaves, sealed where somebody asked for it.
    #[inline]
    pub fn finish(&mut self, carrier: Carrier, out: &mut Vec<u8>) {
        match self.seals.seal.is_some() {
            false => self.reply.finish(&self.query, carrier, out),
            true => self.finish_sealed(carrier, out),
        }
    }

    #[cold]
    #[inline(never)]
    fn finish_sealed(&mut self, carrier: Carrier, out: &mut Vec<u8>) {
        let Some(seal) = &mut self.seals.seal else {
            return;
        };
        let start = out.len();
        self.reply
            .finish_leaving(&self.query, carrier, seal.room(), out);
        seal.seal(out, start);
    }

    /// Octets of a seal, at most.
    pub(crate) fn seal_room(&self) -> usize {
        self.seals.seal.as_ref().map_or(0, |seal| seal.room())
    }

    pub(crate) fn seal_message(&mut self, message: &mut Vec<u8>) {
        if let Some(seal) = &mut self.seals.seal {
            seal.seal(message, 0);
        }
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seals")
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}
