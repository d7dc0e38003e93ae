//! Prometheus's web configuration (exporter-toolkit): TLS, passwords, headers.
//!
//! The file and those that it names are looked at again at each connection and each request; what has
//! become unreadable leaves the last good state in place.
mod file;
mod tls;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use corten_plugin::http::header::{HeaderMap, HeaderValue};
use corten_plugin::{TlsIdentity, async_trait};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Checked passwords that are remembered; each check costs much time by design.
const REMEMBERED_MAX: usize = 100;
/// Compared with when there is no such user, so that the time does not tell who there is.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// A web configuration that is in use.
pub(crate) struct Web {
    path: PathBuf,
    state: Mutex<Arc<State>>,
    /// Digests of users with their hashes and passwords that have been found right.
    remembered: Mutex<HashSet<[u8; 32]>>,
    /// One check at a time: strangers must not take the processor from queries.
    checks: Semaphore,
}

/// What the file said when it was read last.
#[derive(Debug)]
struct State {
    tls: Option<Arc<ServerConfig>>,
    users: BTreeMap<String, String>,
    headers: HeaderMap,
    /// Everything that was read, and how old it was.
    files: Vec<(PathBuf, Option<SystemTime>)>,
}

impl State {
    fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let file = file::read(&text)?;
        let mut files = vec![path.to_owned()];
        let tls = match &file.tls {
            None => None,
            Some(tls) => Some(tls::config(tls, folder, &mut files)?),
        };
        Ok(Self {
            tls,
            users: file.users,
            headers: file.headers,
            files: files
                .into_iter()
                .map(|path| (path.clone(), changed(&path)))
                .collect(),
        })
    }

    fn is_fresh(&self) -> bool {
        self.files.iter().all(|(path, time)| changed(path) == *time)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

impl Web {
    /// Reads the file; everything in it must be right.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(Arc::new(State::load(path)?)),
            remembered: Mutex::default(),
            checks: Semaphore::new(1),
        })
    }

    /// Whether connections begin with a handshake.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.state().tls.is_some()
    }

    /// Headers of every answer.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.state().headers.clone()
    }

    /// What the file says now.
    fn state(&self) -> Arc<State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_fresh() {
            match State::load(&self.path) {
                Ok(new) if new.tls.is_some() == state.tls.is_some() => *state = Arc::new(new),
                Ok(_) => self.complain("TLS comes and goes with a reload of the Corefile only"),
                Err(error) => self.complain(&error),
            }
        }
        Arc::clone(&state)
    }

    fn complain(&self, error: &str) {
        let path = self.path.display();
        tracing::error!(target: "plugin/prometheus", "{path}: {error}; the last configuration stays in use");
    }

    /// Whether the request's user and password are right (RFC 7617); always when there are no users.
    pub(crate) async fn admits(&self, authorization: Option<&HeaderValue>) -> bool {
        let state = self.state();
        if state.users.is_empty() {
            return true;
        }
        let Some((user, password)) = authorization.and_then(credentials) else {
            return false;
        };
        let hash = state.users.get(&user);
        let text = hash.map_or(NOBODY, String::as_str);
        let digest: [u8; 32] = Sha256::new()
            .chain_update((user.len() as u64).to_be_bytes())
            .chain_update(&user)
            .chain_update(text)
            .chain_update(&password)
            .finalize()
            .into();
        let remembered = || {
            self.remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if remembered().contains(&digest) {
            return true;
        }
        let Ok(_place) = self.checks.acquire().await else {
            return false;
        };
        let text = text.to_owned();
        let check = move || bcrypt::verify(password, &text).unwrap_or(false);
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false) && hash.is_some();
        if right {
            let mut remembered = remembered();
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(digest);
        }
        right
    }
}

fn credentials(authorization: &HeaderValue) -> Option<(String, String)> {
    let (scheme, credentials) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[async_trait]
impl TlsIdentity for Web {
    fn config(&self, _: &'static [&'static [u8]]) -> Arc<ServerConfig> {
        // Announced with TLS only where there is some, and that does not change.
        self.state()
            .tls
            .clone()
            .expect("a file without TLS is served in the clear")
    }

    fn covers(&self, _: &str) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }

    async fn until_ready(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `open sesame`, with the least cost.
    fn hash() -> String {
        let parts = bcrypt::hash_with_salt("open sesame", 4, *b"sixteen octets!!").unwrap();
        parts.format_for_version(bcrypt::Version::TwoY)
    }

    fn basic(text: &str) -> HeaderValue {
        format!("Basic {}", STANDARD.encode(text)).parse().unwrap()
    }

    #[tokio::test]
    async fn passwords_are_checked_and_the_file_is_read_again() {
        let folder = std::env::temp_dir().join(format!("corten-web-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("web.yml");
        std::fs::write(&path, format!("basic_auth_users:\n  ali: {}\n", hash())).unwrap();
        let web = Web::load(&path).unwrap();
        assert!(!web.speaks_tls());
        for (header, admitted) in [
            (Some(basic("ali:open sesame")), true),
            (Some(basic("ali:open sesame")), true),
            (Some(basic("ali:open")), false),
            (Some(basic("baba:open sesame")), false),
            (Some(basic("ali")), false),
            (Some(HeaderValue::from_static("Bearer x")), false),
            (Some(HeaderValue::from_static("Basic !")), false),
            (None, false),
        ] {
            assert_eq!(web.admits(header.as_ref()).await, admitted, "{header:?}");
        }
        assert_eq!(web.remembered.lock().unwrap().len(), 1);
        // A mistake leaves things as they are; a file without users admits everybody.
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let later = SystemTime::now() + std::time::Duration::from_secs(text.len() as u64 + 2);
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(later)
                .unwrap();
        };
        write("basic_auth_users: [");
        assert!(!web.admits(None).await);
        write("basic_auth_users: {}\n");
        assert!(web.admits(None).await);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
