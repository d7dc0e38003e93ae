//! One message in, one message out: gate, route, chain, reply.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use corten_plugin::{Chain, Exchange, Flow, Phase, Progress, Resolve, Transport};
use corten_wire::finish::{Carrier, header_only};
use corten_wire::{Gate, Opcode, Rcode, Updates};

use crate::generation::Table;
use crate::panics::{contain, contain_wait, mend};

/// What became of a message.
pub(crate) enum Outcome<'t> {
    /// The reply stands in the buffer; some plugin of the chain asks for a call behind it.
    Reply(Option<&'t Arc<Chain>>),
    /// Nothing is to be sent.
    Nothing,
    /// A plugin waits: the exchange goes into a task that calls [`go_on`].
    Waits(Waiting<'t>),
}

/// Where a waiting exchange goes on.
pub(crate) struct Waiting<'t> {
    pub(crate) chain: &'t Arc<Chain>,
    pub(crate) at: u8,
    pub(crate) phase: Phase,
}

/// Where a message came from and went to.
#[derive(Clone, Copy)]
pub(crate) struct Journey {
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) received: Instant,
}

/// What the transport carries.
pub(crate) const fn carrier(transport: Transport) -> Carrier {
    match transport {
        Transport::Udp => Carrier::Datagram,
        Transport::Tcp => Carrier::Stream,
        _ => Carrier::Encrypted,
    }
}

/// Answers one message as far as it goes without waiting; the reply is appended to `out`.
pub(crate) fn answer<'t>(
    ex: &mut Exchange,
    table: &'t Table,
    message: &[u8],
    journey: Journey,
    out: &mut Vec<u8>,
) -> Outcome<'t> {
    let gate = read(ex, table, message, journey);
    respond(ex, table, gate, out)
}

/// Reads a message into an exchange of its own.
pub(crate) fn read(ex: &mut Exchange, table: &Table, message: &[u8], journey: Journey) -> Gate {
    ex.recycle();
    (ex.client, ex.local, ex.transport, ex.received) = (
        journey.client,
        journey.local,
        journey.transport,
        journey.received,
    );
    ex.query.read_also(message, table.updates)
}

/// Answers what has been read.
pub(crate) fn respond<'t>(
    ex: &mut Exchange,
    table: &'t Table,
    gate: Gate,
    out: &mut Vec<u8>,
) -> Outcome<'t> {
    match gate {
        Gate::Pass => (),
        Gate::Ignore => return Outcome::Nothing,
        Gate::Header(rcode) => {
            header_only(&ex.query, rcode, out);
            return Outcome::Reply(None);
        }
        Gate::Whole(rcode) => {
            let _ = ex.answer(rcode);
            ex.finish(carrier(ex.transport), out);
            return Outcome::Reply(None);
        }
    }
    if !table.serves(ex.query.question.class) {
        return refuse(ex, table, Rcode::REFUSED, out);
    }
    ex.site = table.site;
    let Some(found) = contain(table.panics, &table.name, || table.find(ex)) else {
        mend(ex);
        return refuse(ex, table, Rcode::SERVFAIL, out);
    };
    let Some(chain) = (match found {
        Some(served) => served.chain.as_ref(),
        None => table.elsewhere.as_ref(),
    }) else {
        return refuse(ex, table, Rcode::REFUSED, out);
    };
    if table.updates == Updates::Served
        && ex.query.opcode() == Opcode::UPDATE
        && !chain.serves_updates()
    {
        header_only(&ex.query, Rcode::NOTIMP, out);
        return Outcome::Reply(None);
    }
    match contain(table.panics, &table.name, || chain.run(ex)) {
        Some(Progress::Waits(at, phase)) => return Outcome::Waits(Waiting { chain, at, phase }),
        Some(Progress::Done(Flow::Drop)) => return Outcome::Nothing,
        Some(Progress::Done(_)) => (),
        None => {
            mend(ex);
            return refuse(ex, table, Rcode::SERVFAIL, out);
        }
    }
    // Where no block answers, nobody was asked: that is no failure of a chain.
    if found.is_none() && ex.answered_by().is_none() {
        return refuse(ex, table, Rcode::REFUSED, out);
    }
    ex.finish(carrier(ex.transport), out);
    Outcome::Reply(ex.has_afterwards().then_some(chain))
}

/// An answer of the server's own, for a query that no chain answers.
fn refuse<'t>(ex: &mut Exchange, table: &Table, rcode: Rcode, out: &mut Vec<u8>) -> Outcome<'t> {
    let _ = ex.answer(rcode);
    tell_refusal(ex, table);
    ex.finish(carrier(ex.transport), out);
    Outcome::Reply(None)
}

fn tell_refusal(ex: &mut Exchange, table: &Table) {
    // Blocks that were asked and did not want it have left their mark.
    ex.site = table.site;
    if let Some(refusals) = &table.refusals {
        refusals.refused(ex);
    }
}

/// Goes on with an exchange that waits; returns whether there is a reply to [`finish`].
pub(crate) async fn go_on(
    ex: &mut Exchange,
    table: &Arc<Table>,
    chain: &Arc<Chain>,
    at: u8,
    phase: Phase,
) -> bool {
    ex.set_resolver(Arc::clone(table) as Arc<dyn Resolve>);
    match contain_wait(table.panics, &table.name, chain.resume(ex, at, phase)).await {
        Some(Flow::Drop) => return false,
        // Where no block answers, nobody was asked.
        Some(_) if ex.answered_by().is_none() && table.is_elsewhere(chain) => {
            let _ = ex.answer(Rcode::REFUSED);
            tell_refusal(ex, table);
        }
        Some(_) => (),
        None => {
            mend(ex);
            tell_refusal(ex, table);
        }
    }
    !ex.is_sent()
}

/// Appends the reply to `out`.
pub(crate) fn finish(ex: &mut Exchange, out: &mut Vec<u8>) {
    ex.finish(carrier(ex.transport), out);
}

/// Runs what plugins asked for behind the reply.
pub(crate) async fn finish_afterwards(ex: &mut Exchange, table: &Table, chain: &Arc<Chain>) {
    let _ = contain_wait(table.panics, &table.name, chain.afterwards(ex)).await;
}
