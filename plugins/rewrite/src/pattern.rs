//! Which names a rule is for, and what becomes of them.
//!
//! Names are compared in lower case, with the final dot, as text: a prefix or a substring need not
//! end where a label does.
use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use corten_plugin::wire::Name;
use regex::{Captures, Regex, RegexBuilder};

/// Characters of the longest regular expression.
const PATTERN_MAX: usize = 10_000;
/// Copies of a regular expression; more workers than this share some.
const COPIES: usize = 16;
/// Most groups that CoreDNS counts.
const GROUPS_COUNTED: usize = 100;

/// The text of the name at hand, made when a pattern first asks for it.
pub(crate) struct Text {
    text: String,
    fresh: bool,
}

impl Text {
    /// Lends the thread's own memory, so that a name costs no allocation.
    pub(crate) fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        thread_local!(static MEMORY: Cell<String> = const { Cell::new(String::new()) });
        let mut text = Self {
            text: MEMORY.take(),
            fresh: false,
        };
        let done = work(&mut text);
        MEMORY.set(text.text);
        done
    }

    /// The name is another now.
    pub(crate) fn forget(&mut self) {
        self.fresh = false;
    }

    fn of(&mut self, name: &Name) -> &str {
        if !self.fresh {
            self.text.clear();
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{name}");
            self.fresh = true;
        }
        &self.text
    }
}

/// A regular expression, once for each worker: matching takes memory from a pool, and a pool of
/// one's own needs no lock.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Box<[Regex]>);

impl Pattern {
    pub(crate) fn read(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_MAX {
            return Err(PatternError::TooLong(text.len()));
        }
        let regex = RegexBuilder::new(text)
            .build()
            .map_err(|error| PatternError::Invalid(text.to_owned(), error.to_string()))?;
        Ok(Self((0..COPIES).map(|_| regex.clone()).collect()))
    }

    fn copy(&self) -> &Regex {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static COPY: usize = NEXT.fetch_add(1, Relaxed) % COPIES);
        &self.0[COPY.with(|copy| *copy)]
    }

    fn groups(&self) -> usize {
        self.0[0].captures_len() - 1
    }
}

/// What is wrong with a regular expression.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("regex pattern too long: {0} > {PATTERN_MAX}")]
    TooLong(usize),
    #[error("invalid regex matching pattern: {0}")]
    Invalid(String, String),
    #[error(
        "the rewrite regex pattern ({0}) uses more subexpressions than its corresponding matching regex pattern ({1})"
    )]
    Groups(String, String),
}

/// Text with places for groups, such as `{1}.example.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    /// `{N}` stands for a group that the pattern has; every other brace for itself.
    fn read(text: &str, groups: usize) -> Self {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            plain.push_str(before);
            let number = behind.split_once('}').and_then(|(number, behind)| {
                let digits = number.bytes().all(|octet| octet.is_ascii_digit());
                let number = number.parse().ok().filter(|number| *number <= groups)?;
                digits.then_some((number, behind))
            });
            match number {
                Some((number, behind)) => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(Piece::Group(number));
                    rest = behind;
                }
                None => {
                    plain.push('{');
                    rest = behind;
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Self(pieces)
    }

    fn fill(&self, groups: &Captures<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(plain) => plain,
                Piece::Group(number) => groups.get(*number).map_or("", |group| group.as_str()),
            });
        }
        text
    }
}

/// Which names are meant.
#[derive(Clone, Debug)]
pub(crate) enum Match {
    Exact(Box<Name>),
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regex(Pattern),
}

impl Match {
    pub(crate) fn matches(&self, name: &Name, text: &mut Text) -> bool {
        match self {
            Self::Exact(one) => **one == *name,
            Self::Prefix(prefix) => text.of(name).starts_with(prefix),
            Self::Suffix(suffix) => text.of(name).ends_with(suffix),
            Self::Substring(part) => text.of(name).contains(part.as_str()),
            Self::Regex(pattern) => pattern.copy().is_match(text.of(name)),
        }
    }
}

/// Which names become others.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Exact(Box<(Name, Name)>),
    Prefix(String, String),
    Suffix(String, String),
    Substring(String, String),
    Regex(Pattern, Template),
}

impl Change {
    /// A regular expression and what takes the place of the names that match it.
    pub(crate) fn regex(from: &str, to: &str) -> Result<Self, PatternError> {
        let pattern = Pattern::read(from)?;
        let used = (1..=GROUPS_COUNTED).filter(|group| to.contains(&format!("{{{group}}}")));
        if used.count() > pattern.groups() {
            return Err(PatternError::Groups(to.to_owned(), from.to_owned()));
        }
        let template = Template::read(to, pattern.groups());
        Ok(Self::Regex(pattern, template))
    }

    /// What the name becomes: nothing when it is not meant, text when the result is no name.
    pub(crate) fn apply(&self, name: &Name, text: &mut Text) -> Option<Result<Name, String>> {
        let changed = match self {
            Self::Exact(names) => return (names.0 == *name).then(|| Ok(names.1.clone())),
            Self::Prefix(from, to) => {
                let rest = text.of(name).strip_prefix(from.as_str())?;
                format!("{to}{rest}")
            }
            Self::Suffix(from, to) => {
                let rest = text.of(name).strip_suffix(from.as_str())?;
                format!("{rest}{to}")
            }
            Self::Substring(from, to) => {
                let text = text.of(name);
                match text.contains(from.as_str()) {
                    true => text.replace(from.as_str(), to),
                    false => return None,
                }
            }
            Self::Regex(pattern, to) => {
                let (regex, text) = (pattern.copy(), text.of(name));
                // Asking first costs no memory when the answer is no.
                match regex.is_match(text) {
                    true => to.fill(&regex.captures(text)?),
                    false => return None,
                }
            }
        };
        Some(changed.parse().map_err(|_| changed))
    }
}

/// Maps a name and the names below it to another: what undoes a rule for one query.
#[derive(Clone, Debug)]
pub(crate) struct Remap {
    pub(crate) from: Name,
    pub(crate) to: Name,
}

impl Remap {
    /// Whether the name changed.
    pub(crate) fn apply(&self, name: &mut Name) -> bool {
        if !name.is_in(&self.from) {
            return false;
        }
        let kept = name.wire().len() - self.from.wire().len();
        let mut wire = name.wire()[..kept].to_vec();
        wire.extend_from_slice(self.to.wire());
        let changed = Name::from_wire(&wire);
        let hit = changed.is_ok();
        if let Ok(changed) = changed {
            *name = changed;
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn changed(change: &Change, from: &str) -> Option<String> {
        Text::with(|text| change.apply(&name(from), text)).map(|result| {
            result.map_or_else(|text| format!("no name: {text}"), |name| name.to_string())
        })
    }

    #[test]
    fn names_change() {
        let text = str::to_owned;
        for (change, from, to) in [
            (
                Change::Exact(Box::new((name("a.b"), name("*.c")))),
                "A.b",
                Some("*.c."),
            ),
            (
                Change::Exact(Box::new((name("a.b"), name("c")))),
                "x.a.b",
                None,
            ),
            (
                Change::Prefix(text("dev-"), text("p-")),
                "dev-web.test",
                Some("p-web.test."),
            ),
            (
                Change::Prefix(text("dev-"), text("")),
                "xdev-web.test",
                None,
            ),
            (
                Change::Suffix(text(".a.b."), text(".c.")),
                "x.a.b",
                Some("x.c."),
            ),
            (Change::Suffix(text(".a.b."), text(".c.")), "a.b", None),
            (
                Change::Substring(text("idd"), text("entr")),
                "middle.midd",
                Some("mentrle.mentr."),
            ),
            (
                Change::Prefix(text("a"), text(".")),
                "ab",
                Some("no name: .b."),
            ),
        ] {
            assert_eq!(changed(&change, from).as_deref(), to, "{change:?}");
        }
        let regex = |from, to| Change::regex(from, to).unwrap();
        for (change, from, to) in [
            (
                regex(r"(.*)-(us|eu)\.a\.", "{1}.{2}.b."),
                "x-eu.a",
                Some("x.eu.b."),
            ),
            (regex(r"(.*)\.a\.", "{0}b."), "x.a", Some("x.a.b.")),
            (
                regex(r"(.*)\.a\.", "{1}..b."),
                "x.a",
                Some("no name: x..b."),
            ),
            (regex(r"^(a)\.$", "b.{9}.{x}."), "a", Some("b.{9}.{x}.")),
            (regex(r"^a\.$", "b."), "b", None),
        ] {
            assert_eq!(changed(&change, from).as_deref(), to, "{change:?}");
        }
    }

    #[test]
    fn patterns_are_checked() {
        for (from, to, error) in [
            ("(.*", "b", "invalid regex matching pattern: (.*"),
            (
                "(.*)",
                "{1}.{2}",
                "the rewrite regex pattern ({1}.{2}) uses more",
            ),
            (
                &"a".repeat(10_001),
                "b",
                "regex pattern too long: 10001 > 10000",
            ),
        ] {
            let told = Change::regex(from, to).unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }

    #[test]
    fn a_name_and_those_below_it_are_mapped() {
        let map = Remap {
            from: name("new.example"),
            to: name("old.test"),
        };
        for (from, to) in [
            ("new.example", "old.test."),
            ("a.b.new.example", "a.b.old.test."),
            ("anew.example", "anew.example."),
            ("example", "example."),
        ] {
            let mut name = name(from);
            let before = name.clone();
            assert_eq!(map.apply(&mut name), name != before);
            assert_eq!(name.to_string(), to);
        }
        let long = Remap {
            from: name("a"),
            to: name(&["x"; 127].join(".")),
        };
        let mut below = name("b.a");
        assert!(!long.apply(&mut below) && below == name("b.a"));
    }

    #[test]
    fn nothing_is_allocated_when_nothing_matches() {
        let rules = [
            Match::Prefix("x".into()),
            Match::Suffix("x.".into()),
            Match::Substring("xx".into()),
            Match::Regex(Pattern::read("^x(.*)y$").unwrap()),
        ];
        let change = Change::regex("^x(.*)y$", "{1}").unwrap();
        let name = name("www.example");
        let ask = || {
            Text::with(|text| {
                assert!(rules.iter().all(|rule| !rule.matches(&name, text)));
                assert!(change.apply(&name, text).is_none());
            })
        };
        ask();
        assert_eq!(allocation_counter::measure(ask).count_total, 0);
    }
}
