//! A program: the tree with its types settled, patterns and networks read, constants stored once.
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;

use crate::builtin::Builtin;
use crate::error::CompileError;
use crate::run::{Host, Machine, RunError, Scratch};

/// A compiled expression; may be run on many threads at once.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) root: Node,
    pub(crate) constants: Constants,
    pub(crate) warnings: Vec<CompileError>,
}

/// Texts and arrays that stand in the expression.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    pub(crate) text: String,
    pub(crate) items: Vec<Value>,
}

/// A value while a program runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Span),
    /// A text that nobody has needed as one yet.
    Address(IpAddr),
    Array(Span),
    /// Whole numbers from one to the other, both included.
    Range(i64, i64),
}

/// Where a text or an array lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) home: Home,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Constants,
    Scratch,
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Value),
    /// A function of the host.
    Call(usize, Box<[Self]>),
    Builtin(Builtin, Box<[Self]>),
    /// `incidr` with a network that is known.
    InNetwork(Box<Self>, IpNet),
    Matches(Box<Self>, Regex),
    /// `in` with texts that are known, sorted.
    InTexts(Box<Self>, Box<[Box<str>]>),
    All(Box<[Self]>),
    Any(Box<[Self]>),
    Not(Box<Self>),
    Negative(Box<Self>),
    Binary(Binary, Box<(Self, Self)>),
    Conditional(Box<(Self, Self, Self)>),
    Array(Box<[Self]>),
    Quantifier(Quantifier, Box<(Self, Self)>),
    /// The element that the innermost predicate looks at.
    Element,
}

/// Operators with two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    Coalesce,
    Index,
}

/// Functions that ask a condition of each element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    All,
    Any,
    One,
    None,
    Count,
}

impl Program {
    /// Whether the expression is true; false when it fails, or is no condition.
    pub fn holds(&self, host: &dyn Host, scratch: &mut Scratch) -> bool {
        matches!(self.try_holds(host, scratch), Ok(Some(true)))
    }

    /// The expression's value, if it is a condition, or why it has none.
    pub fn try_holds(
        &self,
        host: &dyn Host,
        scratch: &mut Scratch,
    ) -> Result<Option<bool>, RunError> {
        Machine::new(&self.constants, host, scratch)
            .value(&self.root)
            .map(|value| match value {
                Value::Bool(holds) => Some(holds),
                _ => None,
            })
    }

    /// What the expression says that cannot be meant: it is no condition, or fails always.
    pub fn warnings(&self) -> &[CompileError] {
        &self.warnings
    }
}
