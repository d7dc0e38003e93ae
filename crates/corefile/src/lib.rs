//! Corefile text to located server blocks.
//!
//! | module | what it is |
//! |---|---|
//! | [`lex`] | text to tokens with their places: quotes, comments, environment variables |
//! | [`mod@parse`] | tokens to server blocks: keys, directives, snippets, imports |
//! | [`key`] | zones, schemes and ports of keys; CIDR to reverse zones |
//! | [`duration`] | durations as Go prints them |
//! | [`lines`] | one directive's tokens as arguments and option lines, for plugins |
//! | [`error`] | mistakes with file, line, column, the line itself and a suggestion |
//!
//! Knows no directive: the caller says which there are. Reads files only to import them.
mod duration;
mod error;
mod import;
mod key;
mod lex;
mod lines;
mod location;
mod parse;
mod suggest;

pub use duration::go_duration;
pub use error::{Kind, ParseError};
pub use key::{Key, Transport, ZoneError, follows_preferred_syntax, parse_zone_or_cidr};
pub use lex::Token;
pub use lines::{Line, Occurrence};
pub use location::{Location, SourceFile};
pub use parse::{Corefile, Directive, ServerBlock, Source, parse};
