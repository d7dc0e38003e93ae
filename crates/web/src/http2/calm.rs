//! How many frames that lead nowhere are put up with.
//!
//! PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA, resets of either side: each is cheap, and a
//! client that sends nothing else keeps a server busy with them (CVE-2019-9512, CVE-2019-9515,
//! CVE-2023-44487, CVE-2025-8671). A client that asks queries may send some for each of them; one that
//! does not has a stock that fills up again with time.
use std::time::Instant;

/// Nuisances in a row that anybody may make.
const STOCK: u32 = 512;
/// Nuisances that are forgotten in a second.
const FORGOTTEN: u32 = 64;
/// Nuisances that a query makes up for.
const EARNED: u32 = 2;

pub(crate) struct Calm {
    stock: u32,
    looked: Instant,
}

impl Calm {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            stock: STOCK,
            looked: now,
        }
    }

    /// A whole request has come.
    pub(crate) fn earn(&mut self) {
        self.stock = (self.stock + EARNED).min(STOCK);
    }

    /// Takes `cost` from the stock; returns whether there was as much.
    pub(crate) fn spend(&mut self, cost: u32, now: Instant) -> bool {
        if self.stock < cost {
            let seconds = now.saturating_duration_since(self.looked).as_secs();
            if seconds > 0 {
                self.looked = now;
            }
            let forgotten = u32::try_from(seconds)
                .unwrap_or(STOCK)
                .saturating_mul(FORGOTTEN);
            self.stock = self.stock.saturating_add(forgotten).min(STOCK);
        }
        match self.stock.checked_sub(cost) {
            Some(rest) => {
                self.stock = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_stock_is_used_up_and_comes_back() {
        let start = Instant::now();
        let mut calm = Calm::new(start);
        for _ in 0..STOCK {
            assert!(calm.spend(1, start));
        }
        assert!(!calm.spend(1, start));
        let later = start + Duration::from_secs(1);
        for _ in 0..FORGOTTEN {
            assert!(calm.spend(1, later));
        }
        assert!(!calm.spend(1, later));
        for _ in 0..10_000 {
            calm.earn();
            assert!(calm.spend(EARNED, later), "a query makes up for it");
        }
    }
}
