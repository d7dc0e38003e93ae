//! Exchanges for queries that wait, used again and again.
//!
//! A waiting query takes the worker's exchange along; another one with its buffers grown is better
//! than a new one.
use std::cell::RefCell;

use corten_plugin::Exchange;

/// Exchanges that a worker keeps; about a kilobyte each.
const KEPT_MAX: usize = 256;

/// Boxes, because they go into tasks and come back without being copied.
type Kept = RefCell<Vec<Box<Exchange>>>;

thread_local!(static KEPT: Kept = const { RefCell::new(Vec::new()) });

/// An exchange that has nothing to do.
pub(crate) fn take() -> Box<Exchange> {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives one back.
pub(crate) fn give(mut ex: Box<Exchange>) {
    // What it refers to must not live as long as it is kept.
    ex.recycle();
    // While a thread ends there is nothing to keep any more.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(ex);
        }
    });
}
