//! Files that an `import` names.
use std::io;
use std::path::{Path, PathBuf};

use crate::error::ParseError;
use crate::lex::Token;

/// Octets of the largest file that is imported.
const FILE_OCTETS_MAX: u64 = 16 << 20;
/// Files that one pattern may match.
const MATCHES_MAX: usize = 10_000;

/// What a pattern names.
pub(crate) struct Found {
    pub(crate) files: Vec<PathBuf>,
    /// The pattern has a wildcard and nothing matches.
    pub(crate) nothing: bool,
}

/// The files that `token` names, relative to `base`.
pub(crate) fn find(token: &Token, base: &Path) -> Result<Found, ParseError> {
    let pattern = &token.text;
    let count = |wanted: char| pattern.chars().filter(|c| *c == wanted).count();
    if count('*') > 1 || count('?') > 1 || pattern.contains(['[', ']']) {
        return Err(token.error(format!(
            "Glob pattern may only contain one wildcard (*), but has others: {pattern}"
        )));
    }
    let path = base.join(pattern);
    if !pattern.contains(['*', '?']) {
        let meta = std::fs::metadata(&path).map_err(|_| {
            token
                .error(format!("File to import not found: {pattern}"))
                .help(format!("looked for {}", path.display()))
        })?;
        if meta.is_dir() {
            return Err(token
                .error(format!("Could not import {pattern}: is a directory"))
                .help(format!("its files are '{pattern}/*'")));
        }
        return Ok(Found {
            files: vec![path],
            nothing: false,
        });
    }
    let mut paths = vec![PathBuf::new()];
    for part in path.components() {
        let part = part.as_os_str();
        let wild = part.to_str().filter(|text| text.contains(['*', '?']));
        paths = match wild {
            None => paths.into_iter().map(|path| path.join(part)).collect(),
            Some(pattern) => paths
                .iter()
                .flat_map(|path| matching(path, pattern))
                .collect(),
        };
    }
    paths.retain(|path| path.is_file());
    paths.sort();
    if paths.len() > MATCHES_MAX {
        return Err(token.error(format!("'{pattern}' matches more than {MATCHES_MAX} files")));
    }
    Ok(Found {
        nothing: paths.is_empty(),
        files: paths,
    })
}

fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let fits = |name: &str| matches(pattern.as_bytes(), name.as_bytes());
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect()
}

/// Whether a name fits a pattern with `*` and `?`. Recursion is bounded by the one `*` that a
/// pattern may have.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        ([b'?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && matches(rest, name),
        _ => false,
    }
}

/// A file's text.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > FILE_OCTETS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("the file is larger than {FILE_OCTETS_MAX} octets"),
        ));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("*", "anything", true),
            ("a?.*", "ab.c", true),
            ("a?", "a", false),
            ("plain", "plain", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
