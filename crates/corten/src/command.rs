//! Commands that look at what a configuration says, beside a server that may be running.
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use corten_plugin::{Directive, Process};
use corten_server::{Checked, Settings, Source};

use crate::run::{DNS_PORT, complain, say};

/// What is wrong with the words of somebody who wants to know how a command is used: nothing.
pub(crate) const HELP: &str = "";

/// Words behind a command: flags with and without a value, and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) conf: PathBuf,
    pub(crate) json: bool,
    pub(crate) output: Option<PathBuf>,
    pub(crate) rest: Vec<String>,
}

impl Words {
    /// Reads the words; `known` are the flags that the command has beside `-conf`.
    pub(crate) fn read(words: &[String], known: &[&str]) -> Result<Self, String> {
        let mut read = Self {
            conf: "Corefile".into(),
            ..Self::default()
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                read.rest.push(word.clone());
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if ["h", "help"].contains(&name) {
                return Err(HELP.to_owned());
            }
            if name != "conf" && !known.contains(&name) {
                return Err(format!("flag provided but not defined: -{name}"));
            }
            if name == "json" {
                read.json = true;
                continue;
            }
            let value = value.or_else(|| words.next().cloned());
            let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
            match name {
                "conf" => read.conf = value.into(),
                _ => read.output = Some(value.into()),
            }
        }
        Ok(read)
    }
}

/// Says how the command is used; status 2, or 0 for somebody who asked.
pub(crate) fn misused(error: &str, usage: &str) -> ExitCode {
    if error == HELP {
        say(usage.trim_end());
        return ExitCode::SUCCESS;
    }
    complain(&format!("{error}\n{usage}"));
    ExitCode::from(2)
}

/// Sets the configuration up, opens no socket, and runs `work` with its process.
pub(crate) fn run<F: Future<Output = u8>>(
    directives: Vec<&'static Directive>,
    conf: PathBuf,
    work: impl FnOnce(Arc<Process>) -> F,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("runtime: {error}"));
            return ExitCode::from(2);
        }
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let process = Arc::new(Process::default());
    let settings = Settings {
        directives,
        source: Source::File(conf),
        dns_port: DNS_PORT,
    };
    let end = runtime.block_on(async {
        match Checked::new(&settings, &process) {
            Ok(checked) => {
                let status = work(Arc::clone(&process)).await;
                drop(checked);
                status
            }
            Err(error) => {
                complain(&error.to_string());
                2
            }
        }
    });
    runtime.shutdown_background();
    ExitCode::from(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Words, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Words::read(&words, &["json", "o"])
    }

    #[test]
    fn words_are_read() {
        let words = read("export -conf=a --json -o b").unwrap();
        assert_eq!(words.conf, PathBuf::from("a"));
        assert_eq!(words.output, Some(PathBuf::from("b")));
        assert!(words.json && words.rest == ["export"]);
        assert_eq!(read("").unwrap().conf, PathBuf::from("Corefile"));
        assert_eq!(read("-x").unwrap_err(), "flag provided but not defined: -x");
        assert_eq!(read("-h").unwrap_err(), HELP);
        assert_eq!(read("export --help -x").unwrap_err(), HELP);
        assert_eq!(read("-conf").unwrap_err(), "flag needs an argument: -conf");
    }
}
