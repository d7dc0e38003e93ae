//! *multisocket*: how many sockets listen on each address.
use corten_plugin::corefile::{Occurrence, Token};
use corten_plugin::{Directive, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "multisocket",
    setup,
    readme: include_str!("../README.md"),
};

/// CoreDNS's limit.
const SOCKETS_MAX: i64 = 1024;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let lines = setup.occurrences()?;
    if let [_, second, ..] = &lines[..] {
        return Err(second
            .name
            .error("multisocket stands in this server block already")
            .into());
    }
    for line in &lines {
        setup.options.listener.sockets = Some(sockets(line)?);
    }
    Ok(())
}

fn sockets(line: &Occurrence<'_>) -> Result<usize, SetupError> {
    line.no_block()?;
    match line.args_between(0, 1)? {
        [word] => number(word),
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn number(word: &Token) -> Result<usize, SetupError> {
    let help = format!("multisocket takes a number of sockets between 1 and {SOCKETS_MAX}");
    let text = match word.text.parse::<i64>() {
        Err(_) => format!("invalid num sockets: '{}' is not a number", word.text),
        Ok(number) if number < 1 => {
            format!("num sockets can not be zero or negative: {number}")
        }
        Ok(number) if number > SOCKETS_MAX => {
            format!("num sockets exceeds maximum ({SOCKETS_MAX}): {number}")
        }
        Ok(number) => return Ok(number as usize),
    };
    Err(word.error(text).help(help).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    #[test]
    fn numbers_are_between_1_and_1024() {
        for (text, expected) in [
            ("multisocket 1", Ok(1)),
            ("multisocket 1024", Ok(1024)),
            (
                "multisocket 0",
                Err("num sockets can not be zero or negative: 0"),
            ),
            (
                "multisocket -3",
                Err("num sockets can not be zero or negative: -3"),
            ),
            (
                "multisocket 1025",
                Err("num sockets exceeds maximum (1024): 1025"),
            ),
            (
                "multisocket all",
                Err("invalid num sockets: 'all' is not a number"),
            ),
            ("multisocket 2 3", Err("Wrong argument count")),
            ("multisocket 2 {\n }", Err("takes no options in braces")),
        ] {
            let source = Source {
                name: "Corefile",
                text: &format!(". {{\n {text}\n}}\n"),
                path: None,
            };
            let corefile = parse(&source, &["multisocket"], &|_| None).unwrap();
            let line = corefile.blocks[0].directives[0].occurrence().unwrap();
            match (sockets(&line), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(expected)) => {
                    assert!(found.to_string().contains(expected), "{text}: {found}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
