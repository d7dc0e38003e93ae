//! A panic costs one reply, not the process; what it said is kept for the log.
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use corten_metrics::registry;
use corten_plugin::Exchange;
use corten_wire::Updates;

thread_local! {
    static LAST: RefCell<Option<Story>> = const { RefCell::new(None) };
    /// Whether what runs on this thread now is contained.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What a panic said, where, and how it came there.
struct Story {
    what: String,
    stack: Backtrace,
}

/// Keeps what a panic says for the line that [`caught`] logs, instead of printing it.
///
/// A panic on a thread of which nobody asks is printed as always. To be called once, by the
/// program.
pub fn install_panic_hook() {
    let fallback = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        // While a thread ends its locals may be gone already.
        if !CONTAINED.try_with(Cell::get).unwrap_or(false) {
            return fallback(info);
        }
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = info
            .location()
            .map(|place| format!(", {place}"))
            .unwrap_or_default();
        let what = format!("{}{place}", text.unwrap_or("panic"));
        let story = Story {
            what,
            stack: Backtrace::force_capture(),
        };
        LAST.set(Some(story));
    }));
}

/// How panics are dealt with on a listener.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Some block asks for debugging: the process ends, so that the developer sees it.
    pub(crate) fatal: bool,
    /// The line carries the stack.
    pub(crate) stacktrace: bool,
}

/// Runs something that may panic; nothing when it did.
pub(crate) fn contain<T>(policy: Policy, name: &str, run: impl FnOnce() -> T) -> Option<T> {
    catch(run).inspect_err(|_| caught(policy, name)).ok()
}

fn catch<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    let before = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CONTAINED.set(before);
    result
}

/// The same for something that waits.
pub(crate) async fn contain_wait<T>(
    policy: Policy,
    name: &str,
    wait: impl Future<Output = T>,
) -> Option<T> {
    let mut wait = pin!(wait);
    std::future::poll_fn(|context| match catch(|| wait.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(end)) => Poll::Ready(Some(end)),
        Err(_) => {
            caught(policy, name);
            Poll::Ready(None)
        }
    })
    .await
}

/// Logs and counts a panic, with CoreDNS's words.
fn caught(policy: Policy, name: &str) {
    let story = LAST.take();
    let (what, stack) = story.map_or_else(
        || ("panic".to_owned(), None),
        |story| (story.what, Some(story.stack)),
    );
    registry()
        .counter(
            "coredns_panics_total",
            "A metrics that counts the number of panics.",
            &[],
        )
        .increment();
    match stack.filter(|_| policy.stacktrace || policy.fatal) {
        Some(stack) => {
            tracing::error!("Recovered from panic in server: \"{name}\" {what}\n{stack}")
        }
        None => tracing::error!("Recovered from panic in server: \"{name}\" {what}"),
    }
    if policy.fatal {
        tracing::error!("debug is on: the process ends with the panic");
        // The log's writer is another thread; a panic that nobody contains must not be lost with
        // it.
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::process::abort();
    }
}

/// Makes an exchange whole again after a panic, as far as the message allows.
pub(crate) fn mend(ex: &mut Exchange) {
    ex.query.remove_added_edns();
    let message = ex.query.octets().to_vec();
    ex.recycle_sealed();
    // It passed the gate before, so it does again; a question that a plugin changed is the client's
    // again.
    let _ = ex.query.read_also(&message, Updates::Served);
    let _ = ex.answer(corten_wire::Rcode::SERVFAIL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_result() {
        let policy = Policy::default();
        assert_eq!(contain(policy, "dns://:53", || 1), Some(1));
        assert_eq!(
            contain(policy, "dns://:53", || -> u8 { panic!("one") }),
            None
        );
        assert_eq!(
            contain_wait(policy, "dns://:53", async {
                tokio::task::yield_now().await;
                2
            })
            .await,
            Some(2)
        );
        let broken = async {
            tokio::task::yield_now().await;
            panic!("two")
        };
        assert_eq!(contain_wait::<u8>(policy, "dns://:53", broken).await, None);
    }
}
