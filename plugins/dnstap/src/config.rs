//! The directive's lines.
use std::path::PathBuf;

use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::{Format, SetupError};

/// Messages that may wait for a collector, times QUEUE; CoreDNS's number.
const QUEUE_MESSAGES: usize = 10_000;
const QUEUE_MAX: usize = 4096;
const WRITE_BUFFER_MIB_MAX: usize = 1024;

/// One occurrence of the directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Collectors come to us, instead of we to one.
    pub(crate) listen: bool,
    pub(crate) endpoint: Endpoint,
    /// Messages in wire format go along.
    pub(crate) full: bool,
    pub(crate) write_buffer_octets: usize,
    pub(crate) queue_messages: usize,
    pub(crate) identity: Vec<u8>,
    pub(crate) version: Vec<u8>,
    pub(crate) extra: Option<Format>,
    /// The other side's certificate is not looked at.
    pub(crate) skip_verify: bool,
    pub(crate) tls: Option<TlsFiles>,
}

/// Where the other side is, or comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
}

/// A listener's certificate, and the CA of its clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: Option<PathBuf>,
}

/// `dnstap [listen] SOCKET [full] [WRITEBUFFER] [QUEUE] { … }`
pub(crate) fn read(line: &Occurrence<'_>) -> Result<Config, SetupError> {
    let (listen, args) = match &line.args[..] {
        [] => return Err(line.argument_error().into()),
        [listen] if listen.text == "listen" => {
            return Err(listen
                .error("dnstap listen requires an endpoint argument")
                .into());
        }
        [listen, args @ ..] if listen.text == "listen" => (true, args),
        args => (false, args),
    };
    let [socket, args @ ..] = args else {
        return Err(line.argument_error().into());
    };
    let (full, args) = match args {
        [] => (false, args),
        [full, args @ ..] if full.text == "full" => (true, args),
        // CoreDNS takes any word and means "not full" by it.
        [other, ..] => {
            return Err(other
                .error(format!("'{}' is not 'full'", other.text))
                .help("dnstap SOCKET [full] [WRITEBUFFER] [QUEUE]")
                .into());
        }
    };
    let (buffer, queue) = match args {
        [] => (1, 1),
        [buffer] => (write_buffer(buffer)?, 1),
        [buffer, count] => (write_buffer(buffer)?, queue(count)?),
        _ => return Err(line.argument_error().into()),
    };
    let mut config = Config {
        listen,
        endpoint: endpoint(socket)?,
        full,
        write_buffer_octets: buffer << 20,
        queue_messages: queue * QUEUE_MESSAGES,
        identity: nix::unistd::gethostname()
            .map(|name| name.as_encoded_bytes().to_vec())
            .unwrap_or_default(),
        version: concat!("Corten-", env!("CARGO_PKG_VERSION"))
            .as_bytes()
            .to_vec(),
        extra: None,
        skip_verify: false,
        tls: None,
    };
    for option in line.lines() {
        read_option(&mut config, option)?;
    }
    Ok(config)
}

fn read_option(config: &mut Config, option: &Line<'_>) -> Result<(), SetupError> {
    match option.name.text.as_str() {
        "identity" => config.identity = option.one_arg()?.text.clone().into_bytes(),
        "version" => config.version = option.one_arg()?.text.clone().into_bytes(),
        "extra" => config.extra = Some(Format::read(&option.one_arg()?.text)),
        "skipverify" => {
            option.no_args()?;
            config.skip_verify = true;
        }
        "tls" if !config.listen => {
            return Err(option
                .name
                .error("tls directive only valid for listeners")
                .help("an outgoing connection takes the system's roots, or 'skipverify'")
                .into());
        }
        "tls" => match option.args[..] {
            [certificate, key, ref ca @ ..] if ca.len() < 2 => {
                config.tls = Some(TlsFiles {
                    certificate: PathBuf::from(&certificate.text),
                    key: PathBuf::from(&key.text),
                    ca: ca.first().map(|ca| PathBuf::from(&ca.text)),
                });
            }
            [] | [_] => {
                return Err(option
                    .name
                    .error("tls requires cert and key file paths")
                    .into());
            }
            _ => return Err(option.argument_error().into()),
        },
        _ => {
            let known = ["identity", "version", "extra", "skipverify", "tls"];
            return Err(option.unknown_property(&known).into());
        }
    }
    Ok(())
}

fn write_buffer(token: &Token) -> Result<usize, SetupError> {
    let mib: usize = token.parse("a number of MiB for the write buffer")?;
    if !(1..=WRITE_BUFFER_MIB_MAX).contains(&mib) {
        let text = format!(
            "MultipleTcpWriteBuf must be between 1 and {WRITE_BUFFER_MIB_MAX} (MiB units): {mib}"
        );
        return Err(token.error(text).into());
    }
    Ok(mib)
}

fn queue(token: &Token) -> Result<usize, SetupError> {
    let count: usize = token.parse("a number of 10,000 messages for the queue")?;
    if !(1..=QUEUE_MAX).contains(&count) {
        let text =
            format!("MultipleQueue must be between 1 and {QUEUE_MAX} (x10k messages): {count}");
        return Err(token.error(text).into());
    }
    Ok(count)
}

fn endpoint(token: &Token) -> Result<Endpoint, SetupError> {
    let text = token.text.as_str();
    if let Some(rest) = text.strip_prefix("tls://") {
        let (host, port) = host_port(token, rest)?;
        return Ok(Endpoint::Tls { host, port });
    }
    if let Some(rest) = text.strip_prefix("tcp://") {
        let (host, port) = host_port(token, rest)?;
        return Ok(Endpoint::Tcp { host, port });
    }
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.is_empty() {
        return Err(token.error(format!("'{text}' names no socket")).into());
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn host_port(token: &Token, text: &str) -> Result<(String, u16), SetupError> {
    let text = text.split('/').next().unwrap_or(text);
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host
            .strip_prefix('[')
            .map_or(host, |host| host.trim_end_matches(']'));
        Some((host.to_owned(), port.parse().ok()?))
    });
    parts.ok_or_else(|| {
        token
            .error(format!("'{text}' is not HOST:PORT"))
            .help("an endpoint is a path, or tcp://HOST:PORT, or tls://HOST:PORT")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let text = format!(". {{\n {line}\n}}");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["dnstap"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_read() {
        let plain = config("dnstap /run/tap.sock").unwrap();
        assert_eq!(plain.endpoint, Endpoint::Unix("/run/tap.sock".into()));
        assert!(!plain.full && !plain.listen && !plain.skip_verify && plain.extra.is_none());
        assert_eq!(
            (plain.write_buffer_octets, plain.queue_messages),
            (1 << 20, 10_000)
        );
        assert!(plain.version.starts_with(b"Corten-"));

        let all = config(
            "dnstap tls://[::1]:6000 full 1024 4096 {\n identity me\n version 1\n extra {name}\n skipverify\n}",
        )
        .unwrap();
        let host = "::1".to_owned();
        assert_eq!(all.endpoint, Endpoint::Tls { host, port: 6000 });
        assert!(all.full && all.skip_verify);
        assert_eq!(
            (all.write_buffer_octets, all.queue_messages),
            (1 << 30, 40_960_000)
        );
        assert_eq!(
            (&all.identity[..], &all.version[..]),
            (&b"me"[..], &b"1"[..])
        );
        assert_eq!(all.extra, Some(Format::read("{name}")));

        let listen = config("dnstap listen tcp://localhost:1 full {\n tls a b c\n}").unwrap();
        assert!(listen.listen && listen.tls.unwrap().ca == Some("c".into()));
        assert_eq!(
            config("dnstap unix://tap.sock").unwrap().endpoint,
            Endpoint::Unix("tap.sock".into())
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (line, error) in [
            ("dnstap", "Wrong argument count"),
            (
                "dnstap listen",
                "dnstap listen requires an endpoint argument",
            ),
            ("dnstap a.sock ful", "'ful' is not 'full'"),
            ("dnstap a.sock full x", "'x' is not a number of MiB"),
            (
                "dnstap a.sock full 0",
                "MultipleTcpWriteBuf must be between 1 and 1024 (MiB units): 0",
            ),
            (
                "dnstap a.sock full 1 4097",
                "MultipleQueue must be between 1 and 4096 (x10k messages): 4097",
            ),
            ("dnstap a.sock full 1 1 1", "Wrong argument count"),
            ("dnstap tcp://host", "'host' is not HOST:PORT"),
            ("dnstap unix://", "names no socket"),
            (
                "dnstap a.sock {\n identiy x\n}",
                "unknown property 'identiy'",
            ),
            ("dnstap a.sock {\n version\n}", "Wrong argument count"),
            (
                "dnstap a.sock {\n tls a b\n}",
                "tls directive only valid for listeners",
            ),
            (
                "dnstap listen a.sock {\n tls a\n}",
                "tls requires cert and key file paths",
            ),
        ] {
            let text = config(line).unwrap_err();
            assert!(text.contains(error), "{line}: {text}");
        }
    }
}
