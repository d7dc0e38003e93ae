//! Names that stand for expressions: *template*'s `var`.
//!
//! A name is what it was defined as, wherever it stands: the expression is put in its place when the
//! one that uses it is compiled. So it has the same value everywhere, and programs know of no
//! variables.
use crate::builtin;
use crate::check::compile_with;
use crate::error::CompileError;
use crate::parse::{Part, Tree, parse};
use crate::program::Program;
use crate::types::{Function, Type};
use crate::{DEPTH_MAX, PARTS_MAX};

/// Variables that expressions may name.
#[derive(Clone, Debug, Default)]
pub struct Variables(Vec<(String, Definition)>);

/// Why a word is no name of a variable; CoreDNS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is no word of letters, digits and `_`.
    #[error("invalid variable name")]
    Invalid,
    /// It means something already.
    #[error("is reserved")]
    Reserved,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    tree: Tree,
    /// Parts and levels, those of other variables included.
    size: usize,
    depth: usize,
}

impl Variables {
    /// Whether a variable may have this name.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_name(name: &str, functions: &[Function]) -> Result<(), NameError> {
        let first = name
            .bytes()
            .next()
            .is_some_and(|octet| !octet.is_ascii_digit());
        if !first
            || !name
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
        {
            return Err(NameError::Invalid);
        }
        let function = functions.iter().any(|function| function.name == name);
        let word =
            !matches!(parse(name).map(|tree| tree.part), Ok(Part::Name(word)) if word == name);
        match function || word || builtin::find(name).is_some() || RESERVED.contains(&name) {
            true => Err(NameError::Reserved),
            false => Ok(()),
        }
    }

    /// Compiles an expression and has `name` stand for it from now on.
    ///
    /// # Errors
    /// With the place: what is no expression, or names nothing.
    pub fn define(
        &mut self,
        name: &str,
        text: &str,
        functions: &[Function],
    ) -> Result<Program, CompileError> {
        let (program, _, definition) = compile_with(text, functions, self)?;
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), definition));
        Ok(program)
    }

    /// Compiles a condition that may name the variables.
    ///
    /// # Errors
    /// With the place: what is no expression, or names nothing.
    pub fn compile(&self, text: &str, functions: &[Function]) -> Result<Program, CompileError> {
        let (program, kind, _) = compile_with(text, functions, self)?;
        Ok(program.expected_to_hold(kind, text))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Definition> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, definition)| definition)
    }
}

/// Functions of expr-lang that are none here, so that nobody takes their names.
const RESERVED: &[&str] = &[
    "abs",
    "bitand",
    "bitnand",
    "bitnot",
    "bitor",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitxor",
    "ceil",
    "concat",
    "count",
    "date",
    "duration",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "first",
    "flatten",
    "float",
    "floor",
    "fromBase64",
    "fromJSON",
    "fromPairs",
    "get",
    "groupBy",
    "hasPrefix",
    "hasSuffix",
    "indexOf",
    "int",
    "join",
    "keys",
    "last",
    "lastIndexOf",
    "len",
    "lower",
    "map",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "none",
    "now",
    "one",
    "reduce",
    "repeat",
    "replace",
    "reverse",
    "round",
    "sort",
    "sortBy",
    "split",
    "splitAfter",
    "string",
    "sum",
    "take",
    "timezone",
    "toBase64",
    "toJSON",
    "toPairs",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "type",
    "uniq",
    "upper",
    "values",
];

impl Definition {
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// What variables add to the expression that names them.
#[derive(Debug, Default)]
pub(crate) struct Used {
    size: usize,
    depth: usize,
}

impl Used {
    /// Counts one use.
    pub(crate) fn add(
        &mut self,
        definition: &Definition,
        source: &str,
        tree: &Tree,
    ) -> Result<(), CompileError> {
        self.size += definition.size;
        self.depth = self.depth.max(definition.depth);
        if self.size > PARTS_MAX || definition.depth + tree.depth > DEPTH_MAX {
            let text = "the expression is too large with its variables put in";
            return Err(CompileError::new(text, source, tree.at));
        }
        Ok(())
    }

    /// What the expression is as a variable.
    pub(crate) fn define(self, tree: Tree) -> Definition {
        Definition {
            size: tree.size + self.size,
            depth: tree.depth + self.depth,
            tree,
        }
    }
}

impl Program {
    /// Warns when the value is no condition.
    pub(crate) fn expected_to_hold(mut self, kind: Type, source: &str) -> Self {
        if !kind.is(Type::Bool) {
            let text = format!("the expression is a {kind}, which is never true");
            self.warnings.push(CompileError::new(text, source, 0));
        }
        self
    }
}
