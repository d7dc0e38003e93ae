//! Conditions in a part of the language of expr-lang, which CoreDNS's *view* uses: text to a typed
//! program, and its value for one query.
//!
//! | module | what it is |
//! |---|---|
//! | `lex` | text to tokens |
//! | `parse` | tokens to a tree, with expr-lang's precedences |
//! | `check` | types, and the tree as a program: patterns and networks are read here, once |
//! | `builtin` | the functions of the language itself |
//! | `run` | the value of a program |
//! | `variables` | names for values of other expressions |
//! | `output` | a program's value outside of it |
//! | [`pattern()`] | RE2's syntax for the *regex* crate |
//! | [`error`] | errors with their place, as expr-lang shows them |
//!
//! Not here: what the functions of a query mean; a [`Host`] knows. Nothing waits, and nothing grows
//! without bound: expressions are limited in size and depth when they are compiled, and in steps and
//! memory when they run. Running allocates only until its [`Scratch`] is large enough.
//!
//! ```
//! use corten_expression::{Argument, Function, Host, Returned, Scratch, Type, compile};
//!
//! struct Query(u16);
//! impl Host for Query {
//!     fn call(&self, _: usize, _: &[Argument<'_>], _: &mut String) -> Returned {
//!         Returned::Int(self.0.into())
//!     }
//! }
//! const PORT: Function = Function { name: "port", parameters: &[], result: Type::Int };
//!
//! let program = compile("port() in 1024..65535 and port() != 5353", &[PORT]).unwrap();
//! assert!(program.holds(&Query(4000), &mut Scratch::default()));
//! assert!(!program.holds(&Query(53), &mut Scratch::default()));
//! assert_eq!(
//!     compile("port( ==", &[PORT]).unwrap_err().to_string(),
//!     "unexpected token Operator(\"==\") (1:7)\n | port( ==\n | ......^",
//! );
//! ```
mod builtin;
mod check;
pub mod error;
mod lex;
mod output;
mod parse;
mod pattern;
mod program;
mod run;
mod types;
mod variables;

pub use check::compile;
pub use error::CompileError;
pub use output::Output;
pub use pattern::pattern;
pub use program::Program;
pub use run::{Argument, Host, Returned, RunError, Scratch};
pub use types::{Element, Function, Type};
pub use variables::{NameError, Variables};

/// Octets of the longest expression.
pub const TEXT_OCTETS_MAX: usize = 64 << 10;
/// Most parts inside one another; `and` and `or` may have as many terms as fit.
pub const DEPTH_MAX: usize = 100;
/// Most parts of an expression: names, constants, operators.
pub const PARTS_MAX: usize = 10_000;
/// Steps of one run: one for each part that is looked at, and for each element of an array.
pub const STEPS_MAX: u32 = 100_000;
/// Octets of text that one run may make.
pub const SCRATCH_OCTETS_MAX: usize = 64 << 10;
/// Elements of arrays that one run may make.
pub const SCRATCH_ITEMS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
