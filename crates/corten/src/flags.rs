//! The command line, with the rules of Go's `flag` package: `-x v`, `--x=v`, flags end at the first
//! other word.
use std::fmt;
use std::path::PathBuf;

/// What `-h` prints.
pub(crate) const USAGE: &str = "\
Usage of corten:
  -conf string
    \tCorefile to load (default \"Corefile\"; \"stdin\" reads standard input)
  -dns.port string
    \tDefault port of dns:// keys (default \"53\")
  -p string
    \tDefault port of dns:// keys (default \"53\")
  -pidfile string
    \tPath to write pid file
  -plugins
    \tList installed plugins
  -quiet
    \tQuiet mode (no initialization output)
  -version
    \tShow version
Commands, each with -h for its flags:
  corten acme test
    \tTry out the certificates of a Corefile, and keep none
  corten certs
    \tShow the certificates of a Corefile
  corten trust export|install|remove
    \tHave this system trust the CA of 'tls internal'
";

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) conf: Option<PathBuf>,
    pub(crate) dns_port: Option<String>,
    pub(crate) pidfile: Option<PathBuf>,
    pub(crate) plugins: bool,
    pub(crate) quiet: bool,
    pub(crate) version: bool,
}

/// Why the program does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlagError {
    /// `-h`: the usage, and all is well.
    Help,
    /// A flag that does not exist or lacks its value: status 2.
    Bad(String),
    /// Words behind the flags: status 1.
    Extra(Vec<String>),
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => Ok(()),
            Self::Bad(text) => f.write_str(text),
            Self::Extra(words) => write!(f, "extra command line arguments: [{}]", words.join(" ")),
        }
    }
}

/// Reads the words behind the program's name.
pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Flags, FlagError> {
    let mut flags = Flags::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(flag) = word
            .strip_prefix("--")
            .or_else(|| word.strip_prefix('-'))
            .filter(|flag| !flag.is_empty())
        else {
            if word == "--" {
                return extra(words.collect(), flags);
            }
            return extra(std::iter::once(word).chain(words).collect(), flags);
        };
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
        let on = |value: Option<String>| match value.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(FlagError::Bad(format!(
                "invalid boolean value \"{other}\" for -{name}: parse error"
            ))),
        };
        let mut text = |value: Option<String>| {
            value
                .or_else(|| words.next())
                .ok_or_else(|| FlagError::Bad(format!("flag needs an argument: -{name}")))
        };
        match name {
            "conf" => flags.conf = Some(text(value)?.into()),
            "dns.port" | "p" => flags.dns_port = Some(text(value)?),
            "pidfile" => flags.pidfile = Some(text(value)?.into()),
            "plugins" => flags.plugins = on(value)?,
            "quiet" => flags.quiet = on(value)?,
            "version" => flags.version = on(value)?,
            "h" | "help" => return Err(FlagError::Help),
            _ => {
                return Err(FlagError::Bad(format!(
                    "flag provided but not defined: -{name}"
                )));
            }
        }
    }
    Ok(flags)
}

fn extra(words: Vec<String>, flags: Flags) -> Result<Flags, FlagError> {
    if words.is_empty() {
        Ok(flags)
    } else {
        Err(FlagError::Extra(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, FlagError> {
        read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let port = |port: &str| Flags {
            dns_port: Some(port.into()),
            ..Flags::default()
        };
        assert_eq!(parse("-p 54 --dns.port=55"), Ok(port("55")));
        assert_eq!(
            parse("-conf a -pidfile=b -quiet"),
            Ok(Flags {
                conf: Some("a".into()),
                pidfile: Some("b".into()),
                quiet: true,
                ..Flags::default()
            })
        );
        assert_eq!(
            parse("-quiet=false -version"),
            Ok(Flags {
                version: true,
                ..Flags::default()
            })
        );
        assert_eq!(parse("--"), Ok(Flags::default()));
        assert_eq!(
            parse("-quiet a -b"),
            Err(FlagError::Extra(vec!["a".into(), "-b".into()]))
        );
        assert_eq!(
            parse("a b").unwrap_err().to_string(),
            "extra command line arguments: [a b]"
        );
        assert_eq!(
            parse("-nosuch").unwrap_err().to_string(),
            "flag provided but not defined: -nosuch"
        );
        assert_eq!(
            parse("-conf").unwrap_err().to_string(),
            "flag needs an argument: -conf"
        );
        assert_eq!(parse("-h -nosuch"), Err(FlagError::Help));
    }
}
