//! Tests that mostly wait, several at a time: more of them than the machine has cores.
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, Once};

use libtest_mimic::{Arguments, Failed, Trial};

/// Tests at the same time.
const AT_ONCE: usize = 8;

type Body = Box<dyn Fn() -> Result<(), Failed> + Send + Sync>;

/// A test by its name.
pub(crate) struct Test {
    name: &'static str,
    body: Body,
}

/// A test for [`side_by_side`].
pub(crate) fn test(
    name: &'static str,
    body: impl Fn() -> Result<(), Failed> + Send + Sync + 'static,
) -> Test {
    let body = Box::new(body);
    Test { name, body }
}

struct Pool {
    tests: Vec<Test>,
    begun: Once,
    queue: Mutex<VecDeque<usize>>,
    results: Mutex<HashMap<usize, Result<(), Failed>>>,
    done: Condvar,
}

/// Trials that share a pool of threads: the first one that runs starts all that were asked for.
pub(crate) fn side_by_side(tests: Vec<Test>) -> Vec<Trial> {
    let names: Vec<_> = tests.iter().map(|test| test.name).collect();
    let pool = Arc::new(Pool {
        tests,
        begun: Once::new(),
        queue: Mutex::default(),
        results: Mutex::default(),
        done: Condvar::new(),
    });
    let trial = |(at, name): (usize, &'static str)| {
        let pool = Arc::clone(&pool);
        Trial::test(name, move || pool.result(at))
    };
    names.into_iter().enumerate().map(trial).collect()
}

impl Pool {
    fn result(self: &Arc<Self>, at: usize) -> Result<(), Failed> {
        self.begun.call_once(|| self.begin());
        let mut results = self.results.lock().unwrap();
        loop {
            if let Some(result) = results.remove(&at) {
                return result;
            }
            results = self.done.wait(results).unwrap();
        }
    }

    fn begin(self: &Arc<Self>) {
        let arguments = Arguments::from_args();
        let wanted = |name: &str| {
            let skipped = arguments.skip.iter().any(|skip| name.contains(skip));
            !skipped
                && arguments
                    .filter
                    .as_ref()
                    .is_none_or(|filter| name.contains(filter))
        };
        let all = self.tests.iter().enumerate();
        let asked = all.filter(|(_, test)| wanted(test.name));
        self.queue.lock().unwrap().extend(asked.map(|(at, _)| at));
        for _ in 0..AT_ONCE {
            let pool = Arc::clone(self);
            std::thread::spawn(move || pool.work());
        }
    }

    fn work(&self) {
        loop {
            let Some(at) = self.queue.lock().unwrap().pop_front() else {
                return;
            };
            let body = AssertUnwindSafe(|| (self.tests[at].body)());
            let result = catch_unwind(body).unwrap_or_else(|panic| Err(words(&*panic).into()));
            self.results.lock().unwrap().insert(at, result);
            self.done.notify_all();
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("test panicked: {}", text.unwrap_or("without words"))
}
