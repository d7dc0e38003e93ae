//! A text taken apart: entries, one for each logical line, of tokens.
use std::borrow::Cow;

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
    /// Its text, where it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.octets).ok()
    }

    /// Its text as written, where it may be in any encoding.
    pub(super) fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.octets)
    }

    /// The same for messages.
    pub fn shown(&self) -> String {
        super::shown(self.octets)
    }
}

/// The tokens of one logical line; parentheses make several lines one.
#[derive(Clone, Debug, Default)]
pub struct Entry<'t> {
    /// Never empty where there is an entry.
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
    /// Where the entry begins that is read next, and its line.
    start: (usize, u32),
}

impl<'t> Entries<'t> {
    /// Of a whole text.
    pub fn new(text: &'t [u8]) -> Self {
        Self::from_line(text, 1)
    }

    /// Of a text whose first line has this number: a part of a larger one.
    pub fn from_line(text: &'t [u8], line: u32) -> Self {
        Self {
            text,
            at: 0,
            line,
            line_start: 0,
            start: (0, line),
        }
    }

    /// Where the entry begins that was not read, and the number of its line. After
    /// [`TextErrorKind::OpenParenthesis`] that is the one that goes on behind the text.
    pub fn rest(&self) -> (usize, u32) {
        self.start
    }

    /// Reads the next entry into one that is there already, so that its memory is used again. False
    /// at the end, where it is empty.
    ///
    /// # Errors
    /// A quote or parenthesis that is not closed, or never opened; no more entries are read then.
    pub fn read(&mut self, entry: &mut Entry<'t>) -> Result<bool, TextError> {
        entry.tokens.clear();
        self.start = (self.at, self.line);
        self.fill(entry)?;
        if !entry.tokens.is_empty() {
            self.start = (self.at, self.line);
        }
        Ok(!entry.tokens.is_empty())
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

    fn fill(&mut self, entry: &mut Entry<'t>) -> Result<(), TextError> {
        let (mut open, tokens) = (Vec::new(), &mut entry.tokens);
        entry.begins_with_blank = matches!(self.peek(), Some(b' ' | b'\t'));
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
                        entry.begins_with_blank = matches!(self.peek(), Some(b' ' | b'\t'));
                        self.start = (self.at, self.line);
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
        Ok(())
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
        let mut entry = Entry {
            tokens: Vec::with_capacity(8),
            begins_with_blank: false,
        };
        match self.read(&mut entry) {
            Ok(found) => found.then_some(Ok(entry)),
            Err(error) => Some(Err(error)),
        }
    }
}
