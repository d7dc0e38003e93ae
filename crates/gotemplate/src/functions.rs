//! The functions that every template knows, and what a caller's own are like.
use std::cmp::Ordering;
use std::rc::Rc;

use crate::escape;
use crate::format::{bounded, sprint, sprintf, sprintln};
use crate::value::{Shape, Value, Width};

/// A function of the language or of a caller.
#[derive(Debug)]
pub struct Function {
    /// What templates call it.
    pub name: &'static str,
    /// The arguments that it must have.
    pub parameters: &'static [Parameter],
    /// What those behind them are, if there may be more.
    pub more: Option<Parameter>,
    /// Called with checked arguments; an error ends the execution.
    pub call: Call,
}

/// What a [`Function`] does.
pub type Call = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, CallError>;

/// Why a function failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(pub String);

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Anything, nothing included.
    Any,
    /// A text.
    Text,
    /// A signed number.
    Int,
}

impl Parameter {
    /// What Go calls the type.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
        }
    }
}

/// The function of this name: a caller's, else the language's.
pub(crate) fn find(own: &'static [Function], name: &str) -> Option<&'static Function> {
    own.iter()
        .chain(BUILTINS)
        .find(|function| function.name == name)
}

const fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    more: Option<Parameter>,
    call: Call,
) -> Function {
    Function {
        name,
        parameters,
        more,
        call,
    }
}

use Parameter::{Any, Text};

static BUILTINS: &[Function] = &[
    // The first two are decided while their arguments are evaluated, as far as needed.
    function("and", &[Any], Some(Any), last),
    function("or", &[Any], Some(Any), last),
    function("call", &[Any], Some(Any), call),
    function("html", &[], Some(Any), |args| {
        text(escape::html(&sprint(args)?))
    }),
    function("index", &[Any], Some(Any), index),
    function("js", &[], Some(Any), |args| {
        text(escape::js(&sprint(args)?))
    }),
    function("len", &[Any], None, len),
    function("not", &[Any], None, |args| {
        Ok(Value::Bool(!args.iter().any(Value::is_true)))
    }),
    function("print", &[], Some(Any), |args| text(sprint(args)?)),
    function("printf", &[Text], Some(Any), |args| match args {
        [Value::Text(format), values @ ..] => text(sprintf(format, values)?),
        _ => text(String::new()),
    }),
    function("println", &[], Some(Any), |args| text(sprintln(args)?)),
    function("slice", &[Any], Some(Any), slice),
    function("urlquery", &[], Some(Any), |args| {
        text(escape::url_query(&sprint(args)?))
    }),
    function("eq", &[Any], Some(Any), eq),
    function("ne", &[Any, Any], None, |args| invert(eq(args)?)),
    function("lt", &[Any, Any], None, less),
    function("le", &[Any, Any], None, less_or_equal),
    function("gt", &[Any, Any], None, |args| invert(less_or_equal(args)?)),
    function("ge", &[Any, Any], None, |args| invert(less(args)?)),
];

fn text<'a>(text: String) -> Result<Value<'a>, CallError> {
    bounded(text).map(Value::text)
}

fn fail<T>(what: impl Into<String>) -> Result<T, CallError> {
    Err(CallError(what.into()))
}

fn last<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    Ok(args.last().cloned().unwrap_or_default())
}

/// No value is a function.
fn call<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    match args {
        [] | [Value::Nil, ..] => fail("call of nil"),
        [first, ..] => fail(format!("non-function of type {}", first.type_name())),
    }
}

fn len<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    match args {
        [Value::Nil] | [] => fail("reflect: call of reflect.Value.Type on zero Value"),
        [value, ..] => match value.length().and_then(|length| i64::try_from(length).ok()) {
            Some(length) => Ok(Value::Int(length)),
            // Go looks behind the pointer.
            None => fail(format!(
                "len of type {}",
                value.type_name().trim_start_matches('*')
            )),
        },
    }
}

/// A number that counts elements, up to `most`.
fn position(value: &Value<'_>, most: usize) -> Result<usize, CallError> {
    let number = match value {
        Value::Int(number) => i128::from(*number),
        Value::Uint(number, _) => i128::from(*number),
        Value::Nil => return fail("cannot index slice/array with nil"),
        other => {
            let type_name = other.type_name();
            return fail(format!("cannot index slice/array with type {type_name}"));
        }
    };
    match usize::try_from(number) {
        Ok(position) if position <= most => Ok(position),
        _ => fail(format!("index out of range: {number}")),
    }
}

fn index<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    let [item, indexes @ ..] = args else {
        return fail("index of untyped nil");
    };
    let mut item = item.clone();
    if matches!(item, Value::Nil) {
        return fail("index of untyped nil");
    }
    for index in indexes {
        item = step(&item, index)?;
    }
    Ok(item)
}

fn step<'a>(item: &Value<'a>, index: &Value<'a>) -> Result<Value<'a>, CallError> {
    let by_name = match item {
        Value::Map(_) => true,
        Value::Object(object) => object.shape() == Shape::Map,
        _ => false,
    };
    if by_name {
        let name = match index {
            Value::Text(name) => name,
            Value::Nil => return fail("value is nil; should be of type string"),
            other => {
                let type_name = other.type_name();
                return fail(format!("value has type {type_name}; should be string"));
            }
        };
        return Ok(match item {
            Value::Map(map) => map.get(&**name).cloned().unwrap_or_default(),
            Value::Object(object) => object.get(name).unwrap_or_else(|| object.missing()),
            _ => Value::Nil,
        });
    }
    let Some(length) = item.length() else {
        return fail(match item {
            Value::Nil => "index of nil pointer".to_owned(),
            other => format!("can't index item of type {}", other.type_name()),
        });
    };
    let at = position(index, length)?;
    if let Value::Text(text) = item {
        return match text.as_bytes().get(at) {
            Some(octet) => Ok(Value::Uint((*octet).into(), Width::U8)),
            None => fail("reflect: string index out of range"),
        };
    }
    match item.element(at) {
        Some((_, element)) => Ok(element),
        None => fail("reflect: slice index out of range"),
    }
}

fn slice<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    let [item, indexes @ ..] = args else {
        return fail("slice of untyped nil");
    };
    if matches!(item, Value::Nil) {
        return fail("slice of untyped nil");
    }
    if indexes.len() > 3 {
        return fail(format!("too many slice indexes: {}", indexes.len()));
    }
    let named = matches!(item, Value::Map(_))
        || matches!(item, Value::Object(object) if object.shape() == Shape::Map);
    let Some(length) = item.length().filter(|_| !named) else {
        return fail(format!("can't slice item of type {}", item.type_name()));
    };
    if indexes.len() == 3 && matches!(item, Value::Text(_)) {
        return fail("cannot 3-index slice a string");
    }
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [from, to, most] = bounds;
    if from > to {
        return fail(format!("invalid slice index: {from} > {to}"));
    }
    if to > most {
        return fail(format!("invalid slice index: {to} > {most}"));
    }
    if let Value::Text(text) = item {
        // Go would cut a character in two.
        return match text.get(from..to) {
            Some(part) => Ok(Value::text(part.to_owned())),
            None => fail("slice inside a character"),
        };
    }
    let elements = (from..to).filter_map(|at| Some(item.element(at)?.1));
    Ok(Value::List(Rc::from_iter(elements)))
}

fn invert(value: Value<'_>) -> Result<Value<'_>, CallError> {
    Ok(Value::Bool(!value.is_true()))
}

fn incompatible(one: &Value<'_>, other: &Value<'_>) -> CallError {
    CallError(format!(
        "incompatible types for comparison: {} and {}",
        one.type_name(),
        other.type_name()
    ))
}

/// Whether the first is the same as any other.
fn eq<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    let [one, others @ ..] = args else {
        return fail("missing argument for comparison");
    };
    if others.is_empty() {
        return fail("missing argument for comparison");
    }
    for other in others {
        if equal(one, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(one: &Value<'_>, other: &Value<'_>) -> Result<bool, CallError> {
    Ok(match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::Int(one), Value::Int(other)) => one == other,
        (Value::Uint(one, _), Value::Uint(other, _)) => one == other,
        (Value::Int(one), Value::Uint(other, _)) | (Value::Uint(other, _), Value::Int(one)) => {
            u64::try_from(*one) == Ok(*other)
        }
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (one, other) if is_basic(one) || is_basic(other) => return Err(incompatible(one, other)),
        (one, other) => {
            let (shown, type_name) = (sprint(std::slice::from_ref(one))?, other.type_name());
            return fail(format!("non-comparable type {shown}: {type_name}"));
        }
    })
}

fn is_basic(value: &Value<'_>) -> bool {
    !matches!(
        value,
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Object(_)
    )
}

fn less<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    let [one, other] = args else {
        return fail("missing argument for comparison");
    };
    let bad = || fail("invalid type for comparison");
    if !is_basic(one) || !is_basic(other) {
        return bad();
    }
    let order = match (one, other) {
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other),
        (Value::Text(one), Value::Text(other)) => Some(one.cmp(other)),
        (Value::Int(one), Value::Int(other)) => Some(one.cmp(other)),
        (Value::Uint(one, _), Value::Uint(other, _)) => Some(one.cmp(other)),
        (Value::Int(one), Value::Uint(other, _)) => Some(mixed(*one, *other)),
        (Value::Uint(one, _), Value::Int(other)) => Some(mixed(*other, *one).reverse()),
        (Value::Bool(_), Value::Bool(_)) => return bad(),
        _ => return Err(incompatible(one, other)),
    };
    Ok(Value::Bool(order == Some(Ordering::Less)))
}

fn mixed(signed: i64, unsigned: u64) -> Ordering {
    i128::from(signed).cmp(&i128::from(unsigned))
}

fn less_or_equal<'a>(args: &[Value<'a>]) -> Result<Value<'a>, CallError> {
    match less(args)? {
        Value::Bool(true) => Ok(Value::Bool(true)),
        _ => eq(args),
    }
}
