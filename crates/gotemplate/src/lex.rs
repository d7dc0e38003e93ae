//! From text to tokens, as Go's `text/template/parse/lex.go` makes them.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Assign,
    Bool,
    Char,
    CharConstant,
    Declare,
    Eof,
    Error,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    // Words of the language; `Dot` counts among them.
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// One token with its place.
#[derive(Clone, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    /// Octets before it.
    pub(crate) pos: usize,
    pub(crate) text: &'t str,
    /// What an [`Kind::Error`] says.
    pub(crate) error: Option<String>,
    /// The first is 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    /// What Go calls it in messages.
    pub(crate) fn shown(&self) -> String {
        match (&self.error, self.kind) {
            (Some(error), _) => error.clone(),
            (None, Kind::Eof) => "EOF".to_owned(),
            (None, kind) if kind as u8 >= Kind::Block as u8 => format!("<{}>", self.text),
            (None, _) if self.text.len() > 10 => {
                let head: String = self.text.chars().take(10).collect();
                format!("{}...", crate::quote::quote(&head))
            }
            (None, _) => crate::quote::quote(self.text),
        }
    }
}

/// All tokens of a text; the last is [`Kind::Eof`] or [`Kind::Error`].
pub(crate) fn lex(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        pos: 0,
        line: 1,
        tokens: Vec::new(),
    };
    // An error has left its token.
    let _ = lexer.run();
    lexer.tokens
}

/// An error token has been made; there is nothing behind it.
struct Ended;

struct Lexer<'t> {
    text: &'t str,
    pos: usize,
    line: usize,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(), Ended> {
        while let Some(at) = self.rest().find("{{") {
            let start = self.pos;
            let (before, inside) = (&self.text[start..start + at], start + at + 2);
            let trim = is_left_trim(&self.text[inside..]);
            let kept = if trim {
                before.trim_end_matches(is_space)
            } else {
                before
            };
            self.emit(Kind::Text, start, start + kept.len());
            self.advance(inside - 2);
            let first = if trim { inside + 2 } else { inside };
            if self.text[first..].starts_with("/*") {
                self.advance(first);
                self.comment()?;
                continue;
            }
            self.emit(Kind::LeftDelim, inside - 2, inside);
            self.advance(first);
            self.action()?;
        }
        let (start, end) = (self.pos, self.text.len());
        self.emit(Kind::Text, start, end);
        self.advance(end);
        self.push(Kind::Eof, end, "", None);
        Ok(())
    }

    fn rest(&self) -> &'t str {
        &self.text[self.pos..]
    }

    /// Goes on to `to`, counting lines.
    fn advance(&mut self, to: usize) {
        let passed = &self.text[self.pos..to];
        self.line += passed.bytes().filter(|octet| *octet == b'\n').count();
        self.pos = to;
    }

    fn push(&mut self, kind: Kind, pos: usize, text: &'t str, error: Option<String>) {
        let line = self.line;
        self.tokens.push(Token {
            kind,
            pos,
            text,
            error,
            line,
        });
    }

    /// Makes a token of a part of the text; an empty text is none.
    fn emit(&mut self, kind: Kind, start: usize, end: usize) {
        if kind != Kind::Text || end > start {
            self.push(kind, start, &self.text[start..end], None);
        }
    }

    fn fail<T>(&mut self, what: impl Into<String>) -> Result<T, Ended> {
        self.push(Kind::Error, self.pos, "", Some(what.into()));
        Err(Ended)
    }

    /// Passes a comment over, its closing delimiter included.
    fn comment(&mut self) -> Result<(), Ended> {
        let Some(length) = self.text[self.pos + 2..].find("*/") else {
            return self.fail("unclosed comment");
        };
        self.advance(self.pos + 2 + length + 2);
        match self.right_delim() {
            Some(_) => Ok(()),
            None => self.fail("comment ends before closing delimiter"),
        }
    }

    /// Passes a closing delimiter over, and the space that it trims; returns where it began.
    fn right_delim(&mut self) -> Option<usize> {
        let trim = is_right_trim(self.rest());
        let start = if trim { self.pos + 2 } else { self.pos };
        if !self.text[start..].starts_with("}}") {
            return None;
        }
        self.advance(start + 2);
        if trim {
            let behind = self.rest().trim_start_matches(is_space);
            self.advance(self.text.len() - behind.len());
        }
        Some(start)
    }

    fn action(&mut self) -> Result<(), Ended> {
        let mut parens = 0usize;
        loop {
            let line = self.line;
            let before = self.pos;
            if let Some(start) = self.right_delim() {
                if parens > 0 {
                    self.pos = before;
                    return self.fail("unclosed left paren");
                }
                self.emit(Kind::RightDelim, start, start + 2);
                if let Some(token) = self.tokens.last_mut() {
                    token.line = line;
                }
                return Ok(());
            }
            let Some(first) = self.rest().chars().next() else {
                return self.fail("unclosed action");
            };
            let kind = match first {
                _ if is_space(first) => {
                    self.space();
                    continue;
                }
                '=' => Kind::Assign,
                ':' if self.rest().starts_with(":=") => Kind::Declare,
                ':' => return self.fail("expected :="),
                '|' => Kind::Pipe,
                '(' => {
                    parens += 1;
                    Kind::LeftParen
                }
                ')' if parens == 0 => return self.fail("unexpected right paren"),
                ')' => {
                    parens -= 1;
                    Kind::RightParen
                }
                '"' | '\'' => {
                    self.quoted(first)?;
                    continue;
                }
                '`' => {
                    let Some(length) = self.rest()[1..].find('`') else {
                        return self.fail("unterminated raw quoted string");
                    };
                    self.take(Kind::RawString, length + 2);
                    continue;
                }
                '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.named(Kind::Field)?;
                    continue;
                }
                '$' => {
                    self.named(Kind::Variable)?;
                    continue;
                }
                '+' | '-' | '.' | '0'..='9' => {
                    self.number()?;
                    continue;
                }
                _ if is_alphanumeric(first) => {
                    self.identifier()?;
                    continue;
                }
                ' '..='~' => Kind::Char,
                _ => {
                    let what = format!(
                        "unrecognized character in action: {}",
                        crate::quote::unicode(first)
                    );
                    return self.fail(what);
                }
            };
            self.take(kind, if kind == Kind::Declare { 2 } else { 1 });
        }
    }

    /// Makes a token of the next `length` octets.
    fn take(&mut self, kind: Kind, length: usize) {
        let start = self.pos;
        self.emit(kind, start, start + length);
        self.advance(start + length);
    }

    fn space(&mut self) {
        let mut length = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        // The last one belongs to a closing delimiter that trims.
        let last = &self.text[self.pos + length - 1..];
        if is_right_trim(last) && last[2..].starts_with("}}") {
            length -= 1;
        }
        if length > 0 {
            self.take(Kind::Space, length);
        }
    }

    /// A string or a character, quotes included.
    fn quoted(&mut self, quote: char) -> Result<(), Ended> {
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' if characters.next().is_some_and(|(_, next)| next != '\n') => (),
                '\\' | '\n' => break,
                _ if character == quote => {
                    let kind = match quote {
                        '"' => Kind::String,
                        _ => Kind::CharConstant,
                    };
                    self.take(kind, at + 1);
                    return Ok(());
                }
                _ => (),
            }
        }
        self.fail(match quote {
            '"' => "unterminated quoted string",
            _ => "unterminated character constant",
        })
    }

    /// `.Field` or `$variable`, or the mark alone.
    fn named(&mut self, kind: Kind) -> Result<(), Ended> {
        let name = &self.rest()[1..];
        let length = name.len() - name.trim_start_matches(is_alphanumeric).len();
        self.at_terminator(1 + length)?;
        match (kind, length) {
            (Kind::Field, 0) => self.take(Kind::Dot, 1),
            _ => self.take(kind, 1 + length),
        }
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), Ended> {
        let length = self.rest().len() - self.rest().trim_start_matches(is_alphanumeric).len();
        self.at_terminator(length)?;
        let kind = match &self.rest()[..length] {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "nil" => Kind::Nil,
            "range" => Kind::Range,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.take(kind, length);
        Ok(())
    }

    /// Whether a name may end `length` octets from here.
    fn at_terminator(&mut self, length: usize) -> Result<(), Ended> {
        let behind = &self.rest()[length..];
        match behind.chars().next() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(c) if is_space(c) || behind.starts_with("}}") => Ok(()),
            Some(c) => self.fail(format!("bad character {}", crate::quote::unicode(c))),
        }
    }

    /// A number; what it is worth is the parser's business.
    fn number(&mut self) -> Result<(), Ended> {
        let rest = self.rest();
        let (mut length, mut whole) = scan_number(rest);
        if whole && rest[length..].starts_with(['+', '-']) {
            // The second half of a complex number.
            let (half, good) = scan_number(&rest[length..]);
            length += half;
            whole = good && rest[..length].ends_with('i');
        }
        if !whole {
            let what = format!(
                "bad number syntax: {}",
                crate::quote::quote(&rest[..length])
            );
            return self.fail(what);
        }
        self.take(Kind::Number, length);
        Ok(())
    }
}

/// Octets of the number that a text begins with, and whether it ends there.
fn scan_number(text: &str) -> (usize, bool) {
    let octets = text.as_bytes();
    let run = |from: usize, radix: u32| {
        let digit = |octet: &u8| char::from(*octet).is_digit(radix) || *octet == b'_';
        from + octets[from..]
            .iter()
            .take_while(|octet| digit(octet))
            .count()
    };
    let one = |at: usize, of: &[u8]| usize::from(octets.get(at).is_some_and(|o| of.contains(o)));
    let (mut at, mut radix, mut exponent) = (one(0, b"+-"), 10, &b"eE"[..]);
    if one(at, b"0") == 1 {
        at += 1;
        (radix, exponent) = match octets.get(at) {
            Some(b'x' | b'X') => (16, &b"pP"[..]),
            Some(b'o' | b'O') => (8, &b""[..]),
            Some(b'b' | b'B') => (2, &b""[..]),
            _ => (10, exponent),
        };
        at += one(at, b"xXoObB");
    }
    at = run(at, radix);
    if one(at, b".") == 1 {
        at = run(at + 1, radix);
    }
    if one(at, exponent) == 1 {
        at += 1;
        at += one(at, b"+-");
        at = run(at, 10);
    }
    at += one(at, b"i");
    match text[at..].chars().next().filter(|c| is_alphanumeric(*c)) {
        Some(character) => (at + character.len_utf8(), false),
        None => (at, true),
    }
}

pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn is_left_trim(text: &str) -> bool {
    text.strip_prefix('-')
        .is_some_and(|behind| behind.starts_with(is_space))
}

fn is_right_trim(text: &str) -> bool {
    text.strip_prefix(is_space)
        .is_some_and(|behind| behind.starts_with('-'))
}
