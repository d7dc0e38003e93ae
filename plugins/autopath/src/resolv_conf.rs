//! The search path of a `resolv.conf` file.
use std::fs;
use std::io;
use std::sync::Arc;

use corten_plugin::wire::Name;

/// Octets of the largest file.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// The search path of a file, with the root behind it.
pub(crate) fn read(file: &str) -> io::Result<Arc<[Name]>> {
    if fs::metadata(file)?.len() > FILE_OCTETS_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let text = String::from_utf8_lossy(&fs::read(file)?).into_owned();
    path(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The last line `search` or `domain` counts (resolv.conf(5)).
fn path(text: &str) -> Result<Arc<[Name]>, String> {
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        search = match words.next() {
            Some("domain") => words.take(1).collect(),
            Some("search") => words.collect(),
            _ => continue,
        };
    }
    let name = |text: &&str| -> Result<Name, String> {
        text.parse().map_err(|error| format!("'{text}': {error}"))
    };
    let mut names = search.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    names.push(Name::root());
    Ok(names.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        for (text, names) in [
            ("search A.example b.example.\n", "a.example. b.example. ."),
            ("domain x.example\nsearch a.example\n", "a.example. ."),
            ("search a.example\ndomain x.example y\n", "x.example. ."),
            ("# search a\n;search b\nnameserver 192.0.2.1\n", "."),
            ("search a.example\nsearch\n", "."),
        ] {
            let path = path(text).unwrap();
            let shown: Vec<_> = path.iter().map(Name::to_string).collect();
            assert_eq!(shown.join(" "), names, "{text}");
        }
        assert!(path("search a..b").unwrap_err().contains("'a..b'"));
    }
}
