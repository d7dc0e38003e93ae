//! Templates and what Go 1.26 makes of them.
//!
//! `recorded.txt`: a template, in which `\n` is a line's end unless it stands in quotes; then `!` and
//! why it does not parse, or `~` and how Go writes it, and `=` its output or `?` why it failed.
use std::collections::BTreeMap;
use std::rc::Rc;

use corten_gotemplate::{
    Function, Limits, MethodError, Object, PARSE_INT, Piece, Shape, Template, Value, Width,
};

static FUNCTIONS: &[Function] = &[PARSE_INT];
const LIMITS: Limits = Limits {
    steps_max: 10_000,
    output_octets_max: 10_000,
};

struct Data {
    question: Question,
    message: Message,
    group: Strings,
    matches: Strings,
    empties: Strings,
    var: BTreeMap<String, Value<'static>>,
}

struct Question;
struct Message(Questions);
struct Questions;
struct Strings(Shape, &'static [(&'static str, &'static str)]);

const QUESTION: Question = Question;

impl Data {
    fn new() -> Self {
        let list = Value::List(Rc::from([Value::Int(1), Value::text("x")]));
        let map = BTreeMap::from([("k".to_owned(), Value::text("v"))]);
        Self {
            question: Question,
            message: Message(Questions),
            group: Strings(Shape::Map, &[("0", "ab"), ("1", "b"), ("a", "b")]),
            matches: Strings(Shape::List, &[("", "ab"), ("", "b")]),
            empties: Strings(Shape::List, &[]),
            var: BTreeMap::from([
                ("n".to_owned(), Value::Int(5)),
                ("s".to_owned(), Value::text("str")),
                ("f".to_owned(), Value::Float(1.5)),
                ("b".to_owned(), Value::Bool(true)),
                ("l".to_owned(), list),
                ("m".to_owned(), Value::Map(Rc::new(map))),
            ]),
        }
    }
}

impl Object for Data {
    fn shape(&self) -> Shape {
        Shape::Struct
    }
    fn type_name(&self) -> &'static str {
        "*main.templateData"
    }
    fn len(&self) -> usize {
        0
    }
    fn at(&self, _: usize) -> Option<(Value<'_>, Value<'_>)> {
        None
    }
    fn get(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "Name" => Value::text("a.example."),
            "Zone" => Value::text("example."),
            "Empty" => Value::text(""),
            "Match" => Value::Object(&self.matches),
            "Empties" => Value::Object(&self.empties),
            "Group" => Value::Object(&self.group),
            "Question" => Value::Object(&self.question),
            "Message" => Value::Object(&self.message),
            "Var" => Value::Map(Rc::new(self.var.clone())),
            _ => return None,
        })
    }
    fn call(&self, name: &str, arguments: &[Value<'_>]) -> Option<Result<Value<'_>, MethodError>> {
        if name != "Meta" {
            return None;
        }
        Some(match arguments {
            [Value::Text(label)] => Ok(Value::text(if label == "a/b" { "meta" } else { "" })),
            [_] => Err(MethodError::Type("string")),
            _ => Err(MethodError::Arguments(1)),
        })
    }
}

impl Object for Question {
    fn shape(&self) -> Shape {
        Shape::Struct
    }
    fn type_name(&self) -> &'static str {
        "*main.question"
    }
    fn len(&self) -> usize {
        3
    }
    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        let name = ["Name", "Qtype", "Qclass"].get(index)?;
        Some((Value::text(*name), self.get(name)?))
    }
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "Name" => Some(Value::text("A.example.")),
            "Qtype" | "Qclass" => Some(Value::Uint(1, Width::U16)),
            _ => None,
        }
    }
}

impl Object for Message {
    fn shape(&self) -> Shape {
        Shape::Struct
    }
    fn type_name(&self) -> &'static str {
        "*main.message"
    }
    fn len(&self) -> usize {
        0
    }
    fn at(&self, _: usize) -> Option<(Value<'_>, Value<'_>)> {
        None
    }
    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "Id" => Some(Value::Uint(77, Width::U16)),
            "RecursionDesired" => Some(Value::Bool(true)),
            "Question" => Some(Value::Object(&self.0)),
            _ => None,
        }
    }
}

impl Object for Questions {
    fn shape(&self) -> Shape {
        Shape::List
    }
    fn type_name(&self) -> &'static str {
        "[]main.question"
    }
    fn len(&self) -> usize {
        1
    }
    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        (index == 0).then_some((Value::Nil, Value::Object(&QUESTION)))
    }
    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

impl Object for Strings {
    fn shape(&self) -> Shape {
        self.0
    }
    fn type_name(&self) -> &'static str {
        match self.0 {
            Shape::Map => "map[string]string",
            _ => "[]string",
        }
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        let (key, value) = self.1.get(index)?;
        Some((Value::text(*key), Value::text(*value)))
    }
    fn get(&self, name: &str) -> Option<Value<'_>> {
        let (_, value) = self.1.iter().find(|(key, _)| *key == name)?;
        Some(Value::text(*value))
    }
    fn missing(&self) -> Value<'_> {
        Value::text("")
    }
}

/// What our engine makes of a template, in the form of the recorded lines.
fn ours(text: &str, quoted: &dyn Fn(&str) -> String) -> Vec<String> {
    let line = |text: String| text.replace('\n', "\\n");
    let template = match Template::parse("answer", text, FUNCTIONS) {
        Ok(template) => template,
        Err(error) => return vec![format!("! {}", line(error.to_string()))],
    };
    let data = Data::new();
    let mut out = String::new();
    let shown = format!("~ {}", quoted(&template.to_string()));
    match template.execute(Value::Object(&data), &LIMITS, &mut out) {
        Ok(()) => vec![shown, format!("= {}", quoted(&out))],
        Err(error) => vec![shown, format!("? {}", line(error.to_string()))],
    }
}

/// Go's quotes, made by the engine itself.
fn quoted(text: &str) -> String {
    struct Text<'a>(&'a str);
    impl Object for Text<'_> {
        fn shape(&self) -> Shape {
            Shape::Struct
        }
        fn type_name(&self) -> &'static str {
            "text"
        }
        fn len(&self) -> usize {
            0
        }
        fn at(&self, _: usize) -> Option<(Value<'_>, Value<'_>)> {
            None
        }
        fn get(&self, _: &str) -> Option<Value<'_>> {
            Some(Value::text(self.0))
        }
    }
    let template = Template::parse("quote", "{{ printf `%q` .Text }}", &[]).expect("a template");
    let (text, mut out) = (Text(text), String::new());
    template
        .execute(Value::Object(&text), &LIMITS, &mut out)
        .expect("a template");
    out
}

#[test]
fn templates_do_what_go_does() {
    let mut lines = include_str!("recorded.txt").lines().peekable();
    let (mut count, mut wrong) = (0, Vec::new());
    while let Some(template) = lines.next() {
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| {
            ["! ", "~ ", "= ", "? "]
                .iter()
                .any(|mark| line.starts_with(mark))
        }) {
            expected.push(line.to_owned());
        }
        let got = ours(&template.replace("\\n", "\n"), &quoted);
        count += 1;
        if got != expected {
            wrong.push(format!("{template}\n  Go:   {expected:?}\n  ours: {got:?}"));
        }
    }
    assert!(count > 200, "the records are read");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_never_ends_is_stopped() {
    for (text, why) in [
        ("{{ range 1000000000 }}x{{ end }}", "too many steps"),
        ("{{ range 1000000000 }}{{ end }}", "too many steps"),
        (
            "{{ define `x` }}{{ template `x` }}{{ end }}{{ template `x` }}",
            "maximum template depth",
        ),
        (
            "{{ $x := `aaaaaaaa` }}{{ range 100 }}{{ $x = printf `%s%s` $x $x }}{{ end }}",
            "octets",
        ),
        (
            "{{ range 200 }}{{ printf `%1000d` 1 }}{{ end }}",
            "output is too long",
        ),
        (
            "{{ range 100 }}{{ range 100 }}{{ range 100 }}{{ end }}{{ end }}{{ end }}",
            "too many steps",
        ),
    ] {
        let template = Template::parse("t", text, &[]).unwrap();
        let error = template.execute(Value::Nil, &LIMITS, &mut String::new());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for (open, close) in [("(", ")"), ("{{if 1}}", "{{end}}"), ("{{if 1}}{{else ", "")] {
        let text = format!(
            "{{{{ {}1{} }}}}",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        assert!(Template::parse("t", &text, &[]).is_err());
    }
    let deep = format!("{}x{}", "{{if 1}}".repeat(100), "{{end}}".repeat(100));
    let template = Template::parse("t", &deep, &[]).unwrap();
    assert!(
        template
            .execute(Value::Nil, &LIMITS, &mut String::new())
            .is_ok()
    );
    let deeper = format!("{}x{}", "{{if 1}}".repeat(1000), "{{end}}".repeat(1000));
    assert!(Template::parse("t", &deeper, &[]).is_err());
}

#[test]
fn simple_templates_are_told_apart() {
    let pieces = |text| {
        Template::parse("t", text, &[])
            .unwrap()
            .pieces()
            .map(|pieces| pieces.len())
    };
    assert_eq!(pieces("{{ .Name }} 60 IN A 192.0.2.1{{/* x */}}"), Some(2));
    assert_eq!(pieces("{{ .Name | len }}"), None);
    assert_eq!(pieces("{{ .Name.X }}"), None);
    assert_eq!(pieces("{{ $x := .Name }}"), None);
    let template = Template::parse("t", "a{{ .B }}", &[]).unwrap();
    assert_eq!(
        template.pieces(),
        Some(vec![Piece::Text("a"), Piece::Field("B")])
    );
}
