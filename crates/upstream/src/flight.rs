//! Queries in flight on one socket or connection, found by id.
//!
//! Whoever asks enters a query and waits for its [`Ticket`]; the socket's task delivers what
//! arrives and lets time run out. All of a socket's users are on one thread, so the lock is free.
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use corten_wire::same_question;
use foldhash::fast::RandomState;
use tokio::time::{Instant, sleep_until};

use crate::error::Phase;

/// Messages that answer nothing before the socket is given up: an attacker's flood must not cost
/// more than the answers are worth.
pub(crate) const STRAYS_MAX: u32 = 4096;
/// Longest time between two looks at the clock while nothing is in flight.
const TICK: Duration = Duration::from_secs(1);
/// Shortest time between two looks at the clock: how exact timeouts are.
const TICK_MIN: Duration = Duration::from_millis(5);

/// A socket or connection that carries queries.
pub(crate) trait Carrier {
    /// What is in flight on it.
    fn flight(&self) -> &Flight;
}

/// What a socket or connection may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Queries during its life.
    pub(crate) queries: u32,
    /// How long it is kept without one.
    pub(crate) idle: Duration,
    /// How long new queries may use it.
    pub(crate) age: Duration,
}

/// Why a query got no reply.
#[derive(Clone, Debug)]
pub(crate) enum Loss {
    /// Its time is over.
    Timeout,
    /// The socket or connection broke.
    Broken(Phase, io::ErrorKind, Arc<str>),
    /// The reply came, and answers another question.
    OtherQuestion,
    /// So much arrived that answers nothing that the socket was given up.
    Flood,
}

/// Why a query did not enter.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The socket takes no more.
    Full,
    /// The query could not be sent.
    Send(io::Error),
}

/// The queries in flight.
pub(crate) struct Flight(Mutex<Inner>);

pub(crate) struct Inner {
    waiting: HashMap<u16, Waiting, RandomState>,
    limits: Limits,
    /// No query enters any more; over once the last one has left.
    retired: bool,
    entered: u32,
    delivered: u32,
    strays: u32,
    opened: Instant,
    /// When the last query entered or something was heard.
    used: Instant,
    /// When something was heard, or the first of those in flight entered.
    heard: Instant,
    /// When the task looks at the clock next.
    alarm: Instant,
    task: Option<Waker>,
    /// Framed queries that a stream's task has yet to write.
    output: Vec<u8>,
}

struct Waiting {
    /// The query, then its reply.
    message: Vec<u8>,
    fate: Fate,
    until: Instant,
    /// Replies that the carrier had delivered when the query entered.
    before: u32,
    waker: Option<Waker>,
}

enum Fate {
    Open,
    Answered,
    Lost(Loss),
}

impl Flight {
    pub(crate) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self(Mutex::new(Inner {
            waiting: HashMap::default(),
            limits,
            retired: false,
            entered: 0,
            delivered: 0,
            strays: 0,
            opened: now,
            used: now,
            heard: now,
            alarm: now + TICK,
            task: None,
            output: Vec::new(),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when no query can come or is waited for; until then lets time run out.
    pub(crate) async fn until_over(&self) {
        let first = self.lock().alarm;
        let mut alarm = pin!(sleep_until(first));
        poll_fn(|context| {
            loop {
                let wanted = {
                    let mut inner = self.lock();
                    inner.register(context);
                    if inner.is_over() {
                        return Poll::Ready(());
                    }
                    inner.alarm
                };
                if wanted < alarm.deadline() {
                    alarm.as_mut().reset(wanted);
                }
                std::task::ready!(alarm.as_mut().poll(context));
                let next = self.lock().sweep(Instant::now());
                alarm.as_mut().reset(next);
            }
        })
        .await;
    }

    /// Takes no more queries; those in flight go on.
    pub(crate) fn retire(&self) {
        let mut inner = self.lock();
        inner.retired = true;
        inner.wake_task();
    }

    /// Ends everything in flight.
    pub(crate) fn fail(&self, loss: &Loss) {
        self.lock().fail(loss);
    }
}

impl Inner {
    /// Enters a query under a random id and has `send` send it; returns the id.
    ///
    /// `send` gets the message, and the output of a stream's task.
    pub(crate) fn enter(
        &mut self,
        query: &[u8],
        now: Instant,
        until: Instant,
        send: impl FnOnce(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<u16, Refusal> {
        if !self.retired
            && (self.entered >= self.limits.queries
                || now.saturating_duration_since(self.opened) >= self.limits.age)
        {
            self.retired = true;
            self.wake_task();
        }
        if self.retired {
            return Err(Refusal::Full);
        }
        let mut id = rand::random::<u16>();
        while self.waiting.contains_key(&id) {
            id = rand::random();
        }
        let mut message = Vec::with_capacity(query.len().max(256));
        message.extend_from_slice(query);
        if let Some(place) = message.get_mut(..2) {
            place.copy_from_slice(&id.to_be_bytes());
        }
        send(&message, &mut self.output).map_err(Refusal::Send)?;
        self.entered += 1;
        self.used = now;
        if self.waiting.is_empty() {
            self.heard = now;
        }
        self.waiting.insert(
            id,
            Waiting {
                message,
                fate: Fate::Open,
                until,
                before: self.delivered,
                waker: None,
            },
        );
        // Usually the alarm is set for an older query, which is due earlier.
        if until < self.alarm {
            self.alarm = until;
            self.wake_task();
        }
        Ok(id)
    }

    /// Takes a message that has arrived; returns whether somebody waited for it.
    ///
    /// `certain`: it can only come from the server, so that nothing better will.
    pub(crate) fn deliver(&mut self, message: &[u8], certain: bool) -> bool {
        let found = message
            .first_chunk::<2>()
            .and_then(|id| self.waiting.get_mut(&u16::from_be_bytes(*id)))
            .filter(|waiting| matches!(waiting.fate, Fate::Open));
        let response = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
        let taken = match found {
            Some(waiting) if response && same_question(message, &waiting.message) => {
                waiting.message.clear();
                waiting.message.extend_from_slice(message);
                waiting.settle(Fate::Answered);
                true
            }
            Some(waiting) if certain => {
                waiting.settle(Fate::Lost(Loss::OtherQuestion));
                true
            }
            _ => false,
        };
        if taken {
            self.delivered += 1;
        } else {
            self.strays += 1;
            if self.strays >= STRAYS_MAX {
                self.fail(&Loss::Flood);
            }
        }
        taken
    }

    pub(crate) fn fail(&mut self, loss: &Loss) {
        self.retired = true;
        for waiting in self.waiting.values_mut() {
            if matches!(waiting.fate, Fate::Open) {
                waiting.settle(Fate::Lost(loss.clone()));
            }
        }
        self.wake_task();
    }

    /// Lets time run out; returns when to look again.
    fn sweep(&mut self, now: Instant) -> Instant {
        if self.waiting.is_empty() && now.saturating_duration_since(self.used) >= self.limits.idle {
            self.retired = true;
        }
        let mut next = now + TICK.min(self.limits.idle);
        for waiting in self.waiting.values_mut() {
            if !matches!(waiting.fate, Fate::Open) {
                continue;
            }
            if waiting.until <= now {
                // Nothing came all the time: others should not wait for it, too.
                self.retired |= waiting.before == self.delivered;
                waiting.settle(Fate::Lost(Loss::Timeout));
            } else {
                next = next.min(waiting.until);
            }
        }
        self.alarm = next.max(now + TICK_MIN);
        self.alarm
    }

    /// A connection is there: queries that waited for it have their whole time from now on.
    pub(crate) fn begin(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        for waiting in self.waiting.values_mut() {
            waiting.until = waiting.until.min(until);
        }
        self.heard(Instant::now());
        if until < self.alarm {
            self.alarm = until;
            self.wake_task();
        }
    }

    /// Swaps framed queries for an empty buffer; returns whether there were any.
    pub(crate) fn take_output(&mut self, empty: &mut Vec<u8>) -> bool {
        std::mem::swap(&mut self.output, empty);
        !empty.is_empty()
    }

    pub(crate) fn register(&mut self, context: &Context<'_>) {
        match &self.task {
            Some(waker) if waker.will_wake(context.waker()) => (),
            _ => self.task = Some(context.waker().clone()),
        }
    }

    pub(crate) fn wake_task(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    fn is_over(&self) -> bool {
        self.retired && self.waiting.is_empty()
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn entered(&self) -> u32 {
        self.entered
    }

    pub(crate) fn delivered(&self) -> u32 {
        self.delivered
    }

    /// Whether queries wait and nothing has been heard for some time.
    pub(crate) fn is_slow(&self, limit: Duration) -> bool {
        !self.waiting.is_empty() && self.heard.elapsed() > limit
    }

    /// Something has been heard of the server.
    pub(crate) fn heard(&mut self, now: Instant) {
        (self.used, self.heard) = (now, now);
    }

    fn leave(&mut self, id: u16) -> Option<Waiting> {
        let left = self.waiting.remove(&id);
        if self.is_over() {
            self.wake_task();
        }
        left
    }
}

impl Waiting {
    fn settle(&mut self, fate: Fate) {
        self.fate = fate;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A query in flight; resolves to the reply.
pub(crate) struct Ticket<C: Carrier> {
    pub(crate) carrier: Arc<C>,
    id: u16,
    /// Whether it was the carrier's first query.
    pub(crate) first: bool,
    left: bool,
}

impl<C: Carrier> Ticket<C> {
    pub(crate) fn new(carrier: Arc<C>, id: u16, first: bool) -> Self {
        Self {
            carrier,
            id,
            first,
            left: false,
        }
    }
}

impl<C: Carrier> Future for Ticket<C> {
    type Output = Result<Vec<u8>, Loss>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id;
        let left = {
            let mut inner = self.carrier.flight().lock();
            match inner.waiting.get_mut(&id) {
                Some(waiting) if matches!(waiting.fate, Fate::Open) => {
                    match &waiting.waker {
                        Some(waker) if waker.will_wake(context.waker()) => (),
                        _ => waiting.waker = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                }
                _ => inner.leave(id),
            }
        };
        self.left = true;
        Poll::Ready(match left {
            Some(Waiting {
                fate: Fate::Answered,
                message,
                ..
            }) => Ok(message),
            Some(Waiting {
                fate: Fate::Lost(loss),
                ..
            }) => Err(loss),
            _ => Err(Loss::Timeout),
        })
    }
}

impl<C: Carrier> Drop for Ticket<C> {
    fn drop(&mut self) {
        if !self.left {
            let _ = self.carrier.flight().lock().leave(self.id);
        }
    }
}

/// Fails what is in flight when its task goes, whatever the reason.
pub(crate) struct Attended<'a>(pub(crate) &'a Flight);

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.fail(&Loss::Broken(
            Phase::Read,
            io::ErrorKind::ConnectionAborted,
            "the socket was closed".into(),
        ));
    }
}
