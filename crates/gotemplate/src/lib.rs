//! Go's `text/template` language: a text with `{{ actions }}`, parsed once and executed often.
//!
//! | module | what it is |
//! |---|---|
//! | [`value`] | what templates work with; [`Object`] is how a caller shows its own types |
//! | `lex`, `parse`, `node` | from text to the parsed form, and back |
//! | `exec` | runs it, within [`Limits`] |
//! | [`functions`] | `index`, `printf`, `eq` and the others; callers add their own |
//! | `format`, `quote`, `escape` | Go's `fmt`, `strconv` and escaping |
//!
//! Texts, truth, comparison and messages are Go 1.26's; `tests/recorded.txt` holds what Go does.
//! Not here: complex numbers, hexadecimal floats, texts that are no UTF-8, channels and function
//! values. No I/O.
mod escape;
mod exec;
mod format;
pub mod functions;
mod lex;
mod node;
mod number;
mod parse;
mod parse_uint;
mod quote;
pub mod value;

use std::fmt;

pub use exec::Limits;
pub use functions::{CallError, Function, Parameter};
pub use parse_uint::PARSE_INT;
pub use value::{MethodError, Object, Shape, Value, Width};

use node::{Node, Shown, What};

/// A parsed template.
pub struct Template {
    name: Box<str>,
    text: Box<str>,
    trees: parse::Trees,
}

/// A text that is no template; Go's words, with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ParseError {
    text: String,
}

/// A template that could not be executed; Go's words, with line, column and the action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ExecError {
    text: String,
}

/// A part of a template that needs no execution: see [`Template::pieces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Text between actions.
    Text(&'t str),
    /// An action that is nothing but a field of the data, such as `{{ .Name }}`.
    Field(&'t str),
}

impl Template {
    /// Parses a text. `functions` are known beside those of the language.
    ///
    /// # Errors
    /// When it is no template; functions and variables that do not exist count.
    pub fn parse(
        name: &str,
        text: &str,
        functions: &'static [Function],
    ) -> Result<Self, ParseError> {
        let trees = parse::parse(name, text, functions)?;
        let (name, text) = (name.into(), text.into());
        Ok(Self { name, text, trees })
    }

    /// Executes it with `data` as dot, and appends its output to `out`.
    ///
    /// # Errors
    /// When a function fails, a field does not exist, or a limit is reached; `out` then holds what
    /// was written before.
    pub fn execute<'a>(
        &'a self,
        data: Value<'a>,
        limits: &Limits,
        out: &mut String,
    ) -> Result<(), ExecError> {
        exec::execute(self, data, limits, out)
    }

    /// The template's parts, if they are nothing but text and fields of the data.
    pub fn pieces(&self) -> Option<Vec<Piece<'_>>> {
        self.root().iter().map(piece).collect()
    }

    fn root(&self) -> &[Node] {
        self.trees.get(&self.name).map_or(&[], |nodes| nodes)
    }
}

fn piece(node: &Node) -> Option<Piece<'_>> {
    let pipe = match node {
        Node::Text(text) => return Some(Piece::Text(text)),
        Node::Action(pipe) if pipe.variables.is_empty() => pipe,
        _ => return None,
    };
    let [command] = &pipe.commands[..] else {
        return None;
    };
    let [operand] = &command.operands[..] else {
        return None;
    };
    match &operand.what {
        What::Field(names) if names.len() == 1 => Some(Piece::Field(&names[0])),
        _ => None,
    }
}

/// The template as Go writes it: comments gone, one blank between words.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.root()).fmt(f)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({}: {self})", self.name)
    }
}
