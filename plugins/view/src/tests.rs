//! The directive's lines, and queries in and out of views.
use std::sync::Arc;

use corten_plugin::corefile::{Source, parse};
use corten_plugin::wire::Gate;
use corten_plugin::{Block, Parts, Peers, Process, ServerOptions, Transport};

use super::*;

/// Reads a view from the lines of a server block.
fn read(lines: &str) -> Result<Arc<dyn View>, String> {
    let text = format!("example {{\n{lines}\n}}\n");
    let source = Source {
        name: "Corefile",
        text: &text,
        path: None,
    };
    let corefile = parse(&source, &["view"], &|_| None).map_err(|error| error.to_string())?;
    let block = Block {
        zones: vec!["example".parse().unwrap()],
        transports: Vec::new(),
    };
    let (mut options, mut offers) = (ServerOptions::default(), Peers::default());
    let (mut made, mut everywhere) = (Vec::new(), Vec::new());
    let process = Arc::new(Process::default());
    let mut asked = Setup {
        directive: "view",
        block: &block,
        options: &mut options,
        process: &process,
        parts: Parts {
            lines: &corefile.blocks[0].directives,
            before: &[],
            made: &mut made,
            everywhere: &mut everywhere,
            offers: &mut offers,
        },
    };
    setup(&mut asked).map_err(|error| error.to_string())?;
    assert_eq!(offers.all::<dyn MetadataProvider>().count(), 1);
    Ok(options.view.unwrap())
}

/// `www.example. A` with EDNS, 1232 octets, DO; from 192.0.2.7 port 4000.
fn asked() -> Exchange {
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03WWW\x07example\0\0\x01\0\x01\
        \0\0\x29\x04\xd0\0\0\x80\0\0\0";
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(QUERY), Gate::Pass);
    ex.client = "[::ffff:192.0.2.7]:4000".parse().unwrap();
    ex.local = "[2001:db8::1]:53".parse().unwrap();
    ex
}

#[test]
fn every_function_tells_what_it_should() {
    let mut ex = asked();
    for expression in [
        "type() == 'A'",
        "name() == 'www.example.'",
        "class() == 'IN'",
        "proto() == 'udp'",
        "size() == 40",
        "client_ip() == '192.0.2.7'",
        "port() == '4000'",
        "id() == 0x1234",
        "opcode() == 0",
        "do()",
        "bufsize() == 1232",
        "server_ip() == '2001:db8::1'",
        "incidr(server_ip(), '2001:db8::/32')",
        "server_port() == '53'",
        "metadata('view/name') == ''",
        "type()in[\"A\",\"AAAA\"]",
    ] {
        let view = read(&format!("view v {{\n expr {expression}\n}}")).unwrap();
        assert!(view.admits(&ex), "{expression}");
    }
    ex.transport = Transport::Tcp;
    let view = read("view v {\n expr proto() == 'tcp'\n expr bufsize() == 65535\n}").unwrap();
    assert!(view.admits(&ex));
    assert_eq!(view.name(), "v");
    let both = read("view v {\n expr true\n expr type() == 'MX'\n}").unwrap();
    assert!(!both.admits(&ex), "every line must hold");
    assert!(read("view v").unwrap().admits(&ex), "nothing to hold");
}

#[test]
fn metadata_are_asked_for() {
    let mut ex = asked();
    let named = Named {
        name: "inside".into(),
        conditions: Vec::new(),
    };
    let providers: Arc<[Arc<dyn MetadataProvider>]> = vec![Arc::new(named) as _].into();
    ex.collect_metadata(&providers);
    let view = read("view v {\n expr metadata('view/name') == 'inside'\n}").unwrap();
    assert!(view.admits(&ex));
}

#[test]
fn admitting_allocates_nothing() {
    let ex = asked();
    let view = read(
        "view v {\n expr incidr(client_ip(), '192.0.2.0/24') && name() matches '^w+[.]'\n \
         expr type() in ['A', 'AAAA'] and port() != '53'\n}",
    )
    .unwrap();
    assert!(view.admits(&ex));
    let info = allocation_counter::measure(|| assert!(view.admits(&ex)));
    assert_eq!(info.count_total, 0);
}

#[test]
fn mistakes_have_their_place() {
    for (lines, error) in [
        (
            "view {\n}",
            "Corefile:2 - Error during parsing: Wrong argument count",
        ),
        (
            "view a b {\n}",
            "Corefile:2 - Error during parsing: Wrong argument count",
        ),
        (
            "view a\nview b",
            "Corefile:3 - this plugin can only be used once per Server Block",
        ),
        (
            "view a {\n when true\n}",
            "Corefile:3 - Error during parsing: unknown property 'when'",
        ),
        (
            "view a {\n expr name( ==\n}",
            "Corefile:3 - Error during parsing: unexpected token Operator(\"==\") (1:7)\n  --> Corefile:3:13",
        ),
        (
            "view a {\n expr true && nope()\n}",
            "Corefile:3 - Error during parsing: unknown name nope (1:9)\n  --> Corefile:3:15",
        ),
        (
            "view a {\n expr \"name() + 1\"\n}",
            "Corefile:3 - Error during parsing: invalid operation: + (mismatched types string and int) (1:8)\n | name() + 1",
        ),
        (
            "view a {\n expr\n}",
            "Corefile:3 - Error during parsing: unexpected token EOF (1:1)",
        ),
    ] {
        let said = read(lines).map(|_| ()).unwrap_err();
        assert!(said.starts_with(error), "{lines}: {said}");
    }
}
