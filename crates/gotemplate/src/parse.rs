//! From tokens to the parsed form, as Go's `text/template/parse/parse.go` does it.
mod operand;

use std::collections::BTreeMap;

use crate::ParseError;
use crate::functions::Function;
use crate::lex::{Kind, Token, is_space, lex};
use crate::node::{Branch, Command, Node, Pipe};
use crate::quote::{quote, unquote};

/// Blocks inside one another, `else if` included; Go has no limit.
const NESTING_MAX: usize = 128;

/// Every template of a text: its own under its name, and those that it defines.
pub(crate) type Trees = BTreeMap<Box<str>, Vec<Node>>;

pub(crate) fn parse(
    name: &str,
    text: &str,
    functions: &'static [Function],
) -> Result<Trees, ParseError> {
    let mut parser = Parser {
        name,
        functions,
        tokens: lex(text),
        at: 0,
        furthest: 0,
        variables: vec!["$".into()],
        trees: Trees::new(),
        ranges: 0,
        parens: 0,
        nesting: 0,
        action_line: 0,
    };
    let root = parser.root()?;
    parser.add(name, root)?;
    Ok(parser.trees)
}

struct Parser<'t> {
    name: &'t str,
    functions: &'static [Function],
    /// Never empty: the last is an end or an error.
    tokens: Vec<Token<'t>>,
    at: usize,
    /// The last token that anybody has looked at: errors are said to be on its line.
    furthest: usize,
    variables: Vec<Box<str>>,
    trees: Trees,
    ranges: usize,
    parens: usize,
    nesting: usize,
    /// Where the action began; 0 outside.
    action_line: usize,
}

/// What ends a list.
enum End {
    End,
    Else,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    fn peek(&mut self) -> Token<'t> {
        let at = self.at.min(self.tokens.len() - 1);
        self.furthest = self.furthest.max(at);
        self.tokens[at].clone()
    }

    fn next_non_space(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_non_space(&mut self) -> Token<'t> {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }

    fn error(&self, what: impl std::fmt::Display) -> ParseError {
        let line = self.tokens[self.furthest].line;
        ParseError {
            text: format!("template: {}:{line}: {what}", self.name),
        }
    }

    fn unexpected(&self, token: &Token<'_>, context: &str) -> ParseError {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {} in {context}", token.shown()));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            extra = format!(" in action started at {}:{}", self.name, self.action_line);
            if token.shown().ends_with(" action") {
                extra.drain(.." in action".len());
            }
        }
        self.error(format!("{}{extra}", token.shown()))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'t>, ParseError> {
        let token = self.next_non_space();
        match token.kind == kind {
            true => Ok(token),
            false => Err(self.unexpected(&token, context)),
        }
    }

    /// Puts a template into the set. A second one of the same name is a mistake, unless one of them
    /// is empty.
    fn add(&mut self, name: &str, nodes: Vec<Node>) -> Result<(), ParseError> {
        match self.trees.get(name) {
            Some(other) if !is_empty(other) && !is_empty(&nodes) => Err(self.error(format!(
                "template: multiple definition of template {}",
                quote(name)
            ))),
            Some(other) if !is_empty(other) => Ok(()),
            _ => {
                self.trees.insert(name.into(), nodes);
                Ok(())
            }
        }
    }

    fn root(&mut self) -> Result<Vec<Node>, ParseError> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::Eof {
            if self.peek().kind == Kind::LeftDelim {
                let before = self.at;
                self.next();
                if self.next_non_space().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.at = before;
            }
            match self.text_or_action()? {
                Ok(node) => nodes.push(node),
                Err(End::End) => return Err(self.error("unexpected {{end}}")),
                Err(End::Else) => return Err(self.error("unexpected {{else}}")),
            }
        }
        Ok(nodes)
    }

    fn definition(&mut self) -> Result<(), ParseError> {
        let context = "define clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, context)?;
        self.expect(Kind::RightDelim, context)?;
        let nodes = self.body(context)?;
        self.add(&name, nodes)
    }

    /// The list of a template of its own: it sees none of the variables around it.
    fn body(&mut self, context: &str) -> Result<Vec<Node>, ParseError> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, end) = self.list()?;
        (self.variables, self.ranges) = (outer, ranges);
        match end {
            End::End => Ok(nodes),
            End::Else => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    fn template_name(&self, token: &Token<'_>, context: &str) -> Result<String, ParseError> {
        match token.kind {
            Kind::String | Kind::RawString => {
                unquote(token.text).ok_or_else(|| self.error("invalid syntax"))
            }
            _ => Err(self.unexpected(token, context)),
        }
    }

    /// Nodes up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Result<(Vec<Node>, End), ParseError> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error(format!("more than {NESTING_MAX} blocks inside one another")));
        }
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Ok(node) => nodes.push(node),
                Err(end) => {
                    self.nesting -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Result<Node, End>, ParseError> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Ok(Node::Text(token.text.into()))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let node = self.action()?;
                self.action_line = 0;
                Ok(node)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Result<Node, End>, ParseError> {
        let token = self.next_non_space();
        let node = match token.kind {
            Kind::Block => self.block()?,
            Kind::Break | Kind::Continue => {
                let word = format!("{{{{{}}}}}", token.text);
                self.expect(Kind::RightDelim, &word)?;
                if self.ranges == 0 {
                    return Err(self.error(format!("{word} outside {{{{range}}}}")));
                }
                match token.kind {
                    Kind::Break => Node::Break,
                    _ => Node::Continue,
                }
            }
            Kind::Else => {
                // `else if` and `else with` go on with the word.
                if !matches!(self.peek_non_space().kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Err(End::Else));
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Err(End::End));
            }
            Kind::If => Node::If(self.control("if")?),
            Kind::Range => Node::Range(self.control("range")?),
            Kind::With => Node::With(self.control("with")?),
            Kind::Template => {
                let token = self.next_non_space();
                let name = self.template_name(&token, "template clause")?.into();
                let mut pipe = None;
                if self.peek_non_space().kind == Kind::RightDelim {
                    self.next();
                } else {
                    pipe = Some(self.pipeline("template clause", Kind::RightDelim)?);
                }
                let pos = token.pos;
                Node::Template { pos, name, pipe }
            }
            _ => {
                self.at -= 1;
                Node::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        };
        Ok(Ok(node))
    }

    fn block(&mut self) -> Result<Node, ParseError> {
        let context = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, context)?;
        let pipe = Some(self.pipeline(context, Kind::RightDelim)?);
        let nodes = self.body(context)?;
        self.add(&name, nodes)?;
        let (pos, name) = (token.pos, name.into());
        Ok(Node::Template { pos, name, pipe })
    }

    fn control(&mut self, context: &str) -> Result<Branch, ParseError> {
        let variables = self.variables.len();
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        self.ranges += usize::from(context == "range");
        let (list, end) = self.list()?;
        self.ranges -= usize::from(context == "range");
        let otherwise = match end {
            End::End => None,
            End::Else => Some(self.otherwise(context)?),
        };
        self.variables.truncate(variables);
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    /// What stands behind `{{else`.
    fn otherwise(&mut self, context: &str) -> Result<Vec<Node>, ParseError> {
        let word = self.peek().kind;
        if context == "if" && word == Kind::If || context == "with" && word == Kind::With {
            self.next();
            self.nesting += 1;
            if self.nesting > NESTING_MAX {
                return Err(
                    self.error(format!("more than {NESTING_MAX} blocks inside one another"))
                );
            }
            let branch = self.control(context)?;
            self.nesting -= 1;
            return Ok(vec![match word {
                Kind::If => Node::If(branch),
                _ => Node::With(branch),
            }]);
        }
        match self.list()? {
            (nodes, End::End) => Ok(nodes),
            (_, End::Else) => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, ParseError> {
        self.peek_non_space();
        let mut pipe = Pipe {
            variables: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            if token.kind == end {
                break;
            }
            match token.kind {
                Kind::Bool
                | Kind::CharConstant
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at -= 1;
                    pipe.commands.push(self.command()?);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        let plain = |command: &Command| command.operands[0].what.is_plain();
        match pipe.commands.iter().skip(1).position(plain) {
            Some(stage) => Err(self.error(format!(
                "non executable command in pipeline stage {}",
                stage + 2
            ))),
            None => Ok(pipe),
        }
    }

    /// `$x :=`, `$x =`, and for `range` `$x, $y :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), ParseError> {
        while self.peek_non_space().kind == Kind::Variable {
            let before = self.at;
            let variable = self.next();
            let next = self.peek_non_space();
            let comma = next.kind == Kind::Char && next.text == ",";
            if !(comma || matches!(next.kind, Kind::Assign | Kind::Declare)) {
                self.at = before;
                return Ok(());
            }
            self.next();
            pipe.variables.push(variable.text.into());
            self.variables.push(variable.text.into());
            if !comma {
                pipe.assigns = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.variables.len() >= 2 {
                return Err(self.error(format!("too many declarations in {context}")));
            }
            match self.peek_non_space().kind {
                Kind::Variable | Kind::RightDelim | Kind::RightParen => (),
                _ => return Err(self.error("range can only initialize variables")),
            }
        }
        Ok(())
    }
}

/// Whether there is nothing but space.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(text) => text.trim_matches(is_space).is_empty(),
        _ => false,
    })
}
