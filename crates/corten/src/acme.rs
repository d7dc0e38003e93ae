//! `corten acme test [-conf FILE] [-ca URL]`: a dry run of every certificate that a Corefile wants.
use std::path::PathBuf;
use std::process::ExitCode;

use corten_plugin::Directive;

use crate::command::{HELP, misused, run};
use crate::run::say;

const USAGE: &str = "\
Usage of corten acme test:
  -ca string
    \tDirectory to try at (default: the staging directory of Let's Encrypt, for its certificates)
  -conf string
    \tCorefile to load (default \"Corefile\")
";

/// Runs the command with the words behind `acme`.
pub(crate) fn main(directives: Vec<&'static Directive>, words: &[String]) -> ExitCode {
    let (conf, ca) = match arguments(words) {
        Ok(arguments) => arguments,
        Err(error) => return misused(&error, USAGE),
    };
    run(directives, conf, |process| async move {
        corten_tls::test(&process, ca.as_deref(), |line| say(&line)).await
    })
}

fn arguments(words: &[String]) -> Result<(PathBuf, Option<String>), String> {
    if words
        .iter()
        .any(|word| ["-h", "-help", "--help"].contains(&word.as_str()))
    {
        return Err(HELP.to_owned());
    }
    let ["test", flags @ ..] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
        return Err("the command is 'acme test'".to_owned());
    };
    let (mut conf, mut ca) = (PathBuf::from("Corefile"), None);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let name = flag.trim_start_matches('-');
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let value = value.or_else(|| flags.next().copied());
        let needed = || format!("flag needs an argument: -{name}");
        match name {
            "conf" => conf = value.ok_or_else(needed)?.into(),
            "ca" => ca = Some(value.ok_or_else(needed)?.to_owned()),
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
    }
    Ok((conf, ca))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(PathBuf, Option<String>), String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        arguments(&words)
    }

    #[test]
    fn arguments_are_read() {
        let url = || Some("https://ca.example/dir".to_owned());
        assert_eq!(parse("test"), Ok(("Corefile".into(), None)));
        assert_eq!(
            parse("test -conf a --ca=https://ca.example/dir"),
            Ok(("a".into(), url()))
        );
        assert!(parse("").is_err() && parse("renew").is_err());
        assert!(parse("test -conf").is_err() && parse("test -x 1").is_err());
    }
}
