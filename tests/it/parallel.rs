//! The step `parallel N query …`: the same query N times at once.
use std::collections::BTreeMap;

/// Has `query` run `count` times at the same time, and tells the distinct answers and how often
/// each came.
pub(crate) fn parallel(count: usize, query: impl Fn() -> Vec<String> + Sync) -> Vec<String> {
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| query().join(" / ")))
            .collect();
        for thread in asking {
            *tally
                .entry(thread.join().expect("no thread fails"))
                .or_default() += 1;
        }
    });
    let mut lines: Vec<_> = tally
        .into_iter()
        .map(|(text, count)| format!("{count}x {text}"))
        .collect();
    lines.sort();
    lines
}
