//! What a step should have printed, and what it did.

/// Seconds by which a recorded TTL may differ.
const TTL_SLACK: u32 = 2;

/// What differs between the lines that are expected and those that came; nothing when all is well.
pub(crate) fn differences(step: &str, expected: &[String], actual: &[String]) -> Vec<String> {
    let (mut wanted, mut got) = (expected.to_vec(), actual.to_vec());
    if step.starts_with("fails") {
        // A refusal may tell a place or a plugin where none is expected.
        let kinds: Vec<_> = expected.iter().map(|line| line.split(' ').next()).collect();
        got.retain(|line| kinds.contains(&line.split(' ').next()));
    }
    if step.starts_with("log ") || step.starts_with("tap ") {
        wanted.sort();
        got.sort();
    }
    if wanted.len() == got.len()
        && wanted
            .iter()
            .zip(&got)
            .all(|(wanted, got)| same(wanted, got))
    {
        return Vec::new();
    }
    let all = wanted
        .iter()
        .map(|line| format!("    want {line}"))
        .chain(got.iter().map(|line| format!("    got  {line}")));
    std::iter::once(format!("  {step}")).chain(all).collect()
}

/// Equal lines; `*` matches any field, names compare without case, TTLs may differ a little.
fn same(wanted: &str, got: &str) -> bool {
    let (wanted, got): (Vec<_>, Vec<_>) = (wanted.split(' ').collect(), got.split(' ').collect());
    let section = matches!(
        wanted.first(),
        Some(&("answer" | "authority" | "additional"))
    );
    wanted.len() == got.len()
        && wanted
            .iter()
            .zip(&got)
            .enumerate()
            .all(|(index, (wanted, got))| {
                let ttl =
                    || Some(wanted.parse::<u32>().ok()?.abs_diff(got.parse().ok()?) <= TTL_SLACK);
                wanted == got
                    || *wanted == "*"
                    || index == 1 && wanted.eq_ignore_ascii_case(got)
                    || index == 2 && section && ttl() == Some(true)
            })
}
