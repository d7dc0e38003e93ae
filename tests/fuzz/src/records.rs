//! Targets that make records: templates, and their output.
use corten_gotemplate::{Limits, Object, PARSE_INT, Shape, Template, Value, Width};
use corten_wire::Name;
use corten_wire::text::entry::Entries;
use corten_wire::text::record as read;

const LIMITS: Limits = Limits {
    steps_max: 2_000,
    output_octets_max: 4_096,
};

static FUNCTIONS: [corten_gotemplate::Function; 1] = [PARSE_INT];

/// Data with one of each kind.
struct Data {
    list: List,
}

struct List;

impl Object for Data {
    fn shape(&self) -> Shape {
        Shape::Struct
    }

    fn type_name(&self) -> &'static str {
        "*data"
    }

    fn len(&self) -> usize {
        0
    }

    fn at(&self, _: usize) -> Option<(Value<'_>, Value<'_>)> {
        None
    }

    fn get(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "Name" => Value::text("www.example."),
            "Match" => Value::Object(&self.list),
            "Qtype" => Value::Uint(16, Width::U16),
            "True" => Value::Bool(true),
            "Half" => Value::Float(0.5),
            "Self" => Value::Object(self),
            _ => return None,
        })
    }
}

impl Object for List {
    fn shape(&self) -> Shape {
        Shape::List
    }

    fn type_name(&self) -> &'static str {
        "[]string"
    }

    fn len(&self) -> usize {
        3
    }

    fn at(&self, index: usize) -> Option<(Value<'_>, Value<'_>)> {
        let text = ["a", "bc", ""].get(index)?;
        Some((Value::Nil, Value::text(*text)))
    }

    fn get(&self, _: &str) -> Option<Value<'_>> {
        None
    }
}

/// A template parses or the error names it; what parses is written back as a template that is
/// written the same, executes within its limits, and does so again with the same result.
pub fn gotemplate(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let template = match Template::parse("fuzz", text, &FUNCTIONS) {
        Ok(template) => template,
        Err(error) => {
            return assert!(error.to_string().starts_with("template: fuzz:"), "{error}");
        }
    };
    let data = Data { list: List };
    let run = || {
        let mut out = String::new();
        let done = template.execute(Value::Object(&data), &LIMITS, &mut out);
        assert!(out.len() <= LIMITS.output_octets_max);
        (out, done.map_err(|error| error.to_string()))
    };
    let first = run();
    if let Err(error) = &first.1 {
        assert!(error.starts_with("template: fuzz:"), "{error}");
    }
    assert_eq!(first, run());
    if let Some(pieces) = template.pieces() {
        assert!(pieces.len() <= text.len() + 1);
    }
}

/// A text is a record or the error stands in it; a record's generic form (RFC 3597 section 5) is the
/// same record.
pub fn record(octets: &[u8]) {
    for entry in Entries::new(octets) {
        match entry {
            Ok(entry) => assert!(!entry.tokens.is_empty()),
            Err(error) => assert!(error.line >= 1 && error.column >= 1),
        }
    }
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let origin: Name = "example.org".parse().expect("a name");
    let record = match read(text, &origin, Some(60)) {
        Ok(record) => record,
        Err(error) => {
            let lines = 1 + octets.iter().filter(|octet| **octet == b'\n').count();
            assert!((1..=lines).contains(&(error.line as usize)), "{error}");
            return assert!(!error.what.to_string().is_empty());
        }
    };
    let owner = Name::from_wire(&record.owner).expect("the owner is a name");
    assert!(record.rdata.len() <= 65_535);
    let hex: String = record
        .rdata
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let generic = format!(
        "{owner} {} CLASS{} TYPE{} \\# {} {hex}",
        record.ttl,
        record.class.0,
        record.rtype.0,
        record.rdata.len()
    );
    let mut again = read(&generic, &origin, None).expect("the generic form is a record");
    assert!(again.owner.eq_ignore_ascii_case(&record.owner));
    again.owner.clone_from(&record.owner);
    assert_eq!(again, record);
}
