//! Where something stands.
use std::fmt;
use std::sync::Arc;

/// A text that was read: the Corefile or an imported file.
#[derive(PartialEq, Eq)]
pub struct SourceFile {
    /// What errors call it: as written after `-conf`, or the absolute path of an import.
    pub name: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// The line with this number, counted from 1, without its end.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.text
            .lines()
            .nth(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

impl fmt::Display for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The text.
    pub file: Arc<SourceFile>,
    /// Line, counted from 1.
    pub line: u32,
    /// Character in the line, counted from 1.
    pub column: u32,
    /// Where the text, or the snippet the place is in, was imported.
    pub imported_from: Option<Arc<Self>>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
