//! Errors with their place, as expr-lang shows them.
use std::fmt;

/// Why a text is no program.
///
/// Shown with line, column, and the line with a mark under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    message: String,
    /// Character in the text, counted from 0.
    at: usize,
    line: usize,
    column: usize,
    snippet: String,
}

impl CompileError {
    /// An error at the character `at` of `source`.
    pub(crate) fn new(message: impl Into<String>, source: &str, at: usize) -> Self {
        let before: String = source.chars().take(at).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let snippet = source.lines().nth(line - 1).unwrap_or_default();
        Self {
            message: message.into(),
            at,
            line,
            column,
            snippet: snippet.replace('\t', " "),
        }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What is wrong, with line and column but without the line itself.
    pub fn headline(&self) -> String {
        format!("{} ({}:{})", self.message, self.line, self.column + 1)
    }

    /// Where: a character of the text, counted from 0.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = ".".repeat(self.column);
        write!(f, "{}\n | {}\n | {mark}^", self.headline(), self.snippet)
    }
}

impl std::error::Error for CompileError {}
