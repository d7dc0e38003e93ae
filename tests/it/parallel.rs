//! Many queries at the same time.
use std::collections::BTreeMap;

/// `parallel N query …`: the distinct answers of N queries asked at once, and how many got each.
pub(crate) fn step(words: &[&str], ask: impl Fn(&[&str]) -> Vec<String> + Sync) -> Vec<String> {
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = (0..words[0].parse().unwrap())
            .map(|_| scope.spawn(move || ask(&words[2..]).join(" / ")))
            .collect();
        for thread in threads {
            *tally.entry(thread.join().unwrap()).or_default() += 1;
        }
    });
    let mut lines: Vec<_> = tally
        .into_iter()
        .map(|(text, count)| format!("{count}x {text}"))
        .collect();
    lines.sort();
    lines
}
