//! Text to tokens.
use std::fmt;

use crate::error::CompileError;

/// A token and the character it begins with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Identifier(String),
    /// The number, and how it was written.
    Int(i64, String),
    Float(f64, String),
    Text(String),
    Operator(&'static str),
    Bracket(char),
    End,
}

impl fmt::Display for Kind {
    /// As expr-lang names tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identifier(name) => write!(f, "Identifier({name:?})"),
            Self::Int(_, text) | Self::Float(_, text) => write!(f, "Number({text:?})"),
            Self::Text(text) => write!(f, "String({text:?})"),
            Self::Operator(operator) => write!(f, "Operator({operator:?})"),
            Self::Bracket(bracket) => write!(f, "Bracket(\"{bracket}\")"),
            Self::End => f.write_str("EOF"),
        }
    }
}

/// Operators that are words.
const WORDS: [&str; 8] = [
    "and",
    "or",
    "not",
    "in",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
];

/// The others; longer ones in front of their beginnings.
const SIGNS: [&str; 25] = [
    "??", "?.", "..", "**", "||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%",
    "^", "!", "?", ":", ",", "|", ".", ";",
];

/// Reads every token; the last is [`Kind::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut lexer = Lexer {
        source,
        chars: source.chars().collect(),
        at: 0,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == Kind::End;
        tokens.push(token);
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    chars: Vec<char>,
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn error(&self, message: impl Into<String>, at: usize) -> CompileError {
        CompileError::new(message, self.source, at)
    }

    fn begins(&self, sign: &str) -> bool {
        sign.chars()
            .enumerate()
            .all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    fn skip_gaps(&mut self) -> Result<(), CompileError> {
        loop {
            if self.peek(0).is_some_and(char::is_whitespace) {
                self.at += 1;
            } else if self.begins("//") {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if self.begins("/*") {
                let start = self.at;
                while !self.begins("*/") {
                    if self.peek(0).is_none() {
                        return Err(self.error("unclosed comment", start));
                    }
                    self.at += 1;
                }
                self.at += 2;
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Token, CompileError> {
        self.skip_gaps()?;
        let at = self.at;
        let kind = match self.peek(0) {
            None => Kind::End,
            Some(quote @ ('\'' | '"')) => Kind::Text(self.text(quote)?),
            Some('`') => Kind::Text(self.raw_text()?),
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some('.') if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            Some(c) if c == '_' || c.is_alphabetic() => self.word(),
            Some(bracket @ ('(' | ')' | '[' | ']' | '{' | '}')) => {
                self.at += 1;
                Kind::Bracket(bracket)
            }
            Some('#') => {
                self.at += 1;
                Kind::Operator("#")
            }
            Some(other) => {
                let Some(sign) = SIGNS.iter().find(|sign| self.begins(sign)) else {
                    let text = format!("unrecognized character: U+{:04X} '{other}'", other as u32);
                    return Err(self.error(text, at));
                };
                self.at += sign.len();
                Kind::Operator(sign)
            }
        };
        Ok(Token { kind, at })
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        while self
            .peek(0)
            .is_some_and(|c| c == '_' || c.is_alphanumeric())
        {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        match WORDS.iter().find(|operator| **operator == word) {
            Some(operator) => Kind::Operator(operator),
            None => Kind::Identifier(word),
        }
    }

    fn number(&mut self) -> Result<Kind, CompileError> {
        let start = self.at;
        let radix = match (self.peek(0), self.peek(1)) {
            (Some('0'), Some('x' | 'X')) => 16,
            (Some('0'), Some('o' | 'O')) => 8,
            (Some('0'), Some('b' | 'B')) => 2,
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
        }
        let mut float = false;
        while let Some(c) = self.peek(0) {
            match c {
                '_' => (),
                _ if c.is_digit(radix) => (),
                // Two dots are a range.
                '.' if radix == 10 && !float && self.peek(1) != Some('.') => float = true,
                'e' | 'E' if radix == 10 => {
                    float = true;
                    if matches!(self.peek(1), Some('+' | '-')) {
                        self.at += 1;
                    }
                }
                _ => break,
            }
            self.at += 1;
        }
        let text: String = self.chars[start..self.at].iter().collect();
        let digits = text.replace('_', "");
        let bad = |this: &Self| this.error(format!("invalid number literal: {text:?}"), start);
        if self.peek(0).is_some_and(char::is_alphanumeric) {
            self.at += 1;
            let text: String = self.chars[start..self.at].iter().collect();
            return Err(self.error(format!("bad number syntax: {text:?}"), start));
        }
        if float {
            let number = digits.parse().map_err(|_| bad(self))?;
            return Ok(Kind::Float(number, text));
        }
        let digits = if radix == 10 { &digits } else { &digits[2..] };
        let number = i64::from_str_radix(digits, radix).map_err(|_| bad(self))?;
        Ok(Kind::Int(number, text))
    }

    fn raw_text(&mut self) -> Result<String, CompileError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                None => return Err(self.error("literal not terminated", start)),
                // Two are one.
                Some('`') if self.peek(1) == Some('`') => {
                    text.push('`');
                    self.at += 2;
                }
                Some('`') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn text(&mut self, quote: char) -> Result<String, CompileError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let at = self.at;
            let Some(c) = self.peek(0) else {
                return Err(self.error("literal not terminated", start));
            };
            self.at += 1;
            match c {
                '\n' => return Err(self.error("literal not terminated", start)),
                '\\' => match self.escape() {
                    Some(c) => text.push(c),
                    None => return Err(self.error("invalid char escape", at)),
                },
                _ if c == quote => return Ok(text),
                _ => text.push(c),
            }
        }
    }

    /// The character behind a backslash, as in Go's literals.
    fn escape(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        let digits = match c {
            'a' => return Some('\x07'),
            'b' => return Some('\x08'),
            'f' => return Some('\x0c'),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'v' => return Some('\x0b'),
            '\\' | '\'' | '"' | '`' | '?' => return Some(c),
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='3' => {
                let digits: String = self.chars.get(self.at - 1..self.at + 2)?.iter().collect();
                self.at += 2;
                return char::from_u32(u32::from_str_radix(&digits, 8).ok()?);
            }
            _ => return None,
        };
        let digits: String = self
            .chars
            .get(self.at..self.at + digits)?
            .iter()
            .filter(|c| c.is_ascii_hexdigit())
            .collect();
        self.at += digits.len();
        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
    }
}
