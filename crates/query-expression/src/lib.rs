//! What expressions can ask of a query: the functions that *view* and *template* share.
//!
//! The language is `corten_expression`'s; here is what its functions mean for an exchange.
use std::fmt::Write;

use corten_expression::{Argument, Function, Host, Returned, Type};
use corten_plugin::Exchange;

/// The functions, by CoreDNS's names. `incidr` is one of the language itself.
pub const FUNCTIONS: [Function; 14] = [
    function("type", Type::Text),
    function("name", Type::Text),
    function("class", Type::Text),
    function("proto", Type::Text),
    function("size", Type::Int),
    function("client_ip", Type::Text),
    function("port", Type::Text),
    function("id", Type::Int),
    function("opcode", Type::Int),
    function("do", Type::Bool),
    function("bufsize", Type::Int),
    function("server_ip", Type::Text),
    function("server_port", Type::Text),
    Function {
        name: "metadata",
        parameters: &[Type::Text],
        result: Type::Text,
    },
];

const fn function(name: &'static str, result: Type) -> Function {
    Function {
        name,
        parameters: &[],
        result,
    }
}

/// A query that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a>(pub &'a Exchange);

impl Host for Asked<'_> {
    fn call(&self, function: usize, arguments: &[Argument<'_>], text: &mut String) -> Returned {
        let Self(ex) = self;
        let question = &ex.query.question;
        // Writing to a string cannot fail.
        let _ = match FUNCTIONS.get(function).map_or("", |function| function.name) {
            "type" => write!(text, "{}", question.rtype),
            "name" => write!(text, "{}", question.name),
            "class" => write!(text, "{}", question.class),
            "proto" => text.write_str(ex.transport.network()),
            "port" => write!(text, "{}", ex.client.port()),
            "server_port" => write!(text, "{}", ex.local.port()),
            "client_ip" => return Returned::Address(ex.client.ip().to_canonical()),
            "server_ip" => return Returned::Address(ex.local.ip().to_canonical()),
            "size" => return Returned::Int(ex.query.octets().len() as i64),
            "id" => return Returned::Int(ex.query.id().into()),
            "opcode" => return Returned::Int(ex.query.opcode().0.into()),
            "do" => return Returned::Bool(ex.query.dnssec_ok()),
            "bufsize" => return Returned::Int(ex.client_octets_max().into()),
            "metadata" => match arguments {
                [Argument::Text(label)] => text.write_str(&ex.metadata(label).unwrap_or_default()),
                _ => return Returned::Nil,
            },
            _ => return Returned::Nil,
        };
        Returned::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_expression::{Scratch, compile};

    #[test]
    fn a_query_is_asked() {
        let mut ex = Exchange::new();
        ex.query.question.name = "www.example".parse().expect("a name");
        ex.client = ([192, 0, 2, 7], 4000).into();
        for (text, holds) in [
            ("name() == 'www.example.'", true),
            (
                "incidr(client_ip(), '192.0.2.0/24') and port() == '4000'",
                true,
            ),
            ("proto() == 'tcp'", false),
            ("bufsize() == 512 and not do()", true),
            ("metadata('a/b') == ''", true),
        ] {
            let program = compile(text, &FUNCTIONS).expect("an expression");
            assert_eq!(
                program.holds(&Asked(&ex), &mut Scratch::default()),
                holds,
                "{text}"
            );
        }
    }
}
