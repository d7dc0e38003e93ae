//! What was probably meant.

/// Directives of earlier CoreDNS releases, and what replaced them.
const REMOVED: &[(&str, &str)] = &[
    (
        "proxy",
        "'proxy' was removed in CoreDNS 1.5; use 'forward . ADDRESS…'",
    ),
    (
        "upstream",
        "the option 'upstream' was removed; names outside the zone are resolved by the server itself",
    ),
    (
        "startup",
        "'startup' was removed; start programs by the service manager",
    ),
    (
        "shutdown",
        "'shutdown' was removed; stop programs by the service manager",
    ),
    (
        "federation",
        "'federation' was removed in CoreDNS 1.7; use 'rewrite' and several 'forward' blocks",
    ),
    (
        "resyncperiod",
        "'resyncperiod' was removed; changes are watched",
    ),
];

/// A sentence that says what to write in place of `word`, if anything comes to mind.
pub(crate) fn replacement<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    if let Some((_, help)) = REMOVED.iter().find(|(name, _)| *name == word) {
        return Some((*help).to_owned());
    }
    let (distance, best) = known
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may be wrong; more is another word.
    (distance <= word.chars().count().div_ceil(3)).then(|| format!("did you mean '{best}'?"))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) =
        (one.chars().take(64).collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut cost = (rows[i][j] + usize::from(a != b))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                cost = cost.min(rows[i - 1][j - 1] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_strangers_are_not() {
        let known = ["forward", "hosts", "log", "errors"];
        for (word, help) in [
            ("foward", Some("did you mean 'forward'?")),
            ("Forward", Some("did you mean 'forward'?")),
            ("ohsts", Some("did you mean 'hosts'?")),
            ("error", Some("did you mean 'errors'?")),
            ("proxy", Some(REMOVED[0].1)),
            ("kubernetes", None),
            ("", None),
        ] {
            assert_eq!(replacement(word, known).as_deref(), help, "{word}");
        }
    }
}
