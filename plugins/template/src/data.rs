//! What templates may refer to: CoreDNS's fields, made when they are asked for.
use std::borrow::Cow;

use corten_gotemplate::{MethodError, Object, Shape, Value, Width};
use corten_plugin::Exchange;
use corten_plugin::wire::{Class, RecordType};
use regex::Captures;

use crate::class_name;
use crate::condition::Vars;

/// Everything about one query and the rule that it matched.
pub(crate) struct Data<'a> {
    pub(crate) ex: &'a Exchange,
    pub(crate) zone: &'a str,
    /// The question's name, lower-cased, in presentation form.
    pub(crate) name: &'a str,
    pub(crate) class: Class,
    pub(crate) rtype: RecordType,
    pub(crate) pattern: &'a str,
    pub(crate) groups: Groups<'a>,
    pub(crate) message: Message<'a>,
    pub(crate) vars: Vars,
}

/// What an expression matched: the whole, and its groups.
pub(crate) struct Groups<'a> {
    whole: &'a str,
    captures: Option<(Captures<'a>, &'a regex::Regex)>,
    list: Matches,
}

/// `.Match`; a place of its own, because `.Group` shows the same otherwise.
struct Matches(Vec<String>);

/// The query's message.
pub(crate) struct Message<'a> {
    ex: &'a Exchange,
    question: Asked<'a>,
    questions: Questions<'a>,
    nothing: Nothing,
}

struct Asked<'a>(&'a Exchange, &'static str);
struct Questions<'a>(Asked<'a>);
struct Nothing;
struct Opt<'a>(&'a Exchange);

impl<'a> Groups<'a> {
    /// Of a rule without expressions: everything matches.
    pub(crate) fn whole(name: &'a str) -> Self {
        Self::new(name, None)
    }

    /// What the expression found in the name.
    pub(crate) fn new(name: &'a str, captures: Option<(Captures<'a>, &'a regex::Regex)>) -> Self {
        let mut groups = Self {
            whole: name,
            captures,
            list: Matches(Vec::new()),
        };
        let matches =
            (0..groups.count()).map(|n| groups.numbered(n).unwrap_or_default().to_owned());
        groups.list = Matches(matches.collect());
        groups
    }

    fn count(&self) -> usize {
        self.captures
            .as_ref()
            .map_or(1, |(captures, _)| captures.len())
    }

    /// The group with this number; one that took no part is empty.
    pub(crate) fn numbered(&self, number: usize) -> Option<&str> {
        match &self.captures {
            None => (number == 0).then_some(self.whole),
            Some((captures, _)) if number < captures.len() => {
                Some(captures.get(number).map_or("", |found| found.as_str()))
            }
            Some(_) => None,
        }
    }

    /// The group with this name, or its number as text.
    pub(crate) fn named(&self, name: &str) -> Option<&str> {
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            // Only the number as it is written: `01` is no group.
            let number: usize = name.parse().ok()?;
            return (number.to_string() == name)
                .then(|| self.numbered(number))
                .flatten();
        }
        let (captures, regex) = self.captures.as_ref()?;
        let known = regex.capture_names().flatten().any(|known| known == name);
        known.then(|| captures.name(name).map_or("", |found| found.as_str()))
    }

    /// Names of all groups in order.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = (0..self.count()).map(|number| number.to_string()).collect();
        if let Some((_, regex)) = &self.captures {
            keys.extend(regex.capture_names().flatten().map(str::to_owned));
        }
        keys.sort_unstable();
        keys
    }
}

impl<'a> Message<'a> {
    pub(crate) fn new(ex: &'a Exchange) -> Self {
        Self {
            ex,
            question: Asked(ex, "*dns.Question"),
            questions: Questions(Asked(ex, "dns.Question")),
            nothing: Nothing,
        }
    }
}

/// An object with the fields in a list; `fields` gives the value of one by its name.
macro_rules! object {
    ($object:ty, $type_name:expr, $names:expr, $field:ident) => {
        impl Object for $object {
            fn shape(&self) -> Shape {
                Shape::Struct
            }

            fn type_name(&self) -> &'static str {
                let name: fn(&Self) -> &'static str = $type_name;
                name(self)
            }

            fn len(&self) -> usize {
                $names.len()
            }

            fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
                let name = $names.get(index)?;
                Some((Value::text(*name), self.$field(name)?))
            }

            fn get(&self, name: &str) -> Option<Value<'_>> {
                self.$field(name)
            }

            fn call(
                &self,
                name: &str,
                arguments: &[Value<'_>],
            ) -> Option<Result<Value<'_>, MethodError>> {
                self.method(name, arguments)
            }
        }
    };
}

object!(
    Data<'_>,
    |_| "*template.templateData",
    [
        "Zone", "Name", "Regex", "Match", "Group", "Class", "Type", "Message", "Question",
        "Remote", "Var"
    ],
    field
);

impl Data<'_> {
    fn field(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "Zone" => Value::text(self.zone),
            "Name" => Value::text(self.name),
            "Regex" => Value::text(self.pattern),
            "Match" => Value::Object(&self.groups.list),
            "Group" => Value::Object(&self.groups),
            "Class" => Value::text(class_name(self.class)),
            "Type" => Value::text(self.rtype.mnemonic().unwrap_or_default()),
            "Message" => Value::Object(&self.message),
            "Question" => Value::Object(&self.message.question),
            "Remote" => Value::text(self.ex.client.ip().to_canonical().to_string()),
            "Var" => Value::Map(self.vars.clone()),
            _ => return None,
        })
    }

    fn method(
        &self,
        name: &str,
        arguments: &[Value<'_>],
    ) -> Option<Result<Value<'_>, MethodError>> {
        if name != "Meta" {
            return None;
        }
        Some(match arguments {
            [Value::Text(label)] => {
                let value = self.ex.metadata(label).unwrap_or_default();
                Ok(Value::text(value))
            }
            [_] => Err(MethodError::Type("string")),
            _ => Err(MethodError::Arguments(1)),
        })
    }
}

impl Object for Matches {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn type_name(&self) -> &'static str {
        "[]string"
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        Some((Value::Nil, Value::text(self.0.get(index)?)))
    }

    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

impl Object for Groups<'_> {
    fn shape(&self) -> Shape {
        Shape::Map
    }

    fn type_name(&self) -> &'static str {
        "map[string]string"
    }

    fn len(&self) -> usize {
        self.keys().len()
    }

    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        let key = self.keys().into_iter().nth(index)?;
        let value = self.get(&key)?;
        Some((Value::text(key), value))
    }

    fn get(&self, name: &str) -> Option<Value<'_>> {
        self.named(name).map(Value::text)
    }

    fn missing(&self) -> Value<'_> {
        Value::text("")
    }
}

const HEADER: [&str; 11] = [
    "Id",
    "Response",
    "Opcode",
    "Authoritative",
    "Truncated",
    "RecursionDesired",
    "RecursionAvailable",
    "Zero",
    "AuthenticatedData",
    "CheckingDisabled",
    "Rcode",
];

object!(Message<'_>, |_| "*dns.Msg", HEADER, field);

impl Message<'_> {
    fn field(&self, name: &str) -> Option<Value<'_>> {
        let query = &self.ex.query;
        let flags = query
            .octets()
            .get(2..4)
            .map_or(0, |two| u16::from(two[0]) << 8 | u16::from(two[1]));
        Some(match name {
            "MsgHdr" => Value::Object(self),
            "Id" => Value::Uint(query.id().into(), Width::U16),
            "Opcode" => Value::Int(query.opcode().0.into()),
            "Rcode" => Value::Int(i64::from(flags & 0xf)),
            "Response" => Value::Bool(flags & 0x8000 != 0),
            "Authoritative" => Value::Bool(flags & 0x0400 != 0),
            "Truncated" => Value::Bool(flags & 0x0200 != 0),
            "RecursionDesired" => Value::Bool(flags & 0x0100 != 0),
            "RecursionAvailable" => Value::Bool(flags & 0x0080 != 0),
            "Zero" => Value::Bool(flags & 0x0040 != 0),
            "AuthenticatedData" => Value::Bool(flags & 0x0020 != 0),
            "CheckingDisabled" => Value::Bool(flags & 0x0010 != 0),
            "Compress" => Value::Bool(false),
            "Question" => Value::Object(&self.questions),
            "Answer" | "Ns" | "Extra" => Value::Object(&self.nothing),
            _ => return None,
        })
    }

    fn method(
        &self,
        name: &str,
        arguments: &[Value<'_>],
    ) -> Option<Result<Value<'_>, MethodError>> {
        let value = match name {
            "IsEdns0" => match self.ex.query.edns() {
                // Made here, so that nothing is kept for the few who ask.
                Some(_) => Value::Map(std::rc::Rc::new(Opt(self.ex).fields())),
                None => Value::Nil,
            },
            "Len" => Value::Int(i64::try_from(self.ex.query.octets().len()).unwrap_or(i64::MAX)),
            _ => return None,
        };
        Some(match arguments {
            [] => Ok(value),
            _ => Err(MethodError::Arguments(0)),
        })
    }
}

impl Opt<'_> {
    fn fields(&self) -> std::collections::BTreeMap<String, Value<'static>> {
        let edns = self.0.query.edns();
        let fields = [
            ("Do", Value::Bool(self.0.query.dnssec_ok())),
            (
                "UDPSize",
                Value::Uint(edns.map_or(0, |edns| edns.udp_size.into()), Width::U16),
            ),
            (
                "Version",
                Value::Uint(edns.map_or(0, |edns| edns.version.into()), Width::U8),
            ),
        ];
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

object!(
    Asked<'_>,
    |asked| asked.1,
    ["Name", "Qtype", "Qclass"],
    field
);

impl Asked<'_> {
    /// The name is as the client wrote it, unless a plugin has put another one in its place.
    fn field(&self, name: &str) -> Option<Value<'_>> {
        let question = &self.0.query.question;
        Some(match name {
            "Name" => Value::text(self.name()),
            "Qtype" => Value::Uint(question.rtype.0.into(), Width::U16),
            "Qclass" => Value::Uint(question.class.0.into(), Width::U16),
            _ => return None,
        })
    }

    fn name(&self) -> Cow<'static, str> {
        let query = &self.0.query;
        let shown = query.question.name.to_string();
        let sent = query.question_octets();
        let sent = sent.get(..sent.len().saturating_sub(4)).unwrap_or_default();
        if !sent.eq_ignore_ascii_case(query.question.name.wire()) {
            return shown.into();
        }
        // Letters stand in the same order in both forms; escapes have none.
        let mut letters = Letters::new(sent);
        let name: String = shown
            .chars()
            .map(|c| {
                if c.is_ascii_alphabetic() {
                    letters.next().unwrap_or(c)
                } else {
                    c
                }
            })
            .collect();
        name.into()
    }

    fn method(&self, _: &str, _: &[Value<'_>]) -> Option<Result<Value<'_>, MethodError>> {
        None
    }
}

/// The letters of a name's labels, without the octets of their lengths.
struct Letters<'a> {
    wire: &'a [u8],
    label: usize,
}

impl<'a> Letters<'a> {
    fn new(wire: &'a [u8]) -> Self {
        Self { wire, label: 0 }
    }
}

impl Iterator for Letters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let (first, rest) = self.wire.split_first()?;
            self.wire = rest;
            if self.label == 0 {
                self.label = usize::from(*first);
                continue;
            }
            self.label -= 1;
            if first.is_ascii_alphabetic() {
                return Some(char::from(*first));
            }
        }
    }
}

impl Object for Questions<'_> {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn type_name(&self) -> &'static str {
        "[]dns.Question"
    }

    fn len(&self) -> usize {
        1
    }

    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        (index == 0).then_some((Value::Nil, Value::Object(&self.0)))
    }

    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

impl Object for Nothing {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn type_name(&self) -> &'static str {
        "[]dns.RR"
    }

    fn len(&self) -> usize {
        0
    }

    fn at(&self, _: usize) -> Option<(Value<'_>, Value<'_>)> {
        None
    }

    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}
