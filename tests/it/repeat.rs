//! The step `repeat N [+count|+shares] query ...`: one query, asked again and again.
use std::collections::BTreeMap;

use crate::run::Run;

impl Run<'_> {
    /// The distinct answers; with `+count` how many of each, with `+shares` how many quarters of
    /// them begin with each record.
    pub(crate) fn repeat(&self, words: &[&str]) -> Vec<String> {
        let times: usize = words[0].parse().unwrap();
        let shares = words.contains(&"+shares");
        let mut tally: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..times {
            let lines = self.query(&[&words[2..], &["+order"]].concat());
            let first = lines.iter().find(|line| line.starts_with("answer "));
            let text = match shares {
                true => first.cloned().unwrap_or_else(|| "none".to_owned()),
                false => lines.join(" / "),
            };
            *tally.entry(text).or_default() += 1;
        }
        let mut lines: Vec<String> = if shares {
            let quarters = |count: usize| (4 * count + times / 2) / times;
            let all = tally
                .into_iter()
                .map(|(text, count)| (text, quarters(count)));
            all.filter(|(_, quarters)| *quarters > 0)
                .map(|(text, quarters)| format!("{quarters}/4 {text}"))
                .collect()
        } else if words.contains(&"+count") {
            let all = tally.into_iter();
            all.map(|(text, count)| format!("{count}x {text}"))
                .collect()
        } else {
            return tally.into_keys().collect();
        };
        lines.sort();
        lines
    }
}
