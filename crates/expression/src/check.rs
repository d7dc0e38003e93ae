//! From tree to program: every part gets its type, and what can be known once is.
use crate::builtin::{self, Builtin};
use crate::error::CompileError;
use crate::parse::{Part, Tree, parse};
use crate::pattern::pattern;
use crate::program::{Binary, Constants, Home, Node, Program, Quantifier, Span, Value};
use crate::types::{Element, Function, Type};
use crate::variables::{Definition, Used, Variables};
use crate::{TEXT_OCTETS_MAX, run};

/// Compiles an expression that may call these functions, the language's own, and `incidr`.
///
/// # Errors
/// With the place: what is no expression, names nothing, or puts types together that do not go
/// together.
pub fn compile(text: &str, functions: &[Function]) -> Result<Program, CompileError> {
    let (program, kind, _) = compile_with(text, functions, &Variables::default())?;
    Ok(program.expected_to_hold(kind, text))
}

/// The same with variables; also the value's type, and the tree to define a variable with.
pub(crate) fn compile_with(
    text: &str,
    functions: &[Function],
    variables: &Variables,
) -> Result<(Program, Type, Definition), CompileError> {
    if text.len() > TEXT_OCTETS_MAX {
        let message = format!("the expression is longer than {TEXT_OCTETS_MAX} octets");
        return Err(CompileError::new(message, "", 0));
    }
    let tree = parse(text)?;
    let mut checker = Checker {
        source: text,
        functions,
        constants: Constants::default(),
        warnings: Vec::new(),
        elements: Vec::new(),
        variables,
        used: Used::default(),
    };
    let (root, kind) = checker.part(&tree)?;
    let program = Program {
        root,
        constants: checker.constants,
        warnings: checker.warnings,
    };
    Ok((program, kind, checker.used.define(tree)))
}

struct Checker<'s> {
    source: &'s str,
    functions: &'s [Function],
    constants: Constants,
    warnings: Vec<CompileError>,
    /// Types of `#`, the innermost predicate's last.
    elements: Vec<Type>,
    variables: &'s Variables,
    /// What variables have added to the expression.
    used: Used,
}

type Checked = Result<(Node, Type), CompileError>;

impl Checker<'_> {
    fn error(&self, message: impl Into<String>, tree: &Tree) -> CompileError {
        CompileError::new(message, self.source, tree.at)
    }

    fn warn(&mut self, message: String, tree: &Tree) {
        self.warnings.push(self.error(message, tree));
    }

    /// Keeps a text of the expression.
    fn text(&mut self, text: &str) -> Value {
        let start = self.constants.text.len();
        self.constants.text.push_str(text);
        // An expression is shorter than 64 KiB.
        Value::Text(Span {
            home: Home::Constants,
            start: start as u32,
            end: self.constants.text.len() as u32,
        })
    }

    /// The text of a part that is one and is known.
    fn known_text(&self, node: &Node) -> Option<&str> {
        match node {
            Node::Constant(Value::Text(span)) => self.constants.text.get(span.range()),
            _ => None,
        }
    }

    fn part(&mut self, tree: &Tree) -> Checked {
        Ok(match &tree.part {
            Part::Nil => (Node::Constant(Value::Nil), Type::Nil),
            Part::Bool(value) => (Node::Constant(Value::Bool(*value)), Type::Bool),
            Part::Int(value) => (Node::Constant(Value::Int(*value)), Type::Int),
            Part::Float(value) => (Node::Constant(Value::Float(*value)), Type::Float),
            Part::Text(text) => (Node::Constant(self.text(text)), Type::Text),
            Part::Array(elements) => self.array(elements)?,
            Part::Element => match self.elements.last() {
                Some(kind) => (Node::Element, *kind),
                None => {
                    let text = "cannot use pointer accessor outside predicate";
                    return Err(self.error(text, tree));
                }
            },
            Part::Name(name) => match self.variables.find(name) {
                Some(definition) => {
                    self.used.add(definition, self.source, tree)?;
                    return self.part(definition.tree());
                }
                None => return Err(self.no_value(name, tree)),
            },
            Part::Call(name, arguments) => self.call(name, arguments, tree)?,
            Part::Unary(operator, inner) => self.unary(operator, inner, tree)?,
            Part::Binary(operator, sides) => self.binary(operator, &sides.0, &sides.1, tree)?,
            Part::All(terms) => (Node::All(self.conditions("and", terms)?), Type::Bool),
            Part::Any(terms) => (Node::Any(self.conditions("or", terms)?), Type::Bool),
            Part::Conditional(parts) => {
                let condition = self.condition(&parts.0)?;
                let ((yes, one), (no, other)) = (self.part(&parts.1)?, self.part(&parts.2)?);
                let node = Node::Conditional(Box::new((condition, yes, no)));
                (node, one.joined(other))
            }
            Part::Index(parts) => self.index(&parts.0, &parts.1, tree)?,
        })
    }

    fn no_value(&self, name: &str, tree: &Tree) -> CompileError {
        let known = self.functions.iter().any(|function| function.name == name);
        if known || builtin::find(name).is_some() {
            let text = format!("{name} is a function and needs parentheses: {name}()");
            return self.error(text, tree);
        }
        self.error(format!("unknown name {name}"), tree)
    }

    fn array(&mut self, elements: &[Tree]) -> Checked {
        let mut nodes = Vec::with_capacity(elements.len());
        let mut kind = None;
        for element in elements {
            let (node, own) = self.part(element)?;
            kind = Some(kind.map_or(own, |kind: Type| kind.joined(own)));
            nodes.push(node);
        }
        let kind = Type::Array(kind.unwrap_or(Type::Any).element());
        let known: Option<Vec<Value>> = nodes
            .iter()
            .map(|node| match node {
                Node::Constant(value) => Some(*value),
                _ => None,
            })
            .collect();
        let Some(values) = known else {
            return Ok((Node::Array(nodes.into()), kind));
        };
        let start = self.constants.items.len() as u32;
        self.constants.items.extend(values);
        let span = Span {
            home: Home::Constants,
            start,
            end: self.constants.items.len() as u32,
        };
        Ok((Node::Constant(Value::Array(span)), kind))
    }

    fn call(&mut self, name: &str, arguments: &[Tree], tree: &Tree) -> Checked {
        if let Some(quantifier) = quantifier(name) {
            return self.quantifier(quantifier, name, arguments, tree);
        }
        // The host's functions hide the language's, as `type` does in CoreDNS.
        if let Some(at) = self.functions.iter().position(|own| own.name == name) {
            let function = self.functions[at];
            self.count(name, arguments.len(), function.parameters.len(), tree)?;
            let mut nodes = Vec::new();
            for (argument, wanted) in arguments.iter().zip(function.parameters) {
                let (node, kind) = self.part(argument)?;
                if !kind.is(*wanted) {
                    let text =
                        format!("cannot use {kind} as argument (type {wanted}) to call {name}");
                    return Err(self.error(text, argument));
                }
                nodes.push(node);
            }
            return Ok((Node::Call(at, nodes.into()), function.result));
        }
        let Some((builtin, parameters)) = builtin::find(name) else {
            return Err(self.error(format!("unknown name {name}{}", self.similar(name)), tree));
        };
        self.count(name, arguments.len(), parameters.len(), tree)?;
        let (mut nodes, mut kinds) = (Vec::new(), Vec::new());
        for (argument, takes) in arguments.iter().zip(parameters) {
            let (node, kind) = self.part(argument)?;
            if !takes.accepts(kind) {
                let text = format!(
                    "cannot use {kind} as argument (type {}) to call {name}",
                    takes.name()
                );
                return Err(self.error(text, argument));
            }
            nodes.push(node);
            kinds.push(kind);
        }
        if builtin == Builtin::InCidr
            && let [address, network] = &nodes[..]
            && let Some(text) = self.known_text(network)
        {
            match run::network(text) {
                Some(network) => {
                    let node = Node::InNetwork(Box::new(address.clone()), network);
                    return Ok((node, Type::Bool));
                }
                None => {
                    let text = format!("invalid CIDR address: {text}");
                    self.warn(
                        format!("{text}; incidr() fails, and nothing matches"),
                        &arguments[1],
                    );
                }
            }
        }
        Ok((Node::Builtin(builtin, nodes.into()), builtin.result(&kinds)))
    }

    /// A word that the user may have meant.
    fn similar(&self, name: &str) -> String {
        let functions = self.functions.iter().map(|function| function.name);
        let known = functions.chain(builtin::names());
        let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
        match known.into_iter().find(|known| plain(known) == plain(name)) {
            Some(known) => format!(", did you mean {known}?"),
            None => String::new(),
        }
    }

    fn count(
        &self,
        name: &str,
        given: usize,
        wanted: usize,
        tree: &Tree,
    ) -> Result<(), CompileError> {
        let many = match given.cmp(&wanted) {
            std::cmp::Ordering::Less => "not enough",
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => "too many",
        };
        Err(self.error(format!("{many} arguments to call {name}"), tree))
    }

    fn quantifier(
        &mut self,
        quantifier: Quantifier,
        name: &str,
        arguments: &[Tree],
        tree: &Tree,
    ) -> Checked {
        let [source, predicate] = arguments else {
            self.count(name, arguments.len(), 2, tree)?;
            return Err(self.error(format!("{name} takes an array and a condition"), tree));
        };
        let (array, kind) = self.part(source)?;
        let element = match kind {
            Type::Array(element) => element.value(),
            Type::Any => Type::Any,
            _ => {
                let text = format!("builtin {name} takes only array (got {kind})");
                return Err(self.error(text, source));
            }
        };
        self.elements.push(element);
        let condition = self.condition(predicate);
        self.elements.pop();
        let result = match quantifier {
            Quantifier::Count => Type::Int,
            _ => Type::Bool,
        };
        let node = Node::Quantifier(quantifier, Box::new((array, condition?)));
        Ok((node, result))
    }

    fn condition(&mut self, tree: &Tree) -> Result<Node, CompileError> {
        let (node, kind) = self.part(tree)?;
        match kind.is(Type::Bool) {
            true => Ok(node),
            false => Err(self.error(
                format!("non-bool expression (type {kind}) used as condition"),
                tree,
            )),
        }
    }

    fn conditions(&mut self, operator: &str, terms: &[Tree]) -> Result<Box<[Node]>, CompileError> {
        let mut nodes = Vec::with_capacity(terms.len());
        for term in terms {
            let (node, kind) = self.part(term)?;
            if !kind.is(Type::Bool) {
                let text = format!("invalid operation: {operator} (mismatched type {kind})");
                return Err(self.error(text, term));
            }
            nodes.push(node);
        }
        Ok(nodes.into())
    }

    fn unary(&mut self, operator: &str, inner: &Tree, tree: &Tree) -> Checked {
        let (node, kind) = self.part(inner)?;
        let fits = match operator {
            "not" => kind.is(Type::Bool),
            _ => kind.is_number(),
        };
        if !fits {
            let text = format!("invalid operation: {operator} (mismatched type {kind})");
            return Err(self.error(text, tree));
        }
        Ok(match (operator, node) {
            ("not", node) => (Node::Not(Box::new(node)), Type::Bool),
            ("+", node) => (node, kind),
            (_, Node::Constant(Value::Int(number))) => {
                (Node::Constant(Value::Int(number.wrapping_neg())), kind)
            }
            (_, Node::Constant(Value::Float(number))) => {
                (Node::Constant(Value::Float(-number)), kind)
            }
            (_, node) => (Node::Negative(Box::new(node)), kind),
        })
    }

    fn binary(&mut self, operator: &str, left: &Tree, right: &Tree, tree: &Tree) -> Checked {
        let ((one, l), (other, r)) = (self.part(left)?, self.part(right)?);
        let (numbers, texts) = (
            l.is_number() && r.is_number(),
            l.is(Type::Text) && r.is(Type::Text),
        );
        let number = if l == Type::Int && r == Type::Int {
            Type::Int
        } else if l == Type::Any || r == Type::Any {
            Type::Any
        } else {
            Type::Float
        };
        let (binary, fits, result) = match operator {
            "==" => (Binary::Equal, l.comparable(r), Type::Bool),
            "!=" => (Binary::Unequal, l.comparable(r), Type::Bool),
            "<" => (Binary::Less, numbers || texts, Type::Bool),
            "<=" => (Binary::LessOrEqual, numbers || texts, Type::Bool),
            ">" => (Binary::Greater, numbers || texts, Type::Bool),
            ">=" => (Binary::GreaterOrEqual, numbers || texts, Type::Bool),
            "in" => (Binary::In, fits_in(l, r), Type::Bool),
            "matches" => {
                if !texts {
                    return Err(self.mismatch(operator, l, r, tree));
                }
                return self.matches(one, other, right);
            }
            "contains" => (Binary::Contains, texts, Type::Bool),
            "startsWith" => (Binary::StartsWith, texts, Type::Bool),
            "endsWith" => (Binary::EndsWith, texts, Type::Bool),
            ".." => {
                let fits = l.is(Type::Int) && r.is(Type::Int);
                (Binary::Range, fits, Type::Array(Element::Int))
            }
            "+" if l.is(Type::Text) && r.is(Type::Text) && l.joined(r) == Type::Text => {
                (Binary::Add, true, Type::Text)
            }
            "+" => (Binary::Add, numbers || texts, number),
            "-" => (Binary::Subtract, numbers, number),
            "*" => (Binary::Multiply, numbers, number),
            "/" => (Binary::Divide, numbers, Type::Float),
            "%" => (
                Binary::Remainder,
                l.is(Type::Int) && r.is(Type::Int),
                Type::Int,
            ),
            "**" | "^" => (Binary::Power, numbers, Type::Float),
            "??" => {
                let result = if l == Type::Nil { r } else { l.joined(r) };
                (Binary::Coalesce, true, result)
            }
            other => return Err(self.error(format!("unknown operator ({other})"), tree)),
        };
        if !fits {
            return Err(self.mismatch(operator, l, r, tree));
        }
        if let (Binary::Add, Some(one), Some(other)) =
            (binary, self.known_text(&one), self.known_text(&other))
        {
            let joined = format!("{one}{other}");
            return Ok((Node::Constant(self.text(&joined)), Type::Text));
        }
        if let (Binary::In, Node::Constant(Value::Array(span)), Type::Array(Element::Text)) =
            (binary, &other, r)
        {
            let texts = self.known_texts(*span);
            return Ok((Node::InTexts(Box::new(one), texts), Type::Bool));
        }
        Ok((Node::Binary(binary, Box::new((one, other))), result))
    }

    fn mismatch(&self, operator: &str, l: Type, r: Type, tree: &Tree) -> CompileError {
        let text = format!("invalid operation: {operator} (mismatched types {l} and {r})");
        self.error(text, tree)
    }

    /// A pattern is compiled once; one that is made from the query would be compiled for each.
    fn matches(&mut self, text: Node, regex: Node, tree: &Tree) -> Checked {
        let Some(regex) = self.known_text(&regex) else {
            let message = "the pattern of 'matches' must be a text that stands in the expression";
            return Err(self.error(message, tree));
        };
        let regex = pattern(regex)
            .map_err(|error| self.error(format!("error parsing regexp: {error}"), tree))?;
        Ok((Node::Matches(Box::new(text), regex), Type::Bool))
    }

    fn known_texts(&self, span: Span) -> Box<[Box<str>]> {
        let values = self.constants.items.get(span.range()).unwrap_or_default();
        let mut texts: Vec<Box<str>> = values
            .iter()
            .filter_map(|value| match value {
                Value::Text(text) => self.constants.text.get(text.range()).map(Into::into),
                _ => None,
            })
            .collect();
        texts.sort_unstable();
        texts.dedup();
        texts.into()
    }

    fn index(&mut self, array: &Tree, index: &Tree, tree: &Tree) -> Checked {
        let ((array, kind), (index, of)) = (self.part(array)?, self.part(index)?);
        let result = match kind {
            Type::Array(element) => element.value(),
            Type::Any => Type::Any,
            _ => return Err(self.error(format!("type {kind} has no elements"), tree)),
        };
        if !of.is(Type::Int) {
            let text = format!("array elements can only be selected using an integer (got {of})");
            return Err(self.error(text, tree));
        }
        Ok((
            Node::Binary(Binary::Index, Box::new((array, index))),
            result,
        ))
    }
}

fn quantifier(name: &str) -> Option<Quantifier> {
    Some(match name {
        "all" => Quantifier::All,
        "any" => Quantifier::Any,
        "one" => Quantifier::One,
        "none" => Quantifier::None,
        "count" => Quantifier::Count,
        _ => return None,
    })
}

fn fits_in(element: Type, array: Type) -> bool {
    match array {
        Type::Array(own) => element.comparable(own.value()),
        Type::Any | Type::Nil => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::IpNet;

    #[test]
    fn networks_are_read_once() {
        let program = compile("incidr('192.0.2.1', '192.0.2.0/24')", &[]).unwrap();
        let net: IpNet = "192.0.2.0/24".parse().unwrap();
        assert!(matches!(program.root, Node::InNetwork(_, own) if own == net));
    }
}
