//! Text to tokens with their places.
//!
//! The grammar is Caddy's, as CoreDNS has it: `#` begins a comment even inside a word; `"` is
//! special only as the first character of a token, and `\"` is the only escape behind it; carriage
//! returns vanish outside quotes.
use std::sync::Arc;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while, take_while1};
use nom::character::complete::{anychar, char};
use nom::combinator::{map, opt, recognize, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, pair};
use nom::{IResult, Offset, Parser};

use crate::error::ParseError;
use crate::location::{Location, SourceFile};

/// Environment variables expanded in one token at most: one whose value names itself would never
/// end.
const EXPANSIONS_MAX: usize = 100;
/// Characters of a token after expansion.
const TOKEN_OCTETS_MAX: usize = 1 << 20;

/// A word of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The word, quotes taken off and environment variables expanded.
    pub text: String,
    /// Where it begins.
    pub at: Location,
    /// Whether it stood in quotes: then it is no brace.
    pub quoted: bool,
    /// Whether it is the first on its line.
    pub line_start: bool,
}

impl Token {
    /// A mistake at this token.
    pub fn error(&self, text: impl Into<String>) -> ParseError {
        ParseError::new(&self.at, text)
    }

    pub(crate) fn is(&self, brace: &str) -> bool {
        !self.quoted && self.text == brace
    }
}

/// A token's raw text, or nothing for what only separates tokens.
enum Piece<'a> {
    Gap { newline: bool },
    Word(&'a str),
    Quoted(String),
}

/// Splits a text into tokens.
pub(crate) fn lex(
    file: &Arc<SourceFile>,
    imported_from: Option<&Arc<Location>>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let (mut line, mut column, mut line_start) = (1, 1, true);
    let mut rest = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    while let Ok((behind, piece)) = piece(rest) {
        let at = Location {
            file: Arc::clone(file),
            line,
            column,
            imported_from: imported_from.cloned(),
        };
        for c in rest[..rest.offset(behind)].chars() {
            (line, column) = if c == '\n' {
                (line + 1, 1)
            } else {
                (line, column + 1)
            };
        }
        rest = behind;
        let (text, quoted) = match piece {
            Piece::Gap { newline } => {
                line_start |= newline;
                continue;
            }
            Piece::Word(word) => (word.replace('\r', ""), false),
            Piece::Quoted(text) => (text, true),
        };
        if text.is_empty() && !quoted {
            continue;
        }
        let text = expand(text, env).map_err(|text| ParseError::new(&at, text))?;
        tokens.push(Token {
            text,
            at,
            quoted,
            line_start,
        });
        line_start = false;
    }
    Ok(tokens)
}

/// The next piece; fails at the end of the text only.
fn piece(input: &str) -> IResult<&str, Piece<'_>> {
    let gap = map(
        take_while1(|c: char| c.is_whitespace() && c != '\r'),
        |gap: &str| Piece::Gap {
            newline: gap.contains('\n'),
        },
    );
    let comment = map(pair(char('#'), take_till(|c: char| c == '\n')), |_| {
        Piece::Gap { newline: false }
    });
    let word = map(
        take_while1(|c: char| c == '\r' || !c.is_whitespace() && c != '#'),
        Piece::Word,
    );
    alt((gap, comment, map(quoted, Piece::Quoted), word)).parse(input)
}

/// A token in quotes; one that is never closed runs to the end.
fn quoted(input: &str) -> IResult<&str, String> {
    let escape = value("\"", tag("\\\""));
    // Any other escape keeps both characters; the last of an open token may stand alone.
    let backslash = recognize(pair(char('\\'), opt(anychar)));
    let plain = take_while1(|c: char| c != '"' && c != '\\');
    let (rest, _) = pair(take_while(|c: char| c == '\r'), char('"')).parse(input)?;
    let (rest, text) = fold_many0(
        alt((escape, plain, backslash)),
        String::new,
        |mut text, part: &str| {
            text.push_str(part);
            text
        },
    )
    .parse(rest)?;
    let (rest, _) = opt(char('"')).parse(rest)?;
    Ok((rest, text))
}

/// The name in a reference to an environment variable, `{%NAME%}` or `{$NAME}`.
fn reference<'a>(input: &'a str, open: &str, close: &str) -> IResult<&'a str, &'a str> {
    let last = close.chars().next().unwrap_or('}');
    delimited(
        tag(open),
        take_while1(|c| c != last && c != '}'),
        tag(close),
    )
    .parse(input)
}

/// Replaces references, those that values bring along included. An unset variable is empty.
fn expand(mut text: String, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    for (open, close) in [("{%", "%}"), ("{$", "}")] {
        let (mut begin, mut last) = (0, text.rfind(close));
        for count in 0.. {
            // Behind the last closing brace nothing needs to be looked for: looking from every
            // opening one to the end would take long.
            let Some(found) = text[begin..]
                .find(open)
                .map(|found| begin + found)
                .filter(|found| last.is_some_and(|last| *found < last))
            else {
                break;
            };
            // A reference that is none, such as `{$}`, is stepped over.
            let Ok((rest, name)) = reference(&text[found..], open, close) else {
                begin = found + open.len();
                continue;
            };
            if count >= EXPANSIONS_MAX || text.len() > TOKEN_OCTETS_MAX {
                return Err(format!(
                    "environment variable '{name}' is expanded without end"
                ));
            }
            let (value, rest) = (env(name).unwrap_or_default(), rest.to_owned());
            text.truncate(found);
            text.push_str(&value);
            text.push_str(&rest);
            (begin, last) = (found, text.rfind(close));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(String, u32, u32, bool)> {
        let file = Arc::new(SourceFile {
            name: "Corefile".into(),
            text: text.into(),
        });
        let env = |name: &str| match name {
            "X" => Some("value of x".to_owned()),
            "NESTED" => Some("<{$X}>".to_owned()),
            _ => None,
        };
        let tokens = lex(&file, None, &env).unwrap();
        tokens
            .into_iter()
            .map(|token| (token.text, token.at.line, token.at.column, token.line_start))
            .collect()
    }

    fn texts(text: &str) -> Vec<String> {
        words(text).into_iter().map(|(text, ..)| text).collect()
    }

    #[test]
    fn words_quotes_and_comments_are_told_apart() {
        for (text, expected) in [
            ("a b\n\tc", &["a", "b", "c"][..]),
            ("whoami#x y\nlog", &["whoami", "log"]),
            ("\"a # b\" c", &["a # b", "c"]),
            (r#""say \"hi\" \n""#, &[r#"say "hi" \n"#]),
            (r#"it"s "two words"x"#, &[r#"it"s"#, "two words", "x"]),
            ("\"runs to\nthe end", &["runs to\nthe end"]),
            ("a\r\nb\rc\r\n", &["a", "bc"]),
            ("\u{feff}a", &["a"]),
            ("\"\" x", &["", "x"]),
            ("# only\n#comments", &[]),
            (r#""back\\""#, &[r"back\\"]),
        ] {
            assert_eq!(texts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn environment_variables_stay_one_token() {
        for (text, expected) in [
            ("{$X} {%X%}", &["value of x", "value of x"][..]),
            ("a{$X}b{$NONE}c", &["avalue of xbc"]),
            ("{$NONE}", &[""]),
            ("{$NESTED}", &["<value of x>"]),
            ("{$} {%%} {$X", &["{$}", "{%%}", "{$X"]),
            ("\"{$X}\"", &["value of x"]),
            ("{{$v}}", &["{}"]),
            ("}{$X}{$", &["}value of x{$"]),
        ] {
            assert_eq!(texts(text), expected, "{text:?}");
        }
        let file = Arc::new(SourceFile {
            name: "Corefile".into(),
            text: "\n {$LOOP}".into(),
        });
        let error = lex(&file, None, &|_| Some("x{$LOOP}".into())).unwrap_err();
        assert_eq!(
            (error.location().line, error.text()),
            (2, "environment variable 'LOOP' is expanded without end")
        );
    }

    #[test]
    fn braces_that_are_never_closed_take_no_time() {
        let text = "{$".repeat(200_000);
        assert_eq!(texts(&text), [text]);
    }

    #[test]
    fn places_count_lines_inside_quotes() {
        assert_eq!(
            words("a \"b\nc\" d\n  é x"),
            [
                ("a".into(), 1, 1, true),
                ("b\nc".into(), 1, 3, false),
                ("d".into(), 2, 4, false),
                ("é".into(), 3, 3, true),
                ("x".into(), 3, 5, false),
            ]
        );
    }
}
