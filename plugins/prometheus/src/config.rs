//! The directive's words.
use std::path::PathBuf;

use corten_plugin::corefile::{Location, Occurrence};
use corten_plugin::{Announcement, SetupError};

/// CoreDNS's choice.
const ADDRESS: &str = "localhost:9153";

/// What a block's directive says.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where metrics are to be had.
    pub(crate) address: String,
    /// Prometheus's web configuration.
    pub(crate) web: Option<File>,
    /// The option that has no effect here is there.
    pub(crate) runtime_metrics: bool,
}

/// A file and where it is named.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) at: Location,
}

/// Reads `prometheus [ADDRESS] { runtime_metrics; tls WEBCONFIG }`.
pub(crate) fn read(line: &Occurrence<'_>) -> Result<Config, SetupError> {
    let address = match line.args_between(0, 1)?.first() {
        Some(token) => Announcement::address(token)?,
        None => ADDRESS.to_owned(),
    };
    let mut config = Config {
        address,
        web: None,
        runtime_metrics: false,
    };
    for option in line.lines() {
        match option.name.text.as_str() {
            "runtime_metrics" => {
                option.no_block()?;
                option.no_args()?;
                config.runtime_metrics = true;
            }
            "tls" => {
                let token = option.one_arg()?;
                // CoreDNS does not begin this path at *root* either.
                config.web = Some(File {
                    path: PathBuf::from(&token.text),
                    at: token.at.clone(),
                });
            }
            _ => return Err(option.unknown_property(&["runtime_metrics", "tls"]).into()),
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let text = format!(". {{\n{text}\n}}\n");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["prometheus"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn words_are_read() {
        let plain = config("prometheus").unwrap();
        assert_eq!(
            (plain.address.as_str(), plain.runtime_metrics),
            (ADDRESS, false)
        );
        assert!(plain.web.is_none());
        let full = config("prometheus :9253 {\nruntime_metrics\ntls web.yml\n}").unwrap();
        assert_eq!(
            (full.address.as_str(), full.runtime_metrics),
            (":9253", true)
        );
        assert_eq!(full.web.unwrap().path, PathBuf::from("web.yml"));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            (
                "prometheus localhost",
                "address localhost: missing port in address",
            ),
            (
                "prometheus a:1 b:2",
                "Wrong argument count or unexpected line ending after 'b:2'",
            ),
            ("prometheus {\npath /x\n}", "unknown property 'path'"),
            (
                "prometheus {\nruntime_metrics all\n}",
                "Wrong argument count",
            ),
            ("prometheus {\ntls\n}", "Wrong argument count"),
            ("prometheus {\ntsl web.yml\n}", "unknown property 'tsl'"),
        ] {
            let told = config(text).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
