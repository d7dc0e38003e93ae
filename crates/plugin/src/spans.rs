//! Which plugins worked on a query, and when: what *trace* tells a collector.
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::Exchange;

/// Spans kept of one query; a query that is asked again and again has no more.
const SPANS_MAX: usize = 256;

/// A stretch of work on a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The plugin's name, or what it calls a part of its work.
    pub name: Cow<'static, str>,
    /// The span around this one, as an index; nothing if that is the query's own.
    pub parent: Option<usize>,
    /// When it began.
    pub started: Instant,
    /// When it was over.
    pub ended: Instant,
    /// What else there is to tell.
    pub tags: Vec<(&'static str, String)>,
}

/// The spans of one query, below the query's own.
///
/// While an exchange has this the chain notes each plugin: from the call of `on_query` until the
/// plugin is done with the query, which is the end of its way back if it sees the reply.
#[derive(Debug)]
pub struct Spans {
    /// When the query's own span began.
    pub started: Instant,
    /// Behind a lock, because a plugin may tell of its work where it has the exchange for reading
    /// only; nobody else is there.
    list: Mutex<Vec<Span>>,
    /// Plugins that are not done: place in the chain, index of the span.
    open: Vec<(u8, usize)>,
}

impl Spans {
    /// None yet; the query's own span begins now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            list: Mutex::new(Vec::with_capacity(16)),
            open: Vec::with_capacity(16),
        }
    }

    /// Every span, in the order of their beginnings.
    pub fn into_list(self) -> Vec<Span> {
        self.list
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a part of the work of the plugin that is at it now.
    pub fn add(&self, mut span: Span) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() < SPANS_MAX {
            span.parent = self.open.last().map(|(_, index)| *index);
            list.push(span);
        }
    }

    pub(crate) fn enter(&mut self, at: u8, name: &'static str) {
        let now = Instant::now();
        let list = self.list.get_mut().unwrap_or_else(PoisonError::into_inner);
        if list.len() < SPANS_MAX {
            list.push(Span {
                name: Cow::Borrowed(name),
                parent: self.open.last().map(|(_, index)| *index),
                started: now,
                ended: now,
                tags: Vec::new(),
            });
            self.open.push((at, list.len() - 1));
        }
    }

    /// The plugin at this place is done, and so are those below it.
    pub(crate) fn leave(&mut self, at: u8) {
        if self.open.last().is_some_and(|(open, _)| *open >= at) {
            let now = Instant::now();
            self.close(now, |open| open >= at);
        }
    }

    /// The plugins below this place are done.
    pub(crate) fn leave_below(&mut self, at: u8) {
        self.close(Instant::now(), |open| open > at);
    }

    fn close(&mut self, now: Instant, done: impl Fn(u8) -> bool) {
        let list = self.list.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, index)) = self.open.pop_if(|(open, _)| done(*open)) {
            if let Some(span) = list.get_mut(index) {
                span.ended = now;
            }
        }
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// From now on the chain notes each plugin that works on this query. The plugin that begins it
    /// returns [`crate::Flow::Watch`].
    pub fn record_spans(&mut self) {
        self.spans = Some(Box::default());
    }

    /// The spans so far, for those who have something to add; nothing when nobody records.
    pub fn spans(&self) -> Option<&Spans> {
        self.spans.as_deref()
    }

    /// Ends the recording.
    pub fn take_spans(&mut self) -> Option<Spans> {
        self.spans.take().map(|spans| *spans)
    }
}
