//! `corten trust export|install|remove [-conf FILE] [-o FILE]`: has clients on this machine trust the
//! local CA. The server itself never does.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use corten_plugin::Directive;

use crate::command::{Words, misused, run};
use crate::run::{complain, say};

const USAGE: &str = "\
Usage of corten trust export|install|remove:
  -conf string
    \tCorefile to load (default \"Corefile\")
  -o string
    \tFile to export to (default: standard output)
";
/// How our files in a system's store begin.
const PREFIX: &str = "corten-local-authority-";

/// A system's store of roots: its folder, how files end there, and what is run when one has been put
/// there or taken away.
struct SystemStore {
    folder: &'static str,
    extension: &'static str,
    added: &'static [&'static str],
    removed: &'static [&'static str],
}

const STORES: [SystemStore; 2] = [
    // Debian, Ubuntu, Alpine.
    SystemStore {
        folder: "/usr/local/share/ca-certificates",
        extension: "crt",
        added: &["update-ca-certificates"],
        // Without that the link to the file stays.
        removed: &["update-ca-certificates", "--fresh"],
    },
    // Red Hat, Fedora.
    SystemStore {
        folder: "/etc/pki/ca-trust/source/anchors",
        extension: "pem",
        added: &["update-ca-trust", "extract"],
        removed: &["update-ca-trust", "extract"],
    },
];

/// Runs the command with the words behind `trust`.
pub(crate) fn main(directives: Vec<&'static Directive>, words: &[String]) -> ExitCode {
    let words = match Words::read(words, &["o"]) {
        Ok(words) => words,
        Err(error) => return misused(&error, USAGE),
    };
    let [command] = &words.rest[..] else {
        return misused("one of export, install and remove is expected", USAGE);
    };
    let (command, output) = (command.clone(), words.output);
    if !["export", "install", "remove"].contains(&command.as_str()) {
        return misused(&format!("there is no 'trust {command}'"), USAGE);
    }
    run(directives, words.conf, |process| async move {
        let done = match corten_tls::local_roots(&process).await {
            Ok(roots) if roots.is_empty() && command != "remove" => Err(io::Error::other(
                "there is no local CA: the Corefile has no 'tls internal', or its server has never run",
            )),
            Ok(roots) => match command.as_str() {
                "export" => export(&roots, output.as_deref()),
                "install" => system_store().and_then(|store| install(store, &roots)),
                _ => system_store().and_then(|store| remove(store, &roots)),
            },
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => 0,
            Err(error) => {
                complain(&error.to_string());
                1
            }
        }
    })
}

fn export(roots: &[String], output: Option<&Path>) -> io::Result<()> {
    let text = roots.concat();
    let Some(path) = output else {
        say(text.trim_end());
        return Ok(());
    };
    fs::write(path, text).map_err(|error| named(path, &error))?;
    let (count, path) = (roots.len(), path.display());
    say(&format!("{count} root certificate(s) written to {path}"));
    Ok(())
}

fn system_store() -> io::Result<&'static SystemStore> {
    let store = STORES.iter().find(|store| Path::new(store.folder).is_dir());
    store.ok_or_else(|| {
        io::Error::other(
            "this system's store of roots is not known (Debian: install ca-certificates); use 'corten trust export'",
        )
    })
}

impl SystemStore {
    /// Where a root is put: its name tells it from other servers' roots.
    fn file(&self, root: &str) -> PathBuf {
        let hash = corten_tls::root_hash(root);
        Path::new(self.folder).join(format!("{PREFIX}{hash}.{}", self.extension))
    }
}

/// Runs a program of the system's.
fn update(words: &[&str]) -> io::Result<()> {
    let [program, arguments @ ..] = words else {
        return Ok(());
    };
    let line = words.join(" ");
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|error| io::Error::other(format!("{line}: {error}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{line}: {status}"))),
    }
}

fn install(store: &SystemStore, roots: &[String]) -> io::Result<()> {
    for root in roots {
        let path = store.file(root);
        fs::write(&path, root).map_err(|error| named(&path, &error))?;
        say(&format!("installed {}", path.display()));
    }
    update(store.added)?;
    say(
        "programs of this system that use its store of roots trust the local CA now; browsers may have stores of their own",
    );
    Ok(())
}

fn remove(store: &SystemStore, roots: &[String]) -> io::Result<()> {
    let mut removed = 0;
    for root in roots {
        let path = store.file(root);
        match fs::remove_file(&path) {
            Ok(()) => {
                removed += 1;
                say(&format!("removed {}", path.display()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(named(&path, &error)),
        }
    }
    if removed == 0 {
        say("the local CA was not installed");
        return Ok(());
    }
    update(store.removed)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_exported_as_it_is() {
        let name = format!("corten-trust-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        export(&["one\n".to_owned(), "two\n".to_owned()], Some(&path)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn roots_have_files_of_their_own() {
        let [debian, red_hat] = &STORES;
        let (one, other) = (debian.file("one"), debian.file("other"));
        assert_ne!(one, other);
        let name = one.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(PREFIX) && name.ends_with(".crt"), "{name}");
        assert!(red_hat.file("one").ends_with(name.replace(".crt", ".pem")));
    }
}
