//! The program's life: command line, start, signals, exit status.
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use corten_plugin::{Build, Directive, Gates, Process, Reload};
use corten_server::{BUILT_IN, Server, Settings, Source, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::flags::{self, FlagError, Flags};
use crate::logging;

/// Port of plain DNS (RFC 1035 section 4.2).
pub(crate) const DNS_PORT: u16 = 53;
/// What this program was built from.
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    revision: env!("CORTEN_COMMIT"),
    compiler: env!("CORTEN_COMPILER"),
};
/// Octets of the largest Corefile on standard input.
const STDIN_OCTETS_MAX: u64 = 16 << 20;

/// Runs the program with these directives.
pub(crate) fn main(directives: Vec<&'static Directive>) -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    #[cfg(feature = "tls")]
    match words.split_first() {
        Some((command, rest)) if command == "acme" => return crate::acme::main(directives, rest),
        Some((command, rest)) if command == "certs" => return crate::certs::main(directives, rest),
        Some((command, rest)) if command == "trust" => return crate::trust::main(directives, rest),
        _ => (),
    }
    let flags = match flags::read(words) {
        Ok(flags) => flags,
        Err(FlagError::Help) => {
            complain(flags::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error @ FlagError::Bad(_)) => {
            complain(&format!("{error}\n{}", flags::USAGE));
            return ExitCode::from(2);
        }
        Err(error @ FlagError::Extra(_)) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    if flags.version {
        say(&version());
        return ExitCode::SUCCESS;
    }
    if flags.plugins {
        say(&names(&directives));
        return ExitCode::SUCCESS;
    }
    // One provider of cryptography for the whole process; the second call of an embedding program
    // changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    corten_server::install_panic_hook();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let process = Arc::new(Process::default());
    process.set_build(BUILD);
    let log = logging::install(&process);
    let end = runtime.block_on(serve(directives, &flags, process));
    // A plugin's blocking call must not hold up the end.
    runtime.shutdown_background();
    drop(log);
    match end {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn serve(
    directives: Vec<&'static Directive>,
    flags: &Flags,
    process: Arc<Process>,
) -> Result<ExitCode, StartError> {
    let mut signals =
        Signals::new().map_err(|error| StartError::new(format!("signals: {error}")))?;
    let settings = Settings {
        directives,
        source: source(flags)?,
        dns_port: dns_port(flags)?,
    };
    let gates = process.service(Gates::default);
    let server = Server::start(settings, process).await?;
    for warning in server.warnings() {
        tracing::warn!("{warning}");
    }
    tokio::select! {
        () = gates.pass() => (),
        code = signals.run(&server) => return Ok(code),
    }
    // Whoever waits for the banner finds the file.
    if let Some(path) = &flags.pidfile
        && let Err(error) = fs::write(path, format!("{}\n", std::process::id()))
    {
        tracing::error!("pid file {}: {error}", path.display());
    }
    if !flags.quiet {
        say(&format!("{}\n{}", server.banner().join("\n"), version()));
    }
    let code = signals.run(&server).await;
    if let Some(path) = &flags.pidfile {
        // It may be gone already, and then all is well.
        let _ = fs::remove_file(path);
    }
    Ok(code)
}

/// Where the configuration is: `-conf`, else `./Corefile`, else the one that is built in.
fn source(flags: &Flags) -> Result<Source, StartError> {
    match &flags.conf {
        Some(conf) if conf.as_os_str() == "stdin" => {
            let mut text = String::new();
            if !io::stdin().is_terminal() {
                let read = io::stdin().take(STDIN_OCTETS_MAX).read_to_string(&mut text);
                read.map_err(|error| StartError::new(format!("/dev/stdin: {error}")))?;
            }
            Ok(Source::Text {
                name: "/dev/stdin".into(),
                text,
            })
        }
        Some(conf) => Ok(Source::File(conf.clone())),
        None if Path::new("Corefile").exists() => Ok(Source::File(PathBuf::from("Corefile"))),
        None => Ok(Source::Text {
            name: "built-in configuration".into(),
            text: BUILT_IN.into(),
        }),
    }
}

fn dns_port(flags: &Flags) -> Result<u16, StartError> {
    let Some(port) = &flags.dns_port else {
        return Ok(DNS_PORT);
    };
    let number = port.parse().ok().filter(|port| *port != 0);
    number.ok_or_else(|| {
        StartError::new(format!(
            "-dns.port: '{port}' is not a port between 1 and 65535"
        ))
    })
}

/// The signals that the program obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reload: Signal,
    upgrade: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reload: signal(SignalKind::user_defined1())?,
            upgrade: signal(SignalKind::user_defined2())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for signals until one ends the program.
    async fn run(&mut self, server: &Server) -> ExitCode {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {
                    tracing::info!("SIGTERM: Shutting down servers then terminating");
                    return self.stop(server).await;
                }
                _ = self.interrupt.recv() => {
                    tracing::info!("SIGINT: Shutting down");
                    return self.stop(server).await;
                }
                _ = self.quit.recv() => {
                    tracing::info!("SIGQUIT: Quitting process immediately");
                    return ExitCode::SUCCESS;
                }
                _ = self.reload.recv() => {
                    tracing::info!("SIGUSR1: Reloading");
                    if let Err(error) = Reload::reload(server).await {
                        tracing::error!("Restart failed: {error}");
                        tracing::error!("SIGUSR1: the running configuration goes on");
                    }
                }
                _ = self.upgrade.recv() => tracing::warn!("SIGUSR2: not supported; start the new program beside the old one, then stop that"),
                _ = self.hang_up.recv() => (),
            }
        }
    }

    /// Stops; a second interrupt forces the end.
    async fn stop(&mut self, server: &Server) -> ExitCode {
        tokio::select! {
            () = server.stop() => ExitCode::SUCCESS,
            _ = self.interrupt.recv() => {
                tracing::info!("SIGINT: Force quit");
                ExitCode::from(2)
            }
        }
    }
}

/// Name and version; below them system, compiler and commit.
fn version() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let (os, compiler, commit) = (
        std::env::consts::OS,
        env!("CORTEN_COMPILER"),
        env!("CORTEN_COMMIT"),
    );
    format!(
        "Corten-{}\n{os}/{architecture}, {compiler}, {commit}",
        env!("CARGO_PKG_VERSION")
    )
}

/// Names of the plugins, one a line, sorted.
fn names(directives: &[&'static Directive]) -> String {
    let mut names: Vec<_> = directives
        .iter()
        .map(|directive| format!("dns.{}", directive.name))
        .collect();
    names.sort();
    names.push(String::new());
    names.join("\n")
}

/// A text for standard output; whoever closed it does not want it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A text for standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
