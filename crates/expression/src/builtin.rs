//! The functions of the language itself.
use crate::types::Type;

/// A function with what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    InCidr,
    Len,
    Int,
    Float,
    String,
    Lower,
    Upper,
    Trim,
    TrimPrefix,
    TrimSuffix,
    HasPrefix,
    HasSuffix,
    IndexOf,
    Split,
    Replace,
    Join,
    Abs,
    Min,
    Max,
}

/// What stands in an argument's place: a type, or one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Text,
    Number,
    /// A text or an array.
    Sized,
    Anything,
}

use Takes::{Anything, Number, Sized, Text};

/// Name, function, parameters; `incidr` is CoreDNS's, the others are expr-lang's.
const ALL: [(&str, Builtin, &[Takes]); 19] = [
    ("incidr", Builtin::InCidr, &[Text, Text]),
    ("len", Builtin::Len, &[Sized]),
    ("int", Builtin::Int, &[Anything]),
    ("float", Builtin::Float, &[Anything]),
    ("string", Builtin::String, &[Anything]),
    ("lower", Builtin::Lower, &[Text]),
    ("upper", Builtin::Upper, &[Text]),
    ("trim", Builtin::Trim, &[Text]),
    ("trimPrefix", Builtin::TrimPrefix, &[Text, Text]),
    ("trimSuffix", Builtin::TrimSuffix, &[Text, Text]),
    ("hasPrefix", Builtin::HasPrefix, &[Text, Text]),
    ("hasSuffix", Builtin::HasSuffix, &[Text, Text]),
    ("indexOf", Builtin::IndexOf, &[Text, Text]),
    ("split", Builtin::Split, &[Text, Text]),
    ("replace", Builtin::Replace, &[Text, Text, Text]),
    ("join", Builtin::Join, &[Sized, Text]),
    ("abs", Builtin::Abs, &[Number]),
    ("min", Builtin::Min, &[Number, Number]),
    ("max", Builtin::Max, &[Number, Number]),
];

/// The function of this name, with its parameters.
pub(crate) fn find(name: &str) -> Option<(Builtin, &'static [Takes])> {
    let found = ALL.iter().find(|(own, ..)| *own == name)?;
    Some((found.1, found.2))
}

/// Names of all functions.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, ..)| *name)
}

impl Builtin {
    /// What comes out, for arguments of these types.
    pub(crate) fn result(self, arguments: &[Type]) -> Type {
        match self {
            Self::InCidr | Self::HasPrefix | Self::HasSuffix => Type::Bool,
            Self::Len | Self::Int | Self::IndexOf => Type::Int,
            Self::Float => Type::Float,
            Self::String
            | Self::Lower
            | Self::Upper
            | Self::Trim
            | Self::TrimPrefix
            | Self::TrimSuffix
            | Self::Replace
            | Self::Join => Type::Text,
            Self::Split => Type::Array(Type::Text.element()),
            Self::Abs | Self::Min | Self::Max => arguments
                .iter()
                .copied()
                .reduce(Type::joined)
                .unwrap_or(Type::Any),
        }
    }
}

impl Takes {
    pub(crate) fn accepts(self, given: Type) -> bool {
        match self {
            Self::Text => given.is(Type::Text),
            Self::Number => given.is_number(),
            Self::Sized => given.is(Type::Text) || matches!(given, Type::Array(_)),
            Self::Anything => true,
        }
    }

    /// As errors call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Sized => "string or array",
            Self::Anything => "any",
        }
    }
}
