//! The one trait that a plugin implements.
use std::any::Any;

use async_trait::async_trait;
use corten_wire::Rcode;

use crate::{BoxError, Context, Exchange, Next};

/// What a plugin decided about an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Not for me: go on with the next plugin and skip me on the way back.
    Pass,
    /// Go on, and call my `on_response` on the way back.
    Watch,
    /// `ex.reply` is made; start the way back.
    Respond,
    /// From `on_response` only: forget the reply and run the links below me again (with the
    /// question I changed).
    Again,
    /// Send nothing.
    Drop,
    /// I must wait; call my `wait` from a task.
    Wait,
}

/// Which moment a call of [`Plugin::wait`] belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `on_query` returned [`Flow::Wait`].
    Query,
    /// `on_response` returned [`Flow::Wait`].
    Response,
    /// The reply has been sent; asked for with [`Exchange::after_send`].
    Sent,
}

/// Which calls a plugin wants; read once, when the chain is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// `on_query`, and `on_response` when it returned [`Flow::Watch`].
    Query,
    /// Every `on_response`, never `on_query`.
    Response,
    /// Neither: the plugin is started and stopped with its block, and queries do not pass it.
    Nothing,
}

/// What a plugin has to do with dynamic updates (RFC 2136); read once, when the chain is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updates {
    /// Nothing: its `on_query` is not called for them.
    Skip,
    /// It looks at them, as it does at queries.
    See,
    /// It serves them. Where no plugin of a block does they are answered with NOTIMP.
    Serve,
}

/// Why a plugin is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A newer generation of the configuration has taken over.
    Reload,
    /// The process is about to exit.
    Exit,
}

/// One link of a server block's chain.
///
/// | a plugin that | implements |
/// |---|---|
/// | answers from memory, refuses, routes | `on_query` |
/// | looks at or changes every reply | `interest` and `on_response` |
/// | changes the query and puts it back | `on_query` returning `Watch`, and `on_response` |
/// | waits | `on_query` returning `Wait`, and `wait` |
#[async_trait]
pub trait Plugin: Any + Send + Sync {
    /// The directive's name.
    fn name(&self) -> &'static str;

    /// Which of the two calls below this plugin wants.
    fn interest(&self) -> Interest {
        Interest::Query
    }

    /// Whether queries of classes other than IN are for this plugin, too. The others are skipped
    /// for them: their data is of class IN, and a record of another class would be another record.
    fn any_class(&self) -> bool {
        false
    }

    /// Whether messages of OPCODE UPDATE are for this plugin, too. They are no queries: what stands
    /// in them as the question is a zone.
    fn updates(&self) -> Updates {
        Updates::Skip
    }

    /// Whether it denies some clients what others get. What a block with such a link says to a question
    /// that another block asks in a client's name is for that client alone
    /// ([`Exchange::is_personal`]).
    fn judges_clients(&self) -> bool {
        false
    }

    /// Way down. Must not block, wait or do I/O.
    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let _ = ex;
        Flow::Pass
    }

    /// Way back, last plugin first, exactly once per exchange, also after a failure or a drop.
    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let _ = ex;
        Flow::Respond
    }

    /// Slow path, the only place where a plugin may `.await` in an exchange.
    async fn wait(&self, ex: &mut Exchange, next: Next<'_>, phase: Phase) -> Flow {
        let (_, _, _) = (ex, next, phase);
        Flow::Drop
    }

    /// Asked of a chain's last link when a query has passed all of them: the RCODE that the client
    /// gets, with no error for the log. Nothing for SERVFAIL and an error, as elsewhere.
    fn unanswered(&self, ex: &Exchange) -> Option<Rcode> {
        let _ = ex;
        None
    }

    /// Runs after every listener is bound and before the first query of this generation; the only
    /// place that may spawn. What it spawned must end in `stop`, which is also called when a later
    /// plugin fails to start.
    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let _ = context;
        Ok(())
    }

    /// Whether full service is possible.
    fn ready(&self) -> bool {
        true
    }

    /// The process is about to exit, and everything still answers; the server waits for all plugins
    /// at once before it closes listeners. Not called at a reload.
    async fn leave(&self) {}

    /// Runs after the last exchange of this generation is over, or its grace time.
    async fn stop(&self, why: Stop) {
        let _ = why;
    }
}
