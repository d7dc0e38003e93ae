//! Work that outlives the exchange it comes from, or has nothing to do with one.
use std::io;

use tokio::sync::oneshot;

use crate::Exchange;

/// How much less of a core background work gets than what answers queries, as `nice` counts.
const NICENESS: i32 = 10;

/// Does long work that no query waits for, such as reading a zone file, on a thread of its own that
/// makes room for those that answer queries when cores are short.
///
/// # Errors
/// There is no thread to be had, or the work panicked.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("corten-aside".to_owned())
        .spawn(move || {
            // It counts for this thread alone; where it is not granted the work is done all the same.
            let own = rustix::process::getpriority_process(None).unwrap_or_default();
            let _ = rustix::process::setpriority_process(None, own + NICENESS);
            // Whoever wanted the result may have gone.
            let _ = done.send(work());
        })?;
    result.await.map_err(io::Error::other)
}

impl Exchange {
    /// Another exchange of the same client with the same question, header and EDNS: for a task of
    /// its own that asks with [`crate::Detached`] while this one goes on.
    pub fn twin(&self) -> Self {
        Self::another(&self.query.question, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_aside() {
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let (name, niceness) =
            aside(move || (std::thread::current().name().map(str::to_owned), own()))
                .await
                .unwrap();
        assert_eq!(name.as_deref(), Some("corten-aside"));
        assert_eq!(niceness, (before + NICENESS).min(19));
        assert_eq!(own(), before, "this thread is as it was");
        assert!(aside(|| panic!("as it must")).await.is_err());
    }
}
