//! One directive's tokens as arguments and option lines: what plugins read.
use std::time::Duration;

use crate::error::ParseError;
use crate::lex::Token;
use crate::suggest;

/// Groups inside groups; CoreDNS's directives need two.
const DEPTH_MAX: usize = 16;

/// One directive as it stands in a server block: `name args… { lines }`.
#[derive(Clone, Debug)]
pub struct Occurrence<'a> {
    /// The directive.
    pub name: &'a Token,
    /// The words behind it.
    pub args: Vec<&'a Token>,
    /// The lines between its braces, if it has any.
    pub block: Option<Vec<Self>>,
}

/// An option inside braces: `name args… { lines }`.
pub type Line<'a> = Occurrence<'a>;

impl<'a> Occurrence<'a> {
    /// Reads the tokens behind a directive's name.
    pub(crate) fn read(name: &'a Token, tokens: &'a [Token]) -> Result<Self, ParseError> {
        let mut rest = tokens;
        let line = Self::line(name, &mut rest, 0)?;
        match rest.first() {
            None => Ok(line),
            Some(token) => Err(token.error(format!(
                "Unexpected token '{}', expecting end of line",
                token.text
            ))),
        }
    }

    fn line(name: &'a Token, rest: &mut &'a [Token], depth: usize) -> Result<Self, ParseError> {
        let mut line = Self {
            name,
            args: Vec::new(),
            block: None,
        };
        while let [token, behind @ ..] = *rest {
            if token.line_start {
                break;
            }
            if token.is("}") {
                return Err(token
                    .error("Unexpected token '}', expecting argument")
                    .help("a closing brace stands on a line of its own"));
            }
            *rest = behind;
            if token.is("{") {
                line.block = Some(Self::group(token, rest, depth + 1)?);
                break;
            }
            line.args.push(token);
        }
        Ok(line)
    }

    fn group(
        open: &'a Token,
        rest: &mut &'a [Token],
        depth: usize,
    ) -> Result<Vec<Self>, ParseError> {
        if depth > DEPTH_MAX {
            return Err(open.error(format!("more than {DEPTH_MAX} groups inside one another")));
        }
        let mut lines = Vec::new();
        while let [token, behind @ ..] = *rest {
            *rest = behind;
            if token.is("}") {
                return Ok(lines);
            }
            if token.is("{") {
                return Err(token.error("Unexpected token '{', expecting argument"));
            }
            lines.push(Self::line(token, rest, depth)?);
        }
        Err(open
            .error("Unexpected EOF")
            .help("this brace is never closed"))
    }

    /// The lines between the braces; none without braces.
    pub fn lines(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// CoreDNS's error for too many or too few arguments, at the last word that is there.
    pub fn argument_error(&self) -> ParseError {
        let last = self.args.last().unwrap_or(&self.name);
        last.error(format!(
            "Wrong argument count or unexpected line ending after '{}'",
            last.text
        ))
    }

    /// Refuses arguments.
    pub fn no_args(&self) -> Result<(), ParseError> {
        if self.args.is_empty() {
            Ok(())
        } else {
            Err(self.argument_error())
        }
    }

    /// Refuses braces.
    pub fn no_block(&self) -> Result<(), ParseError> {
        match &self.block {
            None => Ok(()),
            Some(_) => Err(self
                .name
                .error(format!("'{}' takes no options in braces", self.name.text))),
        }
    }

    /// The one argument, without braces behind it.
    pub fn one_arg(&self) -> Result<&'a Token, ParseError> {
        self.no_block()?;
        match self.args[..] {
            [only] => Ok(only),
            _ => Err(self.argument_error()),
        }
    }

    /// The arguments, if there are at least `min` and at most `max`.
    pub fn args_between(&self, min: usize, max: usize) -> Result<&[&'a Token], ParseError> {
        if (min..=max).contains(&self.args.len()) {
            Ok(&self.args)
        } else {
            Err(self.argument_error())
        }
    }

    /// The arguments, if there are at least `min`.
    pub fn at_least(&self, min: usize) -> Result<&[&'a Token], ParseError> {
        self.args_between(min, usize::MAX)
    }

    /// The error for an option that the directive does not have; `known` are those it has.
    pub fn unknown_property(&self, known: &[&str]) -> ParseError {
        let name = &self.name.text;
        self.name
            .error(format!("unknown property '{name}'"))
            .maybe_help(suggest::replacement(name, known.iter().copied()))
    }

    /// The error for an option that stands in its block a second time.
    pub fn already_defined(&self) -> ParseError {
        let name = &self.name.text;
        self.name
            .error(format!("{name} already defined for this server block"))
    }
}

impl Token {
    /// A duration in Go's form, such as `30s`, `1m30s`, `500ms` or `0`; not negative.
    pub fn parse_duration(&self) -> Result<Duration, ParseError> {
        duration(&self.text).ok_or_else(|| {
            let help = match self.text.bytes().all(|octet| octet.is_ascii_digit())
                && !self.text.is_empty()
            {
                true => format!("a duration needs a unit, such as '{}s'", self.text),
                false => {
                    "a duration is a number and a unit (ms, s, m, h), such as '30s' or '1m30s'"
                        .to_owned()
                }
            };
            self.error(format!("invalid duration '{}'", self.text))
                .help(help)
        })
    }

    /// A bound, the value of the option `name`: a number that may be zero, or only if `may_be_zero`.
    pub fn parse_bound(&self, name: &str, may_be_zero: bool) -> Result<u32, ParseError> {
        let kind = if may_be_zero {
            "non-negative"
        } else {
            "positive"
        };
        let text = match self.text.parse::<i64>() {
            Ok(number) if number > 0 || number == 0 && may_be_zero => match number.try_into() {
                Ok(number) => return Ok(number),
                Err(_) => format!("{name} '{number}' is greater than {}", u32::MAX),
            },
            Ok(number) => format!("{name} must be a {kind} integer: {number}"),
            Err(_) => format!("invalid {name} value '{}': it is not a number", self.text),
        };
        Err(self.error(text))
    }

    /// A number or anything else with a fixed form; `what` says what was expected, such as `a
    /// number`.
    pub fn parse<T: std::str::FromStr>(&self, what: &str) -> Result<T, ParseError> {
        self.text
            .parse()
            .map_err(|_| self.error(format!("'{}' is not {what}", self.text)))
    }
}

/// Go's `time.ParseDuration`, without signs.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text.strip_prefix('+').unwrap_or(text), 0f64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[number..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| number + end);
        let seconds = match &rest[number..unit] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += rest[..number].parse::<f64>().ok()? * seconds;
        rest = &rest[unit..];
    }
    // Go's durations are 64-bit nanoseconds: some 292 years.
    (total <= 9.2e9).then(|| Duration::from_nanos((total * 1e9).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::SourceFile;
    use std::sync::Arc;

    fn tokens(text: &str) -> Vec<Token> {
        let file = Arc::new(SourceFile {
            name: "Corefile".into(),
            text: text.into(),
        });
        crate::lex::lex(&file, None, &|_| None).unwrap()
    }

    fn shown(line: &Line<'_>) -> String {
        let mut text = line.name.text.clone();
        for arg in &line.args {
            text += &format!(" {}", arg.text);
        }
        if let Some(block) = &line.block {
            text += &format!(
                " [{}]",
                block.iter().map(shown).collect::<Vec<_>>().join("; ")
            );
        }
        text
    }

    #[test]
    fn options_are_read_line_by_line() {
        for (text, expected) in [
            ("whoami", "whoami"),
            ("log . \"{common}\"", "log . {common}"),
            (
                "hosts f {\n 10.0.0.1 a b\n ttl 5\n}",
                "hosts f [10.0.0.1 a b; ttl 5]",
            ),
            (
                "tls {\n acme a {\n  b c\n }\n d\n}",
                "tls [acme a [b c]; d]",
            ),
            ("x {\n}", "x []"),
            ("x \"{\" \"}\"", "x { }"),
        ] {
            let tokens = tokens(text);
            assert_eq!(
                shown(&Occurrence::read(&tokens[0], &tokens[1..]).unwrap()),
                expected
            );
        }
        for (text, error) in [
            (
                "hosts {\n ttl 5 }\n}",
                "Unexpected token '}', expecting argument",
            ),
            (
                "hosts {\n {\n}\n}",
                "Unexpected token '{', expecting argument",
            ),
            ("hosts {\n ttl 5", "Unexpected EOF"),
            (
                "hosts {\n} x",
                "Unexpected token 'x', expecting end of line",
            ),
        ] {
            let tokens = tokens(text);
            assert_eq!(
                Occurrence::read(&tokens[0], &tokens[1..])
                    .unwrap_err()
                    .text(),
                error,
                "{text}"
            );
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("0", Some(0)),
            ("30s", Some(30_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1h1m1s1ms", Some(3_661_001)),
            (".5s", Some(500)),
            ("10", None),
            ("-1s", None),
            ("1d", None),
            ("s", None),
            ("", None),
            ("1.2.3s", None),
            ("9999999h", None),
        ] {
            assert_eq!(
                duration(text).map(|d| d.as_millis()),
                milliseconds,
                "{text}"
            );
        }
    }

    #[test]
    fn errors_name_the_word_and_a_way_out() {
        let all = tokens("ttl 5 10");
        let line = Occurrence::read(&all[0], &all[1..]).unwrap();
        assert_eq!(
            line.one_arg().unwrap_err().text(),
            "Wrong argument count or unexpected line ending after '10'"
        );
        let error = line.unknown_property(&["tttl", "reload"]).to_string();
        assert!(
            error.contains("unknown property 'ttl'") && error.contains("did you mean 'tttl'?"),
            "{error}"
        );
        let error = all[1].parse_duration().unwrap_err().to_string();
        assert_eq!(
            error,
            "Corefile:1 - Error during parsing: invalid duration '5'\n  --> Corefile:1:5\n   |\n 1 | ttl 5 10\n   |     ^\n  \
             help: a duration needs a unit, such as '5s'"
        );
    }
}
