//! Work that outlives the exchange it comes from, or has nothing to do with one.
use std::future::Future;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

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

/// The tasks of a plugin, which go on from its start until it is stopped.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<Vec<AbortHandle>>);

impl Tasks {
    /// Starts one more; for [`crate::Plugin::start`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.all().push(tokio::spawn(task).abort_handle());
    }

    /// Ends them, at the next point where they wait; for [`crate::Plugin::stop`].
    pub fn stop(&self) {
        self.all().drain(..).for_each(|task| task.abort());
    }

    fn all(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    async fn tasks_go_on_until_they_are_stopped() {
        let (tasks, (ends, mut ended)) = (Tasks::default(), tokio::sync::mpsc::channel::<()>(1));
        for _ in 0..2 {
            let ends = ends.clone();
            tasks.spawn(async move {
                std::future::pending::<()>().await;
                drop(ends);
            });
        }
        drop(ends);
        tokio::task::yield_now().await;
        assert!(ended.try_recv() == Err(tokio::sync::mpsc::error::TryRecvError::Empty));
        tasks.stop();
        assert_eq!(ended.recv().await, None);
    }

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
