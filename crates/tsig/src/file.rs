//! Keys in the style of named.conf:
//!
//! ```text
//! key "one.example." {
//!     algorithm hmac-sha256;
//!     secret "MTIz";
//! };
//! ```
//!
//! As BIND reads them: words may be quoted, lines do not count, `//`, `#` and `/* */` begin comments.
use corten_wire::Name;

use crate::algorithm::AlgorithmError;
use crate::key::{Key, KeyError, Secret};

/// A mistake in a file, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub what: FileErrorKind,
}

/// What can be wrong. Never tells a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// A word that cannot stand there.
    #[error("unexpected token \"{found}\"; expected {expected}")]
    Unexpected {
        /// The word.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// The file ends too early.
    #[error("the file ends; expected {0}")]
    End(&'static str),
    /// A quote or a comment that does not end.
    #[error("{0} does not end")]
    Open(&'static str),
    /// A name that is none.
    #[error("\"{0}\" is not a name")]
    Name(String),
    /// No secret.
    #[error("expected secret for key \"{0}\"")]
    NoSecret(Box<Name>),
    /// The same name twice.
    #[error("key \"{0}\" redefined")]
    Redefined(Box<Name>),
    /// A secret that is none.
    #[error("key \"{0}\": {1}")]
    Secret(Box<Name>, KeyError),
    /// An algorithm that is not served.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmError),
}

use FileErrorKind as Kind;

/// Reads the keys of a file, in its order.
///
/// # Errors
/// Anything that is not a key, and the same key twice.
pub fn parse(text: &str) -> Result<Vec<Key>, FileError> {
    let mut words = Words {
        rest: text,
        line: 1,
        at: 1,
    };
    let mut keys: Vec<Key> = Vec::new();
    while let Some(word) = words.next()? {
        if word.is(";") {
            continue;
        }
        if !word.is("key") {
            return Err(words.unexpected(word, "\"key\""));
        }
        let key = words.key()?;
        if keys.iter().any(|other| other.name == key.name) {
            return Err(words.error(Kind::Redefined(Box::new(key.name))));
        }
        keys.push(key);
    }
    Ok(keys)
}

struct Words<'t> {
    rest: &'t str,
    /// Line that `rest` begins in.
    line: usize,
    /// Line of the last word.
    at: usize,
}

#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    quoted: bool,
}

impl Word<'_> {
    fn is(&self, mark: &str) -> bool {
        !self.quoted && self.text == mark
    }
}

impl<'t> Words<'t> {
    fn key(&mut self) -> Result<Key, FileError> {
        let name = self.value("the key's name")?;
        let name: Name = name
            .parse()
            .map_err(|_| self.error(Kind::Name(name.to_owned())))?;
        self.mark("{", "\"{\"")?;
        let (mut algorithm, mut secret) = (None, None);
        loop {
            let expected = "\"secret\", \"algorithm\" or \"}\"";
            let word = self
                .next()?
                .ok_or_else(|| self.error(Kind::End(expected)))?;
            match word.text {
                "}" if !word.quoted => break,
                ";" if !word.quoted => (),
                "algorithm" => {
                    let text = self.value("the algorithm")?;
                    algorithm = Some(
                        text.parse()
                            .map_err(|error| self.error(Kind::Algorithm(error)))?,
                    );
                }
                "secret" => {
                    let text = self.value("the secret")?;
                    let read = Secret::from_base64(text);
                    secret = Some(read.map_err(|error| {
                        self.error(Kind::Secret(Box::new(name.clone()), error))
                    })?);
                }
                _ => return Err(self.unexpected(word, expected)),
            }
        }
        match secret {
            Some(secret) => Ok(Key::new(name, algorithm, secret)),
            None => Err(self.error(Kind::NoSecret(Box::new(name)))),
        }
    }

    fn value(&mut self, expected: &'static str) -> Result<&'t str, FileError> {
        let word = self
            .next()?
            .ok_or_else(|| self.error(Kind::End(expected)))?;
        match word.quoted || !matches!(word.text, "{" | "}" | ";") {
            true => Ok(word.text),
            false => Err(self.unexpected(word, expected)),
        }
    }

    fn mark(&mut self, mark: &str, expected: &'static str) -> Result<(), FileError> {
        let word = self
            .next()?
            .ok_or_else(|| self.error(Kind::End(expected)))?;
        match word.is(mark) {
            true => Ok(()),
            false => Err(self.unexpected(word, expected)),
        }
    }

    fn next(&mut self) -> Result<Option<Word<'t>>, FileError> {
        loop {
            let trimmed = self.rest.trim_start();
            self.skip(self.rest.len() - trimmed.len());
            let comment = if self.rest.starts_with("/*") {
                let end = self
                    .rest
                    .find("*/")
                    .ok_or_else(|| self.error(Kind::Open("a comment")))?;
                end + 2
            } else if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else {
                break;
            };
            self.skip(comment);
        }
        self.at = self.line;
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        let (start, end, behind) = match first {
            '"' => {
                let length = self.rest[1..].find('"');
                let end = 1 + length.ok_or_else(|| self.error(Kind::Open("a quoted word")))?;
                (1, end, end + 1)
            }
            '{' | '}' | ';' => (0, 1, 1),
            _ => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"' | '#');
                let end = self.rest.find(ends).unwrap_or(self.rest.len());
                (0, end, end)
            }
        };
        let text = &self.rest[start..end];
        self.skip(behind);
        Ok(Some(Word {
            text,
            quoted: first == '"',
        }))
    }

    fn skip(&mut self, octets: usize) {
        let (skipped, rest) = self.rest.split_at(octets);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn unexpected(&self, word: Word<'_>, expected: &'static str) -> FileError {
        // A word that is out of place may be a secret, and no part of one is told. What looks like a word
        // of the language is none.
        let plain = |c: char| c.is_ascii_lowercase() || "-_{};".contains(c);
        let found = match word.text.len() <= 16 && word.text.chars().all(plain) {
            true => word.text.to_owned(),
            false => "...".to_owned(),
        };
        self.error(Kind::Unexpected { found, expected })
    }

    fn error(&self, what: Kind) -> FileError {
        FileError {
            line: self.at,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    #[test]
    fn keys_are_read_as_named_conf_has_them() {
        let text = "// ours\nkey \"One.key.\" {\n algorithm hmac-sha256;\n secret \"YQ==\";\n};\n\
            # theirs\nkey two.key{secret YWI=; /* here\n too */}; key three { secret \"YWJj\"; }";
        let keys = parse(text).unwrap();
        let names: Vec<_> = keys.iter().map(|key| key.name.to_string()).collect();
        assert_eq!(names, ["one.key.", "two.key.", "three."]);
        assert_eq!(keys[0].algorithm, Some(Algorithm::Sha256));
        assert_eq!(keys[1].algorithm, None);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_without_secrets() {
        for (text, error) in [
            (
                "options {",
                "line 1: unexpected token \"options\"; expected \"key\"",
            ),
            ("key", "line 1: the file ends; expected the key's name"),
            (
                "key {",
                "line 1: unexpected token \"{\"; expected the key's name",
            ),
            (
                "key a\n\nsecret",
                "line 3: unexpected token \"secret\"; expected \"{\"",
            ),
            (
                "key a c2VjcmV0LWFuZC1tb3Jl;",
                "line 1: unexpected token \"...\"; expected \"{\"",
            ),
            ("key a {\n}", "line 2: expected secret for key \"a.\""),
            (
                "key a {\n secret",
                "line 2: the file ends; expected the secret",
            ),
            ("key a..b {", "line 1: \"a..b\" is not a name"),
            ("key \"a", "line 1: a quoted word does not end"),
            ("/* ", "line 1: a comment does not end"),
            (
                "key a {\n secret geheim!!!!!!!!;",
                "line 2: key \"a.\": the secret is not in base64",
            ),
            (
                "key a {\n algorithm hmac-md5;",
                "line 2: hmac-md5 is not secure and not served (RFC 8945 section 6); use hmac-sha256",
            ),
            (
                "key a { secret YQ==; };\nkey A. { secret YQ==; };",
                "line 2: key \"a.\" redefined",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
        }
    }
}
