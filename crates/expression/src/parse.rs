//! Tokens to a tree, with expr-lang's precedences: `not` binds more tightly than a comparison, and
//! comparisons may be chained.
use crate::error::CompileError;
use crate::lex::{Kind, Token, tokens};
use crate::{DEPTH_MAX, PARTS_MAX};

/// A part of an expression and the character that its operator or its text begins with.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) part: Part,
    pub(crate) at: usize,
    /// Levels below this one.
    pub(crate) depth: usize,
    /// Parts in it.
    pub(crate) size: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Array(Vec<Tree>),
    /// `#`: the element that a predicate looks at.
    Element,
    Name(String),
    Call(String, Vec<Tree>),
    /// `not`, `-` or `+`.
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<(Tree, Tree)>),
    /// Terms of an `and`, in a row.
    All(Vec<Tree>),
    /// Terms of an `or`, in a row.
    Any(Vec<Tree>),
    Conditional(Box<(Tree, Tree, Tree)>),
    Index(Box<(Tree, Tree)>),
}

/// How tightly an operator with two sides binds; those that are not here have one side.
fn precedence(operator: &str) -> Option<u8> {
    Some(match operator {
        "|" => 0,
        "or" | "||" => 10,
        "and" | "&&" => 15,
        "==" | "!=" | "<" | ">" | ">=" | "<=" | "in" | "matches" | "contains" | "startsWith"
        | "endsWith" => COMPARISON,
        ".." => 25,
        "+" | "-" => 30,
        "*" | "/" | "%" => 60,
        "**" | "^" => 100,
        "??" => 200,
        _ => return None,
    })
}

const COMPARISON: u8 = 20;
const NOT: u8 = 50;
const SIGN: u8 = 90;

/// Reads a whole expression.
pub(crate) fn parse(source: &str) -> Result<Tree, CompileError> {
    let mut parser = Parser {
        source,
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
    };
    let tree = parser.expression(0)?;
    match parser.peek() {
        Kind::End => Ok(tree),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        // The last token is the end, and nobody goes behind it.
        &self.tokens[self.at].kind
    }

    fn place(&self) -> usize {
        self.tokens[self.at].at
    }

    fn operator(&self) -> Option<&'static str> {
        match self.peek() {
            Kind::Operator(operator) => Some(operator),
            _ => None,
        }
    }

    fn next(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn error(&self, message: impl Into<String>, at: usize) -> CompileError {
        CompileError::new(message, self.source, at)
    }

    fn unexpected(&self) -> CompileError {
        self.error(format!("unexpected token {}", self.peek()), self.place())
    }

    fn expect(&mut self, wanted: &Kind) -> Result<(), CompileError> {
        if self.peek() != wanted {
            return Err(self.unexpected());
        }
        self.next();
        Ok(())
    }

    fn tree(&self, part: Part, at: usize) -> Result<Tree, CompileError> {
        let (mut depth, mut size) = (0, 0);
        let mut count = |tree: &Tree| {
            depth = depth.max(tree.depth);
            size += tree.size;
        };
        match &part {
            Part::Array(trees) | Part::Call(_, trees) | Part::All(trees) | Part::Any(trees) => {
                trees.iter().for_each(count);
            }
            Part::Unary(_, tree) => count(tree),
            Part::Binary(_, two) | Part::Index(two) => [&two.0, &two.1].into_iter().for_each(count),
            Part::Conditional(three) => [&three.0, &three.1, &three.2].into_iter().for_each(count),
            _ => (),
        }
        self.bounded(Tree {
            part,
            at,
            depth: depth + 1,
            size: size + 1,
        })
    }

    fn bounded(&self, tree: Tree) -> Result<Tree, CompileError> {
        match tree.depth > DEPTH_MAX || tree.size > PARTS_MAX {
            true => Err(self.error(too_deep(), tree.at)),
            false => Ok(tree),
        }
    }

    fn expression(&mut self, least: u8) -> Result<Tree, CompileError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(too_deep(), self.place()));
        }
        let tree = self.operators(least);
        self.depth -= 1;
        tree
    }

    fn operators(&mut self, least: u8) -> Result<Tree, CompileError> {
        let mut left = self.primary()?;
        let mut before = "";
        while let Some(mut operator) = self.operator() {
            let (start, mut at) = (self.at, self.place());
            let negated = operator == "not";
            if negated {
                self.next();
                match self.operator() {
                    Some(word @ ("in" | "matches" | "contains" | "startsWith" | "endsWith")) => {
                        (operator, at) = (word, self.place())
                    }
                    _ => return Err(self.unexpected()),
                }
            }
            let Some(own) = precedence(operator).filter(|own| *own >= least) else {
                self.at = start;
                break;
            };
            self.next();
            if before == "??" && operator != "??" {
                let text = format!(
                    "Operator (??) and coalesce expressions ({operator}) cannot be mixed. Wrap either by parentheses."
                );
                return Err(self.error(text, at));
            }
            left = match operator {
                "|" => self.piped(left)?,
                _ if own == COMPARISON => self.comparison(left, operator, at)?,
                _ => {
                    let right = match operator {
                        "**" | "^" => self.expression(own)?,
                        _ => self.expression(own + 1)?,
                    };
                    self.joined(operator, left, right, at)?
                }
            };
            if negated {
                left = self.tree(Part::Unary("not", Box::new(left)), at)?;
            }
            before = operator;
        }
        if least == 0 {
            left = self.conditional(left)?;
        }
        Ok(left)
    }

    /// Terms of `and` and `or` stand in a row, so that there may be many.
    fn joined(
        &self,
        operator: &'static str,
        left: Tree,
        right: Tree,
        at: usize,
    ) -> Result<Tree, CompileError> {
        let mut left = left;
        let terms = match (operator, &mut left.part) {
            ("and" | "&&", Part::All(terms)) | ("or" | "||", Part::Any(terms)) => terms,
            ("and" | "&&", _) => return self.tree(Part::All(vec![left, right]), at),
            ("or" | "||", _) => return self.tree(Part::Any(vec![left, right]), at),
            _ => return self.tree(Part::Binary(operator, Box::new((left, right))), at),
        };
        left.depth = left.depth.max(right.depth + 1);
        left.size += right.size;
        terms.push(right);
        self.bounded(left)
    }

    /// `a < b < c` is `a < b and b < c`.
    fn comparison(
        &mut self,
        mut left: Tree,
        mut operator: &'static str,
        mut at: usize,
    ) -> Result<Tree, CompileError> {
        let mut whole = None;
        loop {
            let right = self.expression(COMPARISON + 1)?;
            let chained = self
                .operator()
                .filter(|next| precedence(next) == Some(COMPARISON));
            let kept = chained.map(|_| right.clone());
            let one = self.tree(Part::Binary(operator, Box::new((left, right))), at)?;
            whole = Some(match whole {
                None => one,
                Some(whole) => self.joined("and", whole, one, at)?,
            });
            let (Some(next), Some(right)) = (chained, kept) else {
                // Set above.
                return whole.ok_or_else(|| self.unexpected());
            };
            (left, operator, at) = (right, next, self.place());
            self.next();
        }
    }

    fn conditional(&mut self, mut condition: Tree) -> Result<Tree, CompileError> {
        while self.operator() == Some("?") {
            let at = self.place();
            self.next();
            let (yes, no) = if self.operator() == Some(":") {
                self.next();
                (condition.clone(), self.expression(0)?)
            } else {
                let yes = self.expression(0)?;
                self.expect(&Kind::Operator(":"))?;
                (yes, self.expression(0)?)
            };
            condition = self.tree(Part::Conditional(Box::new((condition, yes, no))), at)?;
        }
        Ok(condition)
    }

    /// `value | function(more)` is `function(value, more)`.
    fn piped(&mut self, value: Tree) -> Result<Tree, CompileError> {
        let at = self.place();
        let Kind::Identifier(name) = self.peek().clone() else {
            return Err(self.unexpected());
        };
        self.next();
        let mut arguments = vec![value];
        arguments.extend(self.arguments()?);
        let call = self.tree(Part::Call(name, arguments), at)?;
        self.behind(call)
    }

    fn primary(&mut self) -> Result<Tree, CompileError> {
        let at = self.place();
        match self.operator() {
            Some("not" | "!") => {
                self.next();
                let inner = self.expression(NOT)?;
                self.tree(Part::Unary("not", Box::new(inner)), at)
            }
            Some(operator @ ("-" | "+")) => {
                self.next();
                let inner = self.expression(SIGN)?;
                self.tree(Part::Unary(operator, Box::new(inner)), at)
            }
            Some("#") => {
                self.next();
                let element = self.tree(Part::Element, at)?;
                self.behind(element)
            }
            Some(_) => Err(self.unexpected()),
            None if *self.peek() == Kind::Bracket('(') => {
                self.next();
                let inner = self.expression(0)?;
                self.expect(&Kind::Bracket(')'))?;
                self.behind(inner)
            }
            None => self.literal(),
        }
    }

    fn literal(&mut self) -> Result<Tree, CompileError> {
        let at = self.place();
        let part = match self.peek().clone() {
            Kind::Int(number, _) => Part::Int(number),
            Kind::Float(number, _) => Part::Float(number),
            Kind::Text(text) => Part::Text(text),
            Kind::Bracket('[') => {
                self.next();
                let elements = self.list(']')?;
                let array = self.tree(Part::Array(elements), at)?;
                return self.behind(array);
            }
            Kind::Identifier(name) => match name.as_str() {
                "true" => Part::Bool(true),
                "false" => Part::Bool(false),
                "nil" => Part::Nil,
                _ => {
                    self.next();
                    let part = match self.peek() {
                        Kind::Bracket('(') => Part::Call(name, self.arguments()?),
                        _ => Part::Name(name),
                    };
                    let tree = self.tree(part, at)?;
                    return self.behind(tree);
                }
            },
            _ => return Err(self.unexpected()),
        };
        self.next();
        let tree = self.tree(part, at)?;
        self.behind(tree)
    }

    fn arguments(&mut self) -> Result<Vec<Tree>, CompileError> {
        self.expect(&Kind::Bracket('('))?;
        self.list(')')
    }

    /// Expressions between commas, up to the bracket; a predicate may stand in braces.
    fn list(&mut self, close: char) -> Result<Vec<Tree>, CompileError> {
        let mut list = Vec::new();
        while *self.peek() != Kind::Bracket(close) {
            if !list.is_empty() {
                self.expect(&Kind::Operator(","))?;
                if *self.peek() == Kind::Bracket(close) {
                    break;
                }
            }
            if close == ')' && *self.peek() == Kind::Bracket('{') {
                self.next();
                list.push(self.expression(0)?);
                self.expect(&Kind::Bracket('}'))?;
            } else {
                list.push(self.expression(0)?);
            }
        }
        self.next();
        Ok(list)
    }

    /// `value[index]`, any number of times.
    fn behind(&mut self, mut tree: Tree) -> Result<Tree, CompileError> {
        while *self.peek() == Kind::Bracket('[') {
            let at = self.place();
            self.next();
            let index = self.expression(0)?;
            self.expect(&Kind::Bracket(']'))?;
            tree = self.tree(Part::Index(Box::new((tree, index))), at)?;
        }
        Ok(tree)
    }
}

fn too_deep() -> String {
    format!("more than {DEPTH_MAX} levels inside one another, or more than {PARTS_MAX} parts")
}
