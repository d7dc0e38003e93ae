//! The certificate folder.
//!
//! ```text
//! CERTPATH/corten/ISSUER/account-HASH.json      account of the CA, mode 0600
//! CERTPATH/corten/ISSUER/NAME-HASH/
//!     bundle-NANOSECONDS.pem                    key and chain, newest last; three are kept
//!     retry.json                                failed attempts
//! CERTPATH/certificates/ISSUER/NAME/NAME.crt    CertMagic's layout: read, never written
//! ```
//!
//! A file is written under another name, synced, and renamed, so that no reader ever sees half of
//! one.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::spec::{Issuer, Spec};

/// Bundles that are kept, the one in use included.
const GENERATIONS: usize = 3;
/// Octets of the largest file that is read.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// Where one certificate is kept.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
    issuer: PathBuf,
    folder: PathBuf,
    names: Vec<String>,
}

impl Store {
    pub(crate) fn new(spec: &Spec) -> Self {
        let issuer_name = match &spec.issuer {
            Issuer::Acme { directory, .. } => issuer_key(directory),
            Issuer::Internal => "internal".to_owned(),
        };
        let issuer = spec.folder.join("corten").join(&issuer_name);
        let first = spec
            .names
            .first()
            .map_or("none", String::as_str)
            .replace('*', "wildcard_");
        let folder = issuer.join(format!("{first}-{}", short_hash(&spec.names.join(" "))));
        Self {
            root: spec.folder.join("certificates").join(issuer_name),
            issuer,
            folder,
            names: spec.names.clone(),
        }
    }

    /// The issuer's folder.
    pub(crate) fn issuer_folder(&self) -> &Path {
        &self.issuer
    }

    /// The newest bundle that can be used. One that cannot is put aside under another name.
    pub(crate) fn load(&self) -> Option<Bundle> {
        for path in self.bundles().into_iter().rev() {
            let read = read(&path)
                .map_err(|error| error.to_string())
                .and_then(|text| {
                    let bundle = Bundle::read(&text).map_err(|error| error.to_string())?;
                    bundle
                        .check_names(&self.names)
                        .map_err(|error| error.to_string())?;
                    Ok(bundle)
                });
            match read {
                Ok(bundle) => return Some(bundle),
                Err(error) => {
                    tracing::error!(target: "plugin/tls", "{}: {error}; the file is put aside", path.display());
                    let _ = fs::rename(&path, path.with_extension("pem.corrupt"));
                }
            }
        }
        self.load_certmagic()
    }

    /// What CertMagic, and so CoreDNS, left for a certificate of one name.
    fn load_certmagic(&self) -> Option<Bundle> {
        let [name] = &self.names[..] else { return None };
        let name = name.replace('*', "wildcard_");
        let file =
            |extension: &str| read(&self.root.join(&name).join(format!("{name}.{extension}"))).ok();
        let bundle = Bundle::read(&format!("{}\n{}", file("key")?, file("crt")?)).ok()?;
        bundle.check_names(&self.names).ok()?;
        tracing::info!(target: "plugin/tls", "Using the certificate of {name} in {}", self.root.display());
        Some(bundle)
    }

    /// Keeps a bundle; old ones go.
    pub(crate) fn save(&self, bundle: &Bundle) -> io::Result<()> {
        make_folder(&self.folder)?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        write(
            &self
                .folder
                .join(format!("bundle-{:020}.pem", now.as_nanos())),
            bundle.pem().as_bytes(),
        )?;
        let bundles = self.bundles();
        for old in &bundles[..bundles.len().saturating_sub(GENERATIONS)] {
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    /// Paths of the bundles, oldest first.
    fn bundles(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let is_bundle = |path: &PathBuf| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("bundle-") && name.ends_with(".pem"))
        };
        let mut bundles: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_bundle)
            .collect();
        bundles.sort();
        bundles
    }

    /// Whether something can be kept at all: no certificate is asked for that would be lost.
    pub(crate) fn probe(&self) -> io::Result<()> {
        make_folder(&self.folder)?;
        let path = self.folder.join(".probe");
        write(&path, b"probe")?;
        let read = read(&path)?;
        fs::remove_file(&path)?;
        if read == "probe" {
            Ok(())
        } else {
            Err(io::Error::other("what was written was not read back"))
        }
    }

    /// A small value kept beside the bundles; nothing if it is not there or cannot be read.
    pub(crate) fn load_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&read(&self.folder.join(name)).ok()?).ok()
    }

    /// Keeps a small value beside the bundles.
    pub(crate) fn save_json<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        make_folder(&self.folder)?;
        write(&self.folder.join(name), &serde_json::to_vec(value)?)
    }

    /// Path of the CA's account for a contact address.
    pub(crate) fn account_path(&self, email: Option<&str>) -> PathBuf {
        self.issuer.join(format!(
            "account-{}.json",
            short_hash(email.unwrap_or_default())
        ))
    }
}

/// A CA's name as CertMagic makes it from its directory's URL: host and path, slashes as hyphens.
fn issuer_key(directory: &str) -> String {
    let rest = directory
        .split_once("://")
        .map_or(directory, |(_, rest)| rest);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '-'
        }
    };
    rest.trim_end_matches('/')
        .to_ascii_lowercase()
        .chars()
        .filter(|c| *c != ':')
        .map(safe)
        .collect()
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// Reads a text file of bounded size.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_OCTETS_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read_to_string(path)
}

/// Makes a folder, and those above it, for nobody else to see.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| named(path, &error))
}

/// Writes a file, all or nothing, for nobody else to read.
pub(crate) fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let attempt = || {
        let unique = format!(
            "{}.{}.{:08x}",
            path.display(),
            std::process::id(),
            rand::random::<u32>()
        );
        let temporary = PathBuf::from(unique);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = file
            .write_all(octets)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        // The rename itself must survive a loss of power, too.
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    attempt().map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::tests::pair;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path =
                std::env::temp_dir().join(format!("corten-store-{:08x}", rand::random::<u32>()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn store(folder: &Folder) -> Store {
        let issuer = Issuer::Acme {
            directory: "https://ca.example:14000/dir".into(),
            roots: None,
            email: None,
        };
        Store::new(
            &Spec::new(
                &["a.example"],
                issuer,
                folder.0.clone(),
                Duration::from_secs(900),
            )
            .unwrap(),
        )
    }

    fn bundle(names: &[&str]) -> Bundle {
        let (key, certificate) = pair(names);
        Bundle::read(&format!("{key}{certificate}")).unwrap()
    }

    #[test]
    fn the_newest_good_bundle_is_used_and_three_are_kept() {
        let folder = Folder::new();
        let store = store(&folder);
        assert!(store.load().is_none());
        let mut last = None;
        for _ in 0..5 {
            let bundle = bundle(&["a.example"]);
            store.save(&bundle).unwrap();
            last = Some(bundle);
        }
        let kept = store.bundles();
        assert_eq!(kept.len(), GENERATIONS);
        assert_eq!(store.load().unwrap().pem(), last.unwrap().pem());
        assert_eq!(
            fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(&store.folder).unwrap().permissions().mode() & 0o777,
            0o700
        );

        let before = read(&kept[1]).unwrap();
        fs::write(&kept[2], "-----BEGIN").unwrap();
        assert_eq!(
            store.load().unwrap().pem(),
            before,
            "the one before is used"
        );
        assert!(kept[2].with_extension("pem.corrupt").exists());
    }

    #[test]
    fn a_bundle_for_other_names_is_put_aside() {
        let folder = Folder::new();
        let store = store(&folder);
        store.save(&bundle(&["b.example"])).unwrap();
        assert!(store.load().is_none());
        assert!(store.bundles().is_empty());
    }

    #[test]
    fn what_certmagic_left_is_read() {
        let folder = Folder::new();
        let store = store(&folder);
        let place = folder.0.join("certificates/ca.example14000-dir/a.example");
        fs::create_dir_all(&place).unwrap();
        let (key, certificate) = pair(&["a.example"]);
        fs::write(place.join("a.example.key"), key).unwrap();
        fs::write(place.join("a.example.crt"), certificate).unwrap();
        assert!(store.load().is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_by_name() {
        let folder = Folder::new();
        let store = store(&folder);
        store.probe().unwrap();
        // A file where the folder should be stops root, too.
        fs::remove_dir_all(folder.0.join("corten")).unwrap();
        fs::write(folder.0.join("corten"), "").unwrap();
        let error = store.probe().unwrap_err().to_string();
        assert!(
            error.contains("corten/ca.example14000-dir/a.example-"),
            "{error}"
        );
    }

    #[test]
    fn small_values_are_kept() {
        let folder = Folder::new();
        let store = store(&folder);
        assert_eq!(store.load_json::<u8>("x.json"), None);
        store.save_json("x.json", &7u8).unwrap();
        assert_eq!(store.load_json("x.json"), Some(7u8));
        assert_eq!(
            issuer_key("https://acme-v02.api.letsencrypt.org/directory"),
            "acme-v02.api.letsencrypt.org-directory"
        );
    }
}
