//! What templates work with.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A value. Types that Go tells apart and templates do not are one here.
#[derive(Clone, Default)]
pub enum Value<'a> {
    /// Nothing: a key that is not there, or Go's `nil`.
    #[default]
    Nil,
    /// `bool`.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number, with its width.
    Uint(u64, Width),
    /// `float64`.
    Float(f64),
    /// `string`.
    Text(Cow<'a, str>),
    /// A list that was made while the template ran, or for it.
    List(Rc<[Self]>),
    /// The same for a map.
    Map(Rc<BTreeMap<String, Self>>),
    /// Something of the caller's, looked into as far as the template asks.
    Object(&'a dyn Object),
}

/// How wide an unsigned number is; it prints no different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// `uint8`.
    U8,
    /// `uint16`.
    U16,
    /// `uint32`.
    U32,
    /// `uint64`.
    U64,
}

/// What an [`Object`] is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Named fields; a field that is not there is an error.
    Struct,
    /// Named elements; an element that is not there is [`Value::Nil`].
    Map,
    /// Numbered elements.
    List,
}

/// A value of the caller's. Its parts are made when a template asks for them.
pub trait Object {
    /// What it is like.
    fn shape(&self) -> Shape;

    /// What Go calls its type, such as `*dns.Msg`; for messages.
    fn type_name(&self) -> &'static str;

    /// Number of elements or fields.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, in the order of names for maps, of declaration for structs; with its
    /// name, if it has one.
    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)>;

    /// The field or element of this name.
    fn get(&self, name: &str) -> Option<Value<'_>>;

    /// What `index` gives for a name that is not there.
    fn missing(&self) -> Value<'_> {
        Value::Nil
    }

    /// The method of this name, if there is one; `arguments` as Go counts them.
    fn call(&self, name: &str, arguments: &[Value<'_>]) -> Option<Result<Value<'_>, MethodError>> {
        let _ = (name, arguments);
        None
    }

    /// Its text, for types that have one of their own.
    fn text(&self) -> Option<String> {
        None
    }
}

/// Why a method was not called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodError {
    /// It wants this many arguments.
    Arguments(usize),
    /// An argument must be of this type.
    Type(&'static str),
}

impl<'a> Value<'a> {
    /// A text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// What Go calls its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_, Width::U8) => "uint8",
            Self::Uint(_, Width::U16) => "uint16",
            Self::Uint(_, Width::U32) => "uint32",
            Self::Uint(_, Width::U64) => "uint64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    /// Whether `if` takes it for true: everything but zero, empty and nothing.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Uint(number, _) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => object.shape() == Shape::Struct || !object.is_empty(),
        }
    }

    /// Number of octets or elements; nothing for values without.
    pub(crate) fn length(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::List(list) => Some(list.len()),
            Self::Map(map) => Some(map.len()),
            Self::Object(object) => (object.shape() != Shape::Struct).then(|| object.len()),
            _ => None,
        }
    }

    /// The element at `index` with its name or number, of a list or a map.
    pub(crate) fn element(&self, index: usize) -> Option<(Self, Self)> {
        let number = Self::Int(i64::try_from(index).ok()?);
        match self {
            Self::List(list) => Some((number, list.get(index)?.clone())),
            Self::Map(map) => {
                let (key, value) = map.iter().nth(index)?;
                Some((Self::text(key.clone()), value.clone()))
            }
            Self::Object(object) => {
                let (key, value) = object.at(index)?;
                match object.shape() {
                    Shape::List => Some((number, value)),
                    _ => Some((key, value)),
                }
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        crate::format::show(&mut text, self);
        f.write_str(&text)
    }
}
