//! Questions that a plugin asks the server itself, such as the target of a CNAME.
//!
//! [`crate::Next::ask`] reaches the plugins below one plugin; here the whole server answers, as if the
//! same client had asked on the same listener: blocks, views and all their plugins.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use async_trait::async_trait;
use corten_wire::{Question, Rcode};

use crate::Exchange;

/// Lookups that one query may lead to, one inside the other or one after the other.
pub const LOOKUPS_MAX: u8 = 16;

/// What answers a question on one listener; the server's part.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Finds the block for the exchange's question and runs its chain; leaves a reply in any case.
    async fn resolve(&self, ex: &mut Exchange);
}

/// Lookups that have led to this exchange, and how many there may still be; made with the first.
#[derive(Clone)]
pub(crate) struct Lookups {
    /// Questions that wait for this exchange's answer.
    waiting: Vec<Question>,
    /// Of all exchanges that the client's query has led to.
    left: Arc<AtomicU8>,
}

/// Why a lookup was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The same question waits for this answer.
    #[error("the lookup leads back to itself")]
    Loop,
    /// [`LOOKUPS_MAX`] have been made.
    #[error("the query leads to more than {LOOKUPS_MAX} lookups")]
    TooMany,
    /// The exchange is on no listener, or has not waited yet.
    #[error("there is no server to ask")]
    NoServer,
}

impl Exchange {
    /// For the server: where the lookups of an exchange that waits go.
    pub fn set_resolver(&mut self, server: Arc<dyn Resolve>) {
        self.resolver = Some(server);
    }

    /// Has the server answer another question in the name of this exchange's client. For
    /// [`crate::Plugin::wait`].
    ///
    /// # Errors
    /// When the question leads back to itself, or the query has led to too many.
    pub async fn resolve(&self, question: &Question) -> Result<Self, LookupError> {
        let server = self.resolver.clone().ok_or(LookupError::NoServer)?;
        let lookups = self.lookups.get_or_init(|| {
            Box::new(Lookups {
                waiting: Vec::new(),
                left: Arc::new(AtomicU8::new(LOOKUPS_MAX)),
            })
        });
        if *question == self.query.question || lookups.waiting.contains(question) {
            return Err(LookupError::Loop);
        }
        let less = |left: u8| left.checked_sub(1);
        if lookups.left.fetch_update(Relaxed, Relaxed, less).is_err() {
            return Err(LookupError::TooMany);
        }
        let mut inner = lookups.clone();
        inner.waiting.push(self.query.question.clone());
        let mut ex = Self::another(question, self);
        ex.lookups = inner.into();
        // What was collected belongs to the block of the first question.
        ex.forget_metadata();
        server.resolve(&mut ex).await;
        self.learn_from(&ex);
        if ex.is_dropped() {
            let _ = ex.answer(Rcode::SERVFAIL);
        }
        Ok(ex)
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lookups({:?}, {:?} left)", self.waiting, self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_wire::{Class, RecordType};
    use std::sync::atomic::AtomicUsize;

    /// Asks on and on: the name below the one it is asked for, or the one named.
    struct Endless(AtomicUsize, Option<&'static str>);

    fn question(text: &str) -> Question {
        Question {
            name: text.parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        }
    }

    #[async_trait]
    impl Resolve for Endless {
        async fn resolve(&self, ex: &mut Exchange) {
            self.0.fetch_add(1, Relaxed);
            let next = match self.1 {
                Some(name) => question(name),
                None => question(&format!("x.{}", ex.query.question.name)),
            };
            let _ = ex.resolve(&next).await;
            let _ = ex.answer(Rcode::NOERROR);
        }
    }

    /// Answers everything, as a block does that has rules about clients.
    struct Judge;

    #[async_trait]
    impl Resolve for Judge {
        async fn resolve(&self, ex: &mut Exchange) {
            let _ = ex.answer(Rcode::NOERROR);
            ex.set_personal();
        }
    }

    #[tokio::test]
    async fn what_is_made_of_a_personal_answer_is_personal() {
        let mut ex = Exchange::new();
        ex.query.question = question("a.example");
        ex.set_resolver(Arc::new(Judge));
        assert!(!ex.is_personal());
        ex.resolve(&question("b.example")).await.unwrap();
        assert!(ex.is_personal());
        ex.recycle();
        assert!(!ex.is_personal());
    }

    #[tokio::test]
    async fn lookups_end() {
        for (next, count) in [
            (None, usize::from(LOOKUPS_MAX)),
            (Some("b.example"), 1),
            (Some("a.example"), 1),
        ] {
            let server = Arc::new(Endless(AtomicUsize::new(0), next));
            let mut ex = Exchange::new();
            ex.query.question = question("a.example");
            ex.set_resolver(Arc::clone(&server) as Arc<dyn Resolve>);
            let reply = ex.resolve(&question("b.example")).await.unwrap();
            assert_eq!(reply.reply.rcode, Rcode::NOERROR);
            assert_eq!(server.0.load(Relaxed), count, "{next:?}");
        }
        let ex = Exchange::new();
        let error = ex.resolve(&question("a.example")).await.unwrap_err();
        assert_eq!(error, LookupError::NoServer);
    }
}
