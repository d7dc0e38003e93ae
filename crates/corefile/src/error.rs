//! Mistakes with their place.
use std::fmt;

use crate::location::Location;

/// Levels of imports that an error lists at most: a snippet that imports itself has thousands.
const IMPORTS_SHOWN_MAX: usize = 8;

/// How the first line of an error begins; CoreDNS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Error during parsing: `
    Parsing,
    /// `Syntax error: `
    Syntax,
}

/// A mistake in a Corefile.
///
/// The first line is CoreDNS's, `FILE:LINE - Error during parsing: TEXT`; behind it come the place
/// to the column, the line with a caret, a suggestion, and through which imports the place was
/// reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    kind: Kind,
    text: String,
    at: Location,
    help: Option<String>,
}

impl ParseError {
    /// A mistake found while parsing.
    pub fn new(at: &Location, text: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind: Kind::Parsing,
            text: text.into(),
            at: at.clone(),
            help: None,
        }))
    }

    pub(crate) fn syntax(at: &Location, text: impl Into<String>) -> Self {
        let mut error = Self::new(at, text);
        error.0.kind = Kind::Syntax;
        error
    }

    /// The same mistake with a suggestion.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// The same mistake with a suggestion, if there is one.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.0.help = help;
        self
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.0.at
    }

    /// What is wrong, without the place.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            kind,
            text,
            at,
            help,
        } = &*self.0;
        let kind = match kind {
            Kind::Parsing => "Error during parsing",
            Kind::Syntax => "Syntax error",
        };
        write!(f, "{}:{} - {kind}: {text}\n  --> {at}", at.file, at.line)?;
        if let Some(line) = at.file.line(at.line) {
            // Tabs are kept in front of the caret, so that it stands under its column whatever a
            // tab is worth.
            let before: String = line
                .chars()
                .take(at.column as usize - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let number = at.line.to_string();
            let margin = " ".repeat(number.len());
            write!(
                f,
                "\n {margin} |\n {number} | {line}\n {margin} | {before}^"
            )?;
        }
        if let Some(help) = help {
            write!(f, "\n  help: {help}")?;
        }
        let mut from = at.imported_from.as_ref();
        for _ in 0..IMPORTS_SHOWN_MAX {
            let Some(import) = from else { break };
            write!(f, "\n  imported at {}:{}", import.file, import.line)?;
            from = import.imported_from.as_ref();
        }
        Ok(())
    }
}

impl std::error::Error for ParseError {}
