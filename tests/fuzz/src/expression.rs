//! The target that reads conditions.
use std::net::IpAddr;

use corten_expression::{Argument, Function, Host, Returned, Scratch, Type, compile};

/// What a query can tell in this target.
const FUNCTIONS: [Function; 5] = [
    function("name", &[], Type::Text),
    function("client_ip", &[], Type::Text),
    function("size", &[], Type::Int),
    function("do", &[], Type::Bool),
    function("metadata", &[Type::Text], Type::Any),
];

const fn function(name: &'static str, parameters: &'static [Type], result: Type) -> Function {
    Function {
        name,
        parameters,
        result,
    }
}

struct Query;

impl Host for Query {
    fn call(&self, function: usize, arguments: &[Argument<'_>], text: &mut String) -> Returned {
        match function {
            0 => text.push_str("www.example."),
            1 => return Returned::Address(IpAddr::from([192, 0, 2, 1])),
            2 => return Returned::Int(45),
            3 => return Returned::Bool(true),
            _ => match arguments {
                [Argument::Text(label)] => text.push_str(label),
                _ => return Returned::Nil,
            },
        }
        Returned::Text
    }
}

/// An expression compiles, or the error says where; what compiles has the same value each time, and
/// a run ends.
pub fn expression(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let program = match compile(text, &FUNCTIONS) {
        Ok(program) => program,
        Err(error) => {
            assert!(error.at() <= text.chars().count(), "{error}");
            assert!(error.to_string().contains("\n | "), "{error}");
            return;
        }
    };
    let mut scratch = Scratch::default();
    let one = program.try_holds(&Query, &mut scratch);
    let other = program.try_holds(&Query, &mut scratch);
    assert_eq!(
        one, other,
        "the scratch memory of the last run is no part of the next"
    );
    let again = compile(&format!("({text}\n)"), &FUNCTIONS);
    if let Ok(again) = again {
        assert_eq!(again.try_holds(&Query, &mut Scratch::default()), one);
    }
}
