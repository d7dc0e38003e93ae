//! Regular expressions that workers use without waiting for one another.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use regex::Regex;

/// Copies of an expression; more workers than this share some.
const COPIES: usize = 16;

/// A regular expression, one copy for each worker: the memory that a search needs belongs to the
/// copy, and whoever shares one waits for a lock.
pub(crate) struct Pattern {
    text: String,
    regex: Regex,
    copies: [OnceLock<Regex>; COPIES],
}

impl Pattern {
    /// Compiles RE2's syntax.
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        Ok(Self {
            text: text.to_owned(),
            regex: corten_expression::pattern(text)?,
            copies: [const { OnceLock::new() }; COPIES],
        })
    }

    /// As written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The calling thread's copy.
    pub(crate) fn regex(&self) -> &Regex {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static COPY: usize = NEXT.fetch_add(1, Relaxed) % COPIES);
        self.copies[COPY.with(|copy| *copy)].get_or_init(|| self.regex.clone())
    }
}
