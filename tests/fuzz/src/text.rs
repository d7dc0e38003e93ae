//! Targets that read text.
use std::path::Path;

use corten_corefile::{Corefile, ParseError, Source, parse};
use corten_wire::Name;

/// Directives that the Corefiles of this target know.
const KNOWN: [&str; 7] = ["whoami", "log", "errors", "hosts", "forward", "tls", "any"];

/// A Corefile parses, or the error says where; what parses does so again with the same fingerprint,
/// which a comment at the end does not change, and each token stands where it says it does.
pub fn corefile(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if names_an_absolute_path(text) {
        return;
    }
    let Ok(parsed) = read(text).map_err(|error| show(&error)) else {
        return;
    };
    let fingerprint = parsed.fingerprint_input();
    let again = read(text).expect("the same text parses again");
    assert_eq!(fingerprint, again.fingerprint_input());
    // A quote that is never closed would take the comment in.
    if !text.contains('"') {
        let commented = read(&format!("{text}\n# comment")).expect("a comment breaks nothing");
        assert_eq!(fingerprint, commented.fingerprint_input());
    }
    for block in &parsed.blocks {
        assert!(!block.keys.is_empty(), "a block without a key");
        for key in &block.keys {
            assert!(key.zone.ends_with('.'), "{:?}", key.zone);
            assert_ne!(key.port, Some(0));
        }
        for directive in &block.directives {
            assert!(KNOWN.contains(&directive.name.text.as_str()));
            for token in directive.tokens.iter().chain([&directive.name]) {
                let line = token.at.file.line(token.at.line).expect("the line exists");
                assert!((token.at.column as usize) <= line.chars().count() + 1);
                let _ = token.parse_duration().map_err(|error| show(&error));
            }
            let _ = directive.occurrence().map_err(|error| show(&error));
        }
    }
}

/// A name in presentation form is one in wire form and back.
pub fn name(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let parsed: Name = match text.parse() {
        Ok(name) => name,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let shown = parsed.to_string();
    assert!(shown.is_ascii() && shown.ends_with('.'), "{shown:?}");
    let again: Name = shown.parse().expect("what is shown is a name");
    assert_eq!(parsed, again);
    assert_eq!(shown, again.to_string());
    assert_eq!(Name::from_wire(parsed.wire()).as_ref(), Ok(&parsed));
    assert!(parsed.wire().len() <= 255);
    let labels: usize = (0..parsed.label_count())
        .map(|index| parsed.label(index).expect("as many as counted").len() + 1)
        .sum();
    assert_eq!(labels + 1, parsed.wire().len());
    for labels in 0..=parsed.label_count() {
        let parent = parsed.parent(labels);
        assert!(parsed.is_in(&parent));
        assert_eq!(parent.wire(), parsed.suffix(parsed.label_count() - labels));
    }
}

/// Parses with imports relative to a folder that does not exist.
fn read(text: &str) -> Result<Corefile, ParseError> {
    let source = Source {
        name: "Corefile",
        text,
        path: Some(Path::new("/nonexistent/Corefile")),
    };
    let env = |name: &str| match name {
        "A" => Some("value".to_owned()),
        "B" => Some("<{$A}>".to_owned()),
        "LOOP" => Some("x{$LOOP}".to_owned()),
        _ => None,
    };
    parse(&source, &KNOWN, &env)
}

/// Every error can be shown, with its place first.
fn show(error: &ParseError) {
    let at = error.location();
    assert!(at.line > 0 && at.column > 0);
    let shown = error.to_string();
    assert!(shown.starts_with(&format!("{}:{} - ", at.file, at.line)));
}

/// Whether a token may begin with a slash: an import of it would read this machine's files.
fn names_an_absolute_path(text: &str) -> bool {
    let before = std::iter::once(' ').chain(text.chars());
    before.zip(text.chars()).any(|(before, c)| {
        c == '/' && (before.is_whitespace() || matches!(before, '"' | '}' | '\u{feff}'))
    })
}
