//! A text taken apart: entries, one for each logical line, of tokens.
use crate::text::{TextError, TextErrorKind};

/// A word or a quoted string, escapes and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'t> {
    /// Its octets as written, without the quotes.
    pub octets: &'t [u8],
    /// Whether it stood in quotes.
    pub quoted: bool,
    /// Whether there is no blank between it and the token before, as in `key="value"`.
    pub attached: bool,
    /// Line and column.
    pub place: (u32, u32),
}

impl Token<'_> {
    /// Its text as written.
    pub fn shown(&self) -> String {
        super::shown(self)
    }
}

/// The tokens of one logical line; parentheses make several lines one.
#[derive(Clone, Debug)]
pub struct Entry<'t> {
    /// Never empty.
    pub tokens: Vec<Token<'t>>,
    /// Whether the line begins with a blank: the owner is that of the record before.
    pub begins_with_blank: bool,
}

impl Entry<'_> {
    /// An error at the entry's first token.
    pub fn error(&self, what: TextErrorKind) -> TextError {
        let place = self.tokens.first().map_or((1, 1), |token| token.place);
        TextError::new(place, what)
    }
}

/// Entries of a text, one after the other. Ends behind the first error.
#[derive(Clone, Debug)]
pub struct Entries<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
    /// Where the line begins.
    line_start: usize,
}

impl<'t> Entries<'t> {
    /// Of a whole text.
    pub fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    fn place(&self, at: usize) -> (u32, u32) {
        let column = at.saturating_sub(self.line_start) + 1;
        (self.line, u32::try_from(column).unwrap_or(u32::MAX))
    }

    fn error<T>(&mut self, at: usize, what: TextErrorKind) -> Result<T, TextError> {
        let place = self.place(at);
        self.at = self.text.len();
        Err(TextError::new(place, what))
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next_line(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    fn entry(&mut self) -> Result<Option<Entry<'t>>, TextError> {
        let (mut open, mut tokens) = (Vec::new(), Vec::new());
        let mut begins_with_blank = matches!(self.peek(), Some(b' ' | b'\t'));
        let mut attached = false;
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' => {
                    self.at += 1;
                    attached = false;
                    continue;
                }
                b'\n' => {
                    self.next_line();
                    if open.is_empty() && !tokens.is_empty() {
                        break;
                    }
                    if open.is_empty() {
                        begins_with_blank = matches!(self.peek(), Some(b' ' | b'\t'));
                    }
                    attached = false;
                    continue;
                }
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().take_while(|octet| **octet != b'\n').count();
                    continue;
                }
                b'(' => {
                    open.push(self.place(self.at));
                    self.at += 1;
                    attached = false;
                    continue;
                }
                b')' => {
                    if open.pop().is_none() {
                        return self.error(self.at, TextErrorKind::StrayParenthesis);
                    }
                    self.at += 1;
                    attached = false;
                    continue;
                }
                b'"' => tokens.push(self.quoted(attached)?),
                _ => tokens.push(self.word(attached)),
            }
            attached = true;
        }
        if let Some(place) = open.pop() {
            self.at = self.text.len();
            return Err(TextError::new(place, TextErrorKind::OpenParenthesis));
        }
        Ok((!tokens.is_empty()).then_some(Entry {
            tokens,
            begins_with_blank,
        }))
    }

    fn word(&mut self, attached: bool) -> Token<'t> {
        let (start, place) = (self.at, self.place(self.at));
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                // What is escaped does not end the word; a line's end does.
                b'\\'
                    if self
                        .text
                        .get(self.at + 1)
                        .is_some_and(|next| *next != b'\n') =>
                {
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        Token {
            octets: &self.text[start..self.at],
            quoted: false,
            attached,
            place,
        }
    }

    fn quoted(&mut self, attached: bool) -> Result<Token<'t>, TextError> {
        let (start, place) = (self.at + 1, self.place(self.at));
        self.at += 1;
        loop {
            match self.peek() {
                None | Some(b'\n') => {
                    return self.error(start - 1, TextErrorKind::OpenQuote);
                }
                Some(b'"') => break,
                Some(b'\\')
                    if self
                        .text
                        .get(self.at + 1)
                        .is_some_and(|next| *next != b'\n') =>
                {
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
        let octets = &self.text[start..self.at];
        self.at += 1;
        Ok(Token {
            octets,
            quoted: true,
            attached,
            place,
        })
    }
}

impl<'t> Iterator for Entries<'t> {
    type Item = Result<Entry<'t>, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entry().transpose()
    }
}
