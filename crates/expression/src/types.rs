//! Types of values, and of the functions that a host offers.
use std::fmt;

/// What kind of value a part of an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Known only when the program runs.
    Any,
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A number of double precision.
    Float,
    /// Text.
    Text,
    /// Values in an order.
    Array(Element),
}

/// What kind of values an array has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Of several kinds, or known only when the program runs.
    Any,
    /// `true` or `false`.
    Bool,
    /// Whole numbers.
    Int,
    /// Numbers of double precision.
    Float,
    /// Texts.
    Text,
}

/// A function of the host.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// What expressions call it.
    pub name: &'static str,
    /// What it takes; four at most.
    pub parameters: &'static [Type],
    /// What it returns.
    pub result: Type,
}

impl Type {
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Any)
    }

    pub(crate) fn is(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any || wanted == Self::Any
    }

    /// Whether values of both can be equal.
    pub(crate) fn comparable(self, other: Self) -> bool {
        let number = |this: Self| matches!(this, Self::Int | Self::Float);
        let array = |this: Self| matches!(this, Self::Array(_));
        self.is(other)
            || number(self) && number(other)
            || array(self) && array(other)
            || self == Self::Nil
            || other == Self::Nil
    }

    /// The type of both, if there is one.
    pub(crate) fn joined(self, other: Self) -> Self {
        if self == other { self } else { Self::Any }
    }

    /// What an array of this is made of.
    pub(crate) fn element(self) -> Element {
        match self {
            Self::Bool => Element::Bool,
            Self::Int => Element::Int,
            Self::Float => Element::Float,
            Self::Text => Element::Text,
            Self::Any | Self::Nil | Self::Array(_) => Element::Any,
        }
    }
}

impl Element {
    pub(crate) fn value(self) -> Type {
        match self {
            Self::Any => Type::Any,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Float => Type::Float,
            Self::Text => Type::Text,
        }
    }
}

impl fmt::Display for Type {
    /// Go's names, which expr-lang's errors show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("unknown"),
            Self::Nil => f.write_str("nil"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float64"),
            Self::Text => f.write_str("string"),
            Self::Array(Element::Any) => f.write_str("[]interface {}"),
            Self::Array(element) => write!(f, "[]{}", element.value()),
        }
    }
}
