//! Answers that the process owes, whatever a server block's rules say.
use std::fmt;
use std::sync::{Arc, OnceLock};

use corten_wire::{Class, Opcode, Query, Question, RecordType};

/// Names that are answered by a link of every block ([`crate::Setup::push_everywhere`]), such as
/// those of ACME challenges: a CA may ask from anywhere, and must get the answer of this moment.
///
/// A service of the process. Links above that one ask it: rules about clients excuse the query
/// ([`crate::Exchange::excused`]), rewriting leaves the name alone, and nothing is remembered.
#[derive(Default)]
pub struct Owed(OnceLock<Arc<dyn OwedNames>>);

/// Knows which names those are.
pub trait OwedNames: Send + Sync {
    /// Whether a question is about one of them. Must not block.
    fn is_owed(&self, question: &Question) -> bool;
}

impl Owed {
    /// Sets who knows; the first call counts.
    pub fn set(&self, names: Arc<dyn OwedNames>) {
        let _ = self.0.set(names);
    }

    /// Whether an answer is owed to whoever asks this. All such names begin with an underscore, or
    /// have TXT records alone, so that other questions cost next to nothing.
    pub fn covers(&self, question: &Question) -> bool {
        let may_be =
            question.name.wire().get(1) == Some(&b'_') || question.rtype == RecordType::TXT;
        may_be && self.0.get().is_some_and(|names| names.is_owed(question))
    }

    /// The same for what is asked: an update of such a name, or another class, is nobody's due.
    pub fn excuses(&self, query: &Query) -> bool {
        let question = &query.question;
        query.opcode() == Opcode::QUERY && question.class == Class::IN && self.covers(question)
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owed")
            .field(&self.0.get().is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_wire::Updates;

    struct Everything;

    impl OwedNames for Everything {
        fn is_owed(&self, question: &Question) -> bool {
            question.name != "www.a.example".parse().unwrap()
        }
    }

    #[test]
    fn only_questions_of_the_internet_class_are_excused() {
        let owed = Owed::default();
        let asks = |name: &str, rtype, class, opcode: u8| {
            let question = Question {
                name: name.parse().unwrap(),
                rtype,
                class,
            };
            let mut message = Query::ask(7, &question).octets().to_vec();
            message[2] = message[2] & 0x87 | opcode << 3;
            let mut query = Query::new();
            let _ = query.read_also(&message, Updates::Served);
            assert_eq!(query.question.class, class);
            owed.excuses(&query)
        };
        let excuses = |name: &str, class, opcode| asks(name, RecordType::TXT, class, opcode);
        let name = "_acme-challenge.a.example";
        assert!(!excuses(name, Class::IN, 0), "nobody knows");
        owed.set(Arc::new(Everything));
        assert!(excuses(name, Class::IN, 0));
        assert!(!excuses("www.a.example", Class::IN, 0));
        assert!(!excuses(name, Class::CH, 0));
        assert!(!excuses(name, Class::IN, 5), "an update");
        // Names without an underscore have no records but TXT that are owed.
        assert!(excuses("end.a.example", Class::IN, 0));
        assert!(!asks("end.a.example", RecordType::A, Class::IN, 0));
        assert!(asks(name, RecordType::A, Class::IN, 0));
    }
}
