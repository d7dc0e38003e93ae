//! Challenges that other servers of the same certificate serve.
//!
//! A server that publishes a value puts it into the storage, below the name that it is about. One
//! that is asked looks there, at most once a second, and only for names of its own certificates: so
//! nobody can make it look for names of his choice. Then it may ask peers.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use corten_wire::Name;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Asker, Token, peers};
use crate::storage::Storage;
use crate::store::short_hash;

/// How long what was found counts, and that nothing was found.
const MEMORY: Duration = Duration::from_secs(1);
/// After this time every server knows of a value that has been shared.
pub(crate) const SETTLE: Duration = Duration::from_millis(1100);
/// A look into the storage is given up after this time: the CA would not wait longer.
const LOOK: Duration = Duration::from_secs(2);
/// The longest that anybody is kept waiting, for another one's look and for his own.
const LOOKS: Duration = Duration::from_secs(4);
/// Values of one name that are read; two are common.
const TOKENS_MAX: usize = 32;
/// Names for which peers are asked within [`MEMORY`]: the challenge's, and accounts'.
const ASKED_MAX: usize = 4;
/// A value whose server is gone is not served for longer than this. An order is over long before, but
/// the clock of the server that is asked may be wrong by a time zone.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// Where values for one name may be.
pub(super) struct Elsewhere {
    pub(super) storage: Arc<dyn Storage>,
    /// The name whose control is to be shown.
    pub(super) domain: String,
    folder: String,
    peers: Vec<SocketAddr>,
    memo: ArcSwapOption<Memo>,
    /// Where aliases lead that challenges' names are: from record to end.
    pub(super) aliases: std::sync::Mutex<BTreeMap<String, String>>,
    /// Held by the one who looks; the others wait for what he finds.
    looking: Mutex<()>,
}

/// What was found, and when.
#[derive(Clone)]
pub(super) struct Memo {
    at: Instant,
    tokens: Vec<Token>,
    /// Names that peers were asked for.
    asked: Vec<Vec<u8>>,
}

/// A value in the storage.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    value: String,
    /// Seconds since 1970.
    expires: u64,
}

impl Memo {
    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    fn is_fresh(&self) -> bool {
        self.at.elapsed() < MEMORY
    }
}

impl Elsewhere {
    pub(super) fn new(storage: Arc<dyn Storage>, domain: &str, peers: &[SocketAddr]) -> Self {
        Self {
            storage,
            domain: domain.to_owned(),
            folder: format!("corten/challenges/{domain}"),
            peers: peers.to_vec(),
            memo: ArcSwapOption::empty(),
            aliases: std::sync::Mutex::default(),
            looking: Mutex::default(),
        }
    }

    /// What was found last, whenever that was: a value more does no harm.
    pub(super) fn memo(&self) -> Option<Arc<Memo>> {
        self.memo.load_full()
    }

    /// Whether [`Self::memo`] still counts for a name.
    pub(super) fn is_fresh(&self, name: &[u8]) -> bool {
        let memo = self.memo.load();
        memo.as_ref()
            .is_some_and(|memo| memo.is_fresh() && self.is_asked(memo, name))
    }

    fn is_asked(&self, memo: &Memo, name: &[u8]) -> bool {
        let full = memo.asked.len() >= ASKED_MAX;
        self.peers.is_empty() || full || memo.asked.iter().any(|asked| asked == name)
    }

    /// Sees to it that the memo counts; where nothing answers in time what was found last does.
    pub(super) async fn look(&self, name: &[u8], asker: Asker) {
        if !self.is_fresh(name) {
            let _ = timeout(LOOKS, self.look_now(name, asker, Instant::now())).await;
        }
    }

    /// What somebody else has begun to look for since `asked` is as good as one's own: however many ask
    /// while the storage is slow, they wait for two looks at most.
    async fn look_now(&self, name: &[u8], asker: Asker, asked: Instant) {
        let _looking = self.looking.lock().await;
        let counts = |memo: &Arc<Memo>| memo.is_fresh() || memo.at >= asked;
        let before = self.memo.load_full().filter(counts);
        let mut memo = match before {
            Some(memo) => Memo::clone(&memo),
            None => Memo {
                at: Instant::now(),
                tokens: self.read().await,
                asked: Vec::new(),
            },
        };
        if asker == Asker::Client && !self.is_asked(&memo, name) {
            for value in peers::ask(&self.peers, name).await {
                let name = name.to_vec();
                memo.tokens.push(Token { name, value });
            }
            memo.asked.push(name.to_vec());
        }
        memo.tokens.truncate(TOKENS_MAX);
        self.memo.store(Some(Arc::new(memo)));
    }

    async fn read(&self) -> Vec<Token> {
        let tokens = async {
            let mut tokens = Vec::new();
            for (_, kept) in self.kept().await? {
                if !kept.is_over() {
                    let Ok(name) = kept.name.parse::<Name>() else {
                        continue;
                    };
                    let name = name.wire().to_vec();
                    tokens.push(Token {
                        name,
                        value: kept.value,
                    });
                }
            }
            Ok::<_, std::io::Error>(tokens)
        };
        match timeout(LOOK, tokens).await {
            Ok(Ok(tokens)) => tokens,
            Ok(Err(error)) => {
                tracing::warn!(target: "plugin/tls", "Challenges of other servers cannot be read: {error}");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!(target: "plugin/tls", "Challenges of other servers cannot be read: {} does not answer", self.storage.place(&self.folder));
                Vec::new()
            }
        }
    }

    /// Everything that is kept for the name, with its key.
    async fn kept(&self) -> std::io::Result<Vec<(String, Kept)>> {
        let mut all = Vec::new();
        for name in self
            .storage
            .list(&self.folder)
            .await?
            .into_iter()
            .take(TOKENS_MAX)
        {
            let key = format!("{}/{name}", self.folder);
            // Withdrawn in this moment, or none of ours.
            let Some(text) = self.storage.get(&key).await? else {
                continue;
            };
            if let Ok(kept) = serde_json::from_slice(&text) {
                all.push((key, kept));
            }
        }
        Ok(all)
    }

    /// Puts a value where other servers look.
    pub(super) async fn share(&self, token: &Token) {
        // What others left behind would be served for as long as it is there.
        for (key, kept) in self.kept().await.unwrap_or_default() {
            if kept.is_over() {
                let _ = self.storage.delete(&key).await;
            }
        }
        let kept = Kept {
            name: text(&token.name),
            value: token.value.clone(),
            expires: now() + EXPIRY.as_secs(),
        };
        let put = match serde_json::to_vec(&kept) {
            Ok(octets) => self.storage.put(&self.key(token), &octets).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = put {
            tracing::warn!(target: "plugin/tls", "Other servers cannot answer the challenge: {error}");
        }
    }

    /// Takes a value away.
    pub(super) async fn withdraw(&self, token: &Token) {
        let _ = self.storage.delete(&self.key(token)).await;
    }

    fn key(&self, token: &Token) -> String {
        let hash = short_hash(&format!("{} {}", text(&token.name), token.value));
        format!("{}/{hash}.json", self.folder)
    }
}

impl Kept {
    fn is_over(&self) -> bool {
        self.expires < now()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A name as it is stored.
fn text(name: &[u8]) -> String {
    let text = Name::from_wire(name).map(|name| name.to_string());
    let text = text.unwrap_or_default();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}
