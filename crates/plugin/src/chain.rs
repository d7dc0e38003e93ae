//! The chain driver: a loop down, a loop back, and a task only when somebody waits.
use std::fmt;
use std::sync::Arc;

use corten_wire::{Class, Opcode, Question, Rcode};
use tokio::time::timeout_at;

use crate::{Exchange, Flow, Interest, Phase, Plugin, Updates};

/// A server block's plugins in chain order.
pub struct Chain {
    links: Box<[Arc<dyn Plugin>]>,
    response_only: u64,
    any_class: u64,
    /// Links that see dynamic updates.
    updates: u64,
    serves_updates: bool,
    judges_clients: bool,
}

/// More links than a chain can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain has {0} plugins; {max} is the most", max = Chain::LINKS_MAX)]
pub struct TooLong(usize);

/// How far the synchronous run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Over: send the reply, or nothing after [`Flow::Drop`].
    Done(Flow),
    /// Hand the exchange to a task that calls [`Chain::resume`].
    Waits(u8, Phase),
}

/// The plugins below one plugin.
#[derive(Clone, Copy)]
pub struct Next<'a> {
    chain: &'a Arc<Chain>,
    at: u8,
}

impl Chain {
    /// Longest chain: one bit per link.
    pub const LINKS_MAX: usize = 64;

    /// How often plugins may ask for [`Flow::Again`] in one exchange.
    pub const ROUNDS_MAX: u8 = 16;

    /// Builds a chain of at most [`Self::LINKS_MAX`] links.
    pub fn new(links: Vec<Arc<dyn Plugin>>) -> Result<Arc<Self>, TooLong> {
        if links.len() > Self::LINKS_MAX {
            return Err(TooLong(links.len()));
        }
        let (mut response_only, mut any_class, mut updates) = (0, 0, 0);
        for (at, link) in links.iter().enumerate() {
            updates |= u64::from(link.updates() != Updates::Skip) << at;
            response_only |= u64::from(link.interest() == Interest::Response) << at;
            any_class |= u64::from(link.any_class()) << at;
        }
        let serves_updates = links.iter().any(|link| link.updates() == Updates::Serve);
        let judges_clients = links.iter().any(|link| link.judges_clients());
        Ok(Arc::new(Self {
            links: links.into(),
            response_only,
            any_class,
            updates,
            serves_updates,
            judges_clients,
        }))
    }

    /// Whether some link serves dynamic updates.
    pub fn serves_updates(&self) -> bool {
        self.serves_updates
    }

    /// Whether some link denies some clients what others get.
    pub fn judges_clients(&self) -> bool {
        self.judges_clients
    }

    /// The links, first to last.
    pub fn links(&self) -> &[Arc<dyn Plugin>] {
        &self.links
    }

    /// Runs `ex` as far as it goes without waiting.
    pub fn run(&self, ex: &mut Exchange) -> Progress {
        self.down(ex, 0, 0)
    }

    /// Goes on after [`Progress::Waits`].
    pub async fn resume(self: &Arc<Self>, ex: &mut Exchange, at: u8, phase: Phase) -> Flow {
        self.settle(ex, 0, Progress::Waits(at, phase)).await
    }

    /// Runs what plugins asked for with [`Exchange::after_send`].
    pub async fn afterwards(self: &Arc<Self>, ex: &mut Exchange) {
        // The client has its answer.
        ex.deadline = None;
        while ex.afterwards != 0 {
            let at = ex.afterwards.trailing_zeros() as u8;
            ex.afterwards &= ex.afterwards - 1;
            ex.cursor = at;
            let next = Next {
                chain: self,
                at: at + 1,
            };
            let _ = self.links[usize::from(at)]
                .wait(ex, next, Phase::Sent)
                .await;
        }
    }

    fn down(&self, ex: &mut Exchange, from: u8, floor: u8) -> Progress {
        match ex.spans.is_some() {
            true => self.down_recording(ex, from, floor),
            false => self.walk::<false>(ex, from, floor),
        }
    }

    #[cold]
    #[inline(never)]
    fn down_recording(&self, ex: &mut Exchange, from: u8, floor: u8) -> Progress {
        self.walk::<true>(ex, from, floor)
    }

    /// The way down; `SPANS` when somebody wants to know which links there were.
    #[inline(always)]
    fn walk<const SPANS: bool>(&self, ex: &mut Exchange, from: u8, floor: u8) -> Progress {
        let mut internet = ex.query.question.class == Class::IN;
        let below = match ex.query.opcode() {
            Opcode::UPDATE => self.updates | self.response_only,
            _ => u64::MAX,
        };
        let mut left = self.asked::<SPANS>(internet) & self.below(from) & below;
        while left != 0 {
            let at = left.trailing_zeros() as u8;
            left &= left - 1;
            ex.cursor = at;
            let link = &self.links[usize::from(at)];
            if SPANS {
                if let Some(spans) = &mut ex.spans {
                    spans.enter(at, link.name());
                }
                if self.response_only >> at & 1 == 1 {
                    continue;
                }
            }
            let flow = link.on_query(ex);
            if internet != (ex.query.question.class == Class::IN) {
                internet = !internet;
                left = self.asked::<SPANS>(internet) & self.below(at + 1) & below;
            }
            if flow == Flow::Pass {
                if SPANS {
                    done(ex, at);
                }
                continue;
            }
            if flow == Flow::Watch {
                ex.watchers |= 1 << at;
                // Links that only watch are where a recording begins; others need not look.
                if !SPANS && ex.spans.is_some() {
                    ex.watchers |= self.response_only & self.below(from) & ((1 << at) - 1);
                    return self.down_recording(ex, at + 1, floor);
                }
                continue;
            }
            ex.watchers |= self.response_only & self.below(from) & ((1 << at) - 1);
            return match flow {
                Flow::Wait => Progress::Waits(at, Phase::Query),
                end => self.turn(ex, at, floor, end),
            };
        }
        ex.watchers |= self.response_only & self.below(from);
        if !internet || ex.query.opcode() == Opcode::UPDATE {
            let _ = ex.answer(match internet {
                true => Rcode::NOTIMP,
                false => Rcode::REFUSED,
            });
            return self.back(ex, floor);
        }
        // CoreDNS's words (plugin.NextOrFailure): people match them with `errors { consolidate …
        // }`.
        let last = self.links.last();
        if let Some(rcode) = last.and_then(|link| link.unanswered(ex)) {
            let _ = ex.answer(rcode);
            return self.back(ex, floor);
        }
        let last = last.map_or("server", |link| link.name());
        let _ = ex.fail(
            Rcode::SERVFAIL,
            format!("plugin/{last}: no next plugin found"),
        );
        self.back(ex, floor)
    }

    /// The links that are asked on the way down, one bit each; with `SPANS` those as well that
    /// only see the reply.
    fn asked<const SPANS: bool>(&self, internet: bool) -> u64 {
        let class = if internet { u64::MAX } else { self.any_class };
        match SPANS {
            true => class | self.response_only,
            false => class & !self.response_only,
        }
    }

    /// The links from `from` on, one bit each.
    fn below(&self, from: u8) -> u64 {
        let all = u64::MAX
            .checked_shr(64 - self.links.len() as u32)
            .unwrap_or(0);
        all & u64::MAX.checked_shl(u32::from(from)).unwrap_or(0)
    }

    /// Ends the way down at `at`.
    fn turn(&self, ex: &mut Exchange, at: u8, floor: u8, end: Flow) -> Progress {
        ex.answered_by.get_or_insert(at);
        done(ex, at);
        match end {
            Flow::Drop => ex.dropped = true,
            Flow::Respond if ex.reply.is_started() => ex.dropped = false,
            _ => {
                let name = self.links[usize::from(at)].name();
                let _ = ex.fail(
                    Rcode::SERVFAIL,
                    format!("plugin/{name}: {end:?} without a reply"),
                );
            }
        }
        self.back(ex, floor)
    }

    fn back(&self, ex: &mut Exchange, floor: u8) -> Progress {
        while ex.watchers.checked_shr(u32::from(floor)).unwrap_or(0) != 0 {
            let at = ex.watchers.ilog2() as u8;
            ex.watchers &= !(1 << at);
            ex.cursor = at;
            let flow = self.links[usize::from(at)].on_response(ex);
            if !matches!(flow, Flow::Wait | Flow::Again) {
                done(ex, at);
            }
            match flow {
                Flow::Wait => return Progress::Waits(at, Phase::Response),
                Flow::Again if ex.rounds < Self::ROUNDS_MAX => return self.again(ex, at, floor),
                Flow::Again => {
                    done(ex, at);
                    let name = self.links[usize::from(at)].name();
                    let _ = ex.fail(
                        Rcode::SERVFAIL,
                        format!("plugin/{name}: asks again without end"),
                    );
                }
                Flow::Drop => ex.dropped = true,
                Flow::Respond | Flow::Pass | Flow::Watch => (),
            }
        }
        Progress::Done(if ex.dropped {
            Flow::Drop
        } else {
            Flow::Respond
        })
    }

    fn again(&self, ex: &mut Exchange, at: u8, floor: u8) -> Progress {
        ex.rounds += 1;
        ex.forget_below(at);
        ex.watchers |= 1 << at;
        self.down(ex, at + 1, floor)
    }

    /// Gives up a link that waited too long. Links above it get the failure as they would any other.
    fn expire(&self, ex: &mut Exchange, at: u8, phase: Phase, floor: u8) -> Progress {
        ex.cursor = at;
        if phase == Phase::Query {
            ex.forget_below(at);
        }
        let name = self.links[usize::from(at)].name();
        let flow = ex.fail(
            Rcode::SERVFAIL,
            format!("plugin/{name}: context deadline exceeded"),
        );
        match phase {
            Phase::Query => self.turn(ex, at, floor, flow),
            Phase::Response | Phase::Sent => {
                done(ex, at);
                self.back(ex, floor)
            }
        }
    }

    async fn settle(self: &Arc<Self>, ex: &mut Exchange, floor: u8, mut step: Progress) -> Flow {
        loop {
            let (at, phase) = match step {
                Progress::Done(end) => return end,
                Progress::Waits(at, phase) => (at, phase),
            };
            ex.cursor = at;
            let next = Next {
                chain: self,
                at: at + 1,
            };
            let link = &self.links[usize::from(at)];
            let flow = match ex.deadline {
                None => link.wait(ex, next, phase).await,
                Some(deadline) => {
                    // Whoever is given up cannot put a changed question back.
                    let question = ex.query.question.clone();
                    let wait = link.wait(ex, next, phase);
                    let Ok(flow) = timeout_at(deadline.into(), wait).await else {
                        ex.query.question = question;
                        step = self.expire(ex, at, phase, floor);
                        continue;
                    };
                    flow
                }
            };
            step = match (phase, flow) {
                (Phase::Query, Flow::Pass) => {
                    done(ex, at);
                    self.down(ex, at + 1, floor)
                }
                (Phase::Query, Flow::Watch) => {
                    ex.watchers |= 1 << at;
                    self.down(ex, at + 1, floor)
                }
                (Phase::Response, Flow::Again) if ex.rounds < Self::ROUNDS_MAX => {
                    self.again(ex, at, floor)
                }
                (Phase::Response, end) => {
                    ex.dropped |= end == Flow::Drop;
                    done(ex, at);
                    self.back(ex, floor)
                }
                (Phase::Query | Phase::Sent, end) => self.turn(ex, at, floor, end),
            };
        }
    }
}

/// The link at `at` has no more to do with this query.
#[inline]
fn done(ex: &mut Exchange, at: u8) {
    if let Some(spans) = &mut ex.spans {
        spans.leave(at);
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.links.iter().map(|link| link.name()))
            .finish()
    }
}

impl<'a> Next<'a> {
    /// Runs the plugins below on the same exchange, their way back included.
    pub async fn run(self, ex: &mut Exchange) -> Flow {
        let mut run = Below {
            cursor: ex.cursor,
            finished: false,
            ex,
        };
        let first = self.chain.down(run.ex, self.at, self.at);
        // Boxed, because a plugin's `wait` may run a chain that runs its `wait` again.
        let end = Box::pin(self.chain.settle(run.ex, self.at, first)).await;
        run.finished = true;
        end
    }

    /// Asks the plugins below another question, in the name of `like`'s client.
    pub async fn ask(self, question: &Question, like: &Exchange) -> Exchange {
        let mut ex = Exchange::another(question, like);
        let _ = self.run(&mut ex).await;
        like.learn_from(&ex);
        ex
    }

    /// A handle that may outlive the exchange, for work in the background.
    pub fn detach(self) -> Detached {
        Detached {
            chain: Arc::clone(self.chain),
            at: self.at,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Next({} of {:?})", self.at, self.chain)
    }
}

/// The plugins below one plugin, owned; keeps its generation of the configuration alive.
#[derive(Debug)]
pub struct Detached {
    chain: Arc<Chain>,
    at: u8,
}

impl Detached {
    /// Asks a question in the name of `like`'s client.
    ///
    /// No client waits for this: `like`'s deadline does not hold.
    pub async fn ask(&self, question: &Question, like: &Exchange) -> Exchange {
        let mut ex = Exchange::another(question, like);
        ex.deadline = None;
        let next = Next {
            chain: &self.chain,
            at: self.at,
        };
        let _ = next.run(&mut ex).await;
        ex
    }
}

/// Gives the exchange back as its owner left it, also when the run below is abandoned (a timeout
/// drops the future).
struct Below<'a> {
    ex: &'a mut Exchange,
    cursor: u8,
    finished: bool,
}

impl Drop for Below<'_> {
    fn drop(&mut self) {
        self.ex.cursor = self.cursor;
        if !self.finished {
            self.ex.forget_below(self.cursor);
        }
    }
}
