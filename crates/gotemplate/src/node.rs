//! The parsed form, and how Go writes it back: in error messages and as a metric's label.
use std::fmt;

use crate::functions::Function;
use crate::number::Number;

/// A piece of a template, between other pieces.
#[derive(Debug)]
pub(crate) enum Node {
    Text(Box<str>),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template {
        pos: usize,
        name: Box<str>,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// `if`, `with` or `range`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// Commands, each with the last one's result as its last argument.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Variables that take the result.
    pub(crate) variables: Vec<Box<str>>,
    /// They are there already.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

/// A function, field or value with its arguments; never empty.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) pos: usize,
    pub(crate) operands: Vec<Operand>,
}

/// A value, with its place.
#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) pos: usize,
    pub(crate) what: What,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum What {
    Dot,
    Nil,
    Bool(bool),
    Number(Box<str>, Number),
    Text {
        quoted: Box<str>,
        text: Box<str>,
    },
    Field(Vec<Box<str>>),
    /// With the fields behind it.
    Variable(Box<str>, Vec<Box<str>>),
    Function(&'static Function),
    Chain(Box<Operand>, Vec<Box<str>>),
    Pipe(Pipe),
}

impl What {
    /// Whether it can only stand first in a pipeline.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Dot | Self::Nil | Self::Bool(_) | Self::Number(..) | Self::Text { .. }
        )
    }
}

/// A list of nodes as text.
pub(crate) struct Shown<'n>(pub(crate) &'n [Node]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|node| node.fmt(f))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            Self::If(branch) => branch.show(f, "if"),
            Self::With(branch) => branch.show(f, "with"),
            Self::Range(branch) => branch.show(f, "range"),
            Self::Template { name, pipe, .. } => {
                write!(f, "{{{{template {}", crate::quote::quote(name))?;
                pipe.as_ref().map_or(Ok(()), |pipe| write!(f, " {pipe}"))?;
                f.write_str("}}")
            }
            Self::Break => f.write_str("{{break}}"),
            Self::Continue => f.write_str("{{continue}}"),
        }
    }
}

impl Branch {
    fn show(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        write!(f, "{{{{{word} {}}}}}{}", self.pipe, Shown(&self.list))?;
        if let Some(otherwise) = &self.otherwise {
            write!(f, "{{{{else}}}}{}", Shown(otherwise))?;
        }
        f.write_str("{{end}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, variable) in self.variables.iter().enumerate() {
            write!(f, "{}{variable}", if index > 0 { ", " } else { "" })?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if index > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, operand) in self.operands.iter().enumerate() {
            f.write_str(if index > 0 { " " } else { "" })?;
            operand.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[Box<str>]| {
            fields.iter().try_for_each(|field| write!(f, ".{field}"))
        };
        match &self.what {
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Bool(value) => value.fmt(f),
            What::Number(text, _) => f.write_str(text),
            What::Text { quoted, .. } => f.write_str(quoted),
            What::Field(names) => fields(f, names),
            What::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            What::Function(function) => f.write_str(function.name),
            What::Chain(operand, names) => {
                operand.fmt(f)?;
                fields(f, names)
            }
            What::Pipe(pipe) => write!(f, "({pipe})"),
        }
    }
}
