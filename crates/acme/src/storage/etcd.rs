//! Values in etcd, through its JSON gateway (`/v3/kv/*`, `/v3/lease/*`): no gRPC, no code made from
//! descriptions.
//!
//! A lease is a key that etcd itself removes when its holder is silent.
mod connection;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{LEASE_BEAT, LEASE_STALE, Lease, Storage, VALUE_OCTETS_MAX, lost};
use crate::problem::told;
pub use connection::EtcdTls;

/// One request to one member; another one is tried after that.
const PATIENCE: Duration = Duration::from_secs(3);
/// Keys of one list.
const KEYS_MAX: usize = 1000;
/// What etcd says of a token that has expired, that a member has forgotten when it started, or that is
/// from before a change of users and roles.
const STALE: [&str; 2] = ["invalid auth token", "revision of auth store is old"];

/// An etcd cluster, as the configuration says it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EtcdLocation {
    /// HOST:PORT of the members.
    pub endpoints: Vec<String>,
    /// What stands in front of all keys, without slashes at its ends.
    pub prefix: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// How the connection is encrypted; nothing for in the clear.
    pub tls: Option<EtcdTls>,
}

impl fmt::Debug for EtcdLocation {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for EtcdLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}/{}", self.endpoints.join(","), self.prefix)
    }
}

/// A cluster.
pub(crate) struct Etcd(Arc<Client>);

struct Client {
    location: EtcdLocation,
    /// The member that answered last.
    good: AtomicUsize,
    token: Mutex<Option<String>>,
    ttl: Duration,
}

/// What a request came to.
enum Failure {
    /// Another member may do better.
    Transport(io::Error),
    /// The cluster's own answer.
    Refused(String),
}

impl Etcd {
    pub(crate) fn new(location: EtcdLocation) -> Self {
        Self(Arc::new(Client {
            location,
            good: AtomicUsize::new(0),
            token: Mutex::default(),
            ttl: LEASE_STALE,
        }))
    }
}

impl Client {
    fn key(&self, key: &str) -> String {
        BASE64.encode(format!("{}/{key}", self.location.prefix))
    }

    /// Posts to the cluster; a member that cannot be reached is passed over.
    async fn call(&self, path: &str, body: Value) -> io::Result<Value> {
        match self.call_with_token(path, &body).await {
            Err(Failure::Refused(text)) if STALE.iter().any(|stale| text.contains(stale)) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
                self.call_with_token(path, &body).await
            }
            other => other,
        }
        .map_err(|failure| self.explain(failure))
    }

    async fn call_with_token(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let token = match &self.location.credentials {
            None => None,
            Some((name, password)) => {
                let known = self
                    .token
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                match known {
                    Some(token) => Some(token),
                    None => {
                        let body = json!({"name": name, "password": password});
                        let reply = self
                            .try_members("/v3/auth/authenticate", &body, None)
                            .await?;
                        let token = reply["token"].as_str().unwrap_or_default().to_owned();
                        *self.token.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(token.clone());
                        Some(token)
                    }
                }
            }
        };
        self.try_members(path, body, token.as_deref()).await
    }

    async fn try_members(
        &self,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Result<Value, Failure> {
        let endpoints = &self.location.endpoints;
        let first = self.good.load(Relaxed);
        let mut last = io::Error::other("no member is configured");
        for at in (0..endpoints.len()).map(|step| (first + step) % endpoints.len()) {
            let endpoint = &endpoints[at];
            let attempt = timeout(PATIENCE, self.post(endpoint, path, body, token)).await;
            match attempt
                .unwrap_or_else(|_| Err(Failure::Transport(io::ErrorKind::TimedOut.into())))
            {
                Err(Failure::Transport(error)) => {
                    last = io::Error::new(error.kind(), format!("{endpoint}: {error}"));
                }
                other => {
                    self.good.store(at, Relaxed);
                    return other;
                }
            }
        }
        Err(Failure::Transport(last))
    }

    async fn post(
        &self,
        endpoint: &str,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Result<Value, Failure> {
        let transport = Failure::Transport;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, endpoint)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| transport(io::Error::other(error)))?;
        let tls = self.location.tls.as_ref();
        let (status, body) = connection::ask(endpoint, tls, request)
            .await
            .map_err(transport)?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| {
            // Such as that it speaks TLS only.
            let text = told(String::from_utf8_lossy(&body).trim());
            transport(io::Error::other(format!("HTTP status {status}: {text}")))
        })?;
        match value.get("error").or_else(|| value["result"].get("error")) {
            None if status.is_success() => Ok(value),
            // Such a member waits for the others, and they for it.
            _ if status == http::StatusCode::SERVICE_UNAVAILABLE => {
                Err(transport(io::Error::other(value.to_string())))
            }
            Some(Value::String(text)) => Err(Failure::Refused(text.clone())),
            _ => Err(Failure::Refused(value.to_string())),
        }
    }

    fn explain(&self, failure: Failure) -> io::Error {
        match failure {
            Failure::Transport(error) => {
                io::Error::new(error.kind(), format!("{}: {error}", self.location))
            }
            Failure::Refused(text) => {
                let denied = text.contains("permission denied");
                let hint = match self.location.credentials {
                    None if denied || text.contains("user name is empty") => {
                        "; it has users: write etcd_credentials USER PASSWORD".to_owned()
                    }
                    Some(_) if denied => format!(
                        "; the user needs a role with readwrite for keys that begin with '{}/'",
                        self.location.prefix
                    ),
                    _ => String::new(),
                };
                io::Error::other(format!("{}: {text}{hint}", self.location))
            }
        }
    }
}

fn octets(value: &Value) -> Vec<u8> {
    // An empty value is left out.
    BASE64
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default()
}

/// 64-bit numbers are texts in the gateway's JSON.
fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| value.as_u64()).unwrap_or(0)
}

#[async_trait]
impl Storage for Etcd {
    fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.0.location)
    }

    async fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let reply = self
            .0
            .call("/v3/kv/range", json!({"key": self.0.key(key)}))
            .await?;
        let Some(found) = reply["kvs"].get(0) else {
            return Ok(None);
        };
        let value = octets(&found["value"]);
        if value.len() as u64 > VALUE_OCTETS_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(value))
    }

    async fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let body = json!({"key": self.0.key(key), "value": BASE64.encode(value)});
        self.0.call("/v3/kv/put", body).await.map(drop)
    }

    async fn delete(&self, key: &str) -> io::Result<()> {
        let body = json!({"key": self.0.key(key)});
        self.0.call("/v3/kv/deleterange", body).await.map(drop)
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = format!("{}/{folder}/", self.0.location.prefix);
        // The next octet behind the slash: everything that begins like the folder.
        let end = format!("{}0", folder.trim_end_matches('/'));
        let body = json!({
            "key": BASE64.encode(&folder), "range_end": BASE64.encode(end),
            "keys_only": true, "limit": KEYS_MAX,
        });
        let reply = self.0.call("/v3/kv/range", body).await?;
        let mut names = Vec::new();
        for found in reply["kvs"].as_array().into_iter().flatten() {
            let key = String::from_utf8(octets(&found["key"])).unwrap_or_default();
            let name = key
                .strip_prefix(&folder)
                .and_then(|rest| rest.split('/').next());
            names.extend(name.map(ToOwned::to_owned));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn lease(&self, key: &str) -> io::Result<Option<Arc<dyn Lease>>> {
        let client = &self.0;
        let body = json!({"TTL": client.ttl.as_secs()});
        let granted = client.call("/v3/lease/grant", body).await?;
        let id = number(&granted["ID"]);
        let lease = EtcdLease {
            client: Arc::clone(client),
            key: client.key(key),
            holder: BASE64.encode(format!(
                "{}:{:016x}",
                std::process::id(),
                rand::random::<u64>()
            )),
            id,
            released: AtomicBool::new(false),
        };
        let body = json!({
            "compare": [{"key": lease.key, "target": "CREATE", "create_revision": "0"}],
            "success": [{"request_put": {"key": lease.key, "value": lease.holder, "lease": id.to_string()}}],
        });
        let taken = client.call("/v3/kv/txn", body).await;
        if !matches!(&taken, Ok(reply) if reply["succeeded"] == true) {
            lease.release().await;
            return taken.map(|_| None);
        }
        let lease = Arc::new(lease);
        tokio::spawn(beat(Arc::downgrade(&lease)));
        Ok(Some(lease))
    }
}

/// A key that etcd removes when its holder is silent.
struct EtcdLease {
    client: Arc<Client>,
    key: String,
    /// In Base64.
    holder: String,
    id: u64,
    released: AtomicBool,
}

impl EtcdLease {
    async fn beat(&self) -> io::Result<()> {
        let body = json!({"ID": self.id.to_string()});
        let reply = self.client.call("/v3/lease/keepalive", body).await?;
        match number(&reply["result"]["TTL"]) {
            0 => Err(lost()),
            _ => Ok(()),
        }
    }
}

async fn beat(lease: Weak<EtcdLease>) {
    loop {
        tokio::time::sleep(LEASE_BEAT).await;
        let Some(lease) = lease.upgrade() else {
            return;
        };
        // What fails here fails the holder's next check.
        let _ = lease.beat().await;
    }
}

#[async_trait]
impl Lease for EtcdLease {
    async fn check(&self) -> io::Result<()> {
        self.beat().await?;
        let found = self
            .client
            .call("/v3/kv/range", json!({"key": self.key}))
            .await?;
        match found["kvs"][0]["value"] == self.holder.as_str() {
            true => Ok(()),
            false => Err(lost()),
        }
    }

    async fn release(&self) {
        if !self.released.swap(true, Relaxed) {
            let body = json!({"ID": self.id.to_string()});
            let _ = self.client.call("/v3/lease/revoke", body).await;
        }
    }
}

impl Drop for EtcdLease {
    fn drop(&mut self) {
        // Without a runtime etcd takes it back by itself.
        if !self.released.swap(true, Relaxed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (client, id) = (Arc::clone(&self.client), self.id);
            runtime.spawn(async move {
                let body = json!({"ID": id.to_string()});
                let _ = client.call("/v3/lease/revoke", body).await;
            });
        }
    }
}
