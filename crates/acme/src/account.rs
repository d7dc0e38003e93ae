//! The account with a CA: kept, taken over from CertMagic, or made (RFC 8555 section 7.3).
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};

use crate::certmagic;
use crate::http::Transport;
use crate::spec::Binding;
use crate::storage::Lease;
use crate::store::Store;

/// Between two looks whether another order is done with the account.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where an account comes from and is kept.
pub(crate) struct Accounts<'a> {
    pub(crate) store: &'a Store,
    pub(crate) transport: &'a Transport,
    pub(crate) directory: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) binding: Option<&'a Binding>,
}

/// An account, and as what it is kept.
pub(crate) struct Opened {
    pub(crate) account: Account,
    text: Vec<u8>,
}

impl Accounts<'_> {
    /// The account that is kept, or a new one.
    pub(crate) async fn open(&self) -> Result<Opened, Error> {
        if let Some(known) = self.known().await? {
            return Ok(known);
        }
        // One for all certificates of all servers: CAs count the accounts of an address.
        let lease = self.alone().await?;
        let opened = self.make().await;
        lease.release().await;
        opened
    }

    /// Another account in place of one that the CA does not know: the one that another order has
    /// found meanwhile, or a new one.
    pub(crate) async fn replace(&self, unknown: &Opened) -> Result<Opened, Error> {
        let lease = self.alone().await?;
        let replaced = async {
            match self.known().await? {
                Some(other) if other.text != unknown.text => Ok(other),
                _ => {
                    self.set_aside().await;
                    self.register().await
                }
            }
        };
        let replaced = replaced.await;
        lease.release().await;
        replaced
    }

    /// The right to make an account. The order's own time bounds the wait.
    async fn alone(&self) -> Result<Arc<dyn Lease>, Error> {
        let key = self.store.account_lock(self.directory, self.email);
        loop {
            if let Some(lease) = self.store.storage().lease(&key).await.map_err(other)? {
                return Ok(lease);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The account that is kept.
    async fn known(&self) -> Result<Option<Opened>, Error> {
        let Some(text) = self.text().await? else {
            return Ok(None);
        };
        // What cannot be read is put aside by the one who makes another.
        let Ok(credentials) = serde_json::from_slice::<AccountCredentials>(&text) else {
            return Ok(None);
        };
        let account = self.builder().from_credentials(credentials).await?;
        Ok(Some(Opened { account, text }))
    }

    async fn text(&self) -> Result<Option<Vec<u8>>, Error> {
        let key = self.store.account_key(self.directory, self.email);
        self.store.storage().get(&key).await.map_err(other)
    }

    async fn make(&self) -> Result<Opened, Error> {
        if let Some(known) = self.known().await? {
            return Ok(known);
        }
        if self.text().await?.is_some() {
            let key = self.store.account_key(self.directory, self.email);
            let place = self.store.storage().place(&key);
            tracing::error!(target: "plugin/tls", "{place}: this is no account; it is put aside, a new account is made");
            self.set_aside().await;
        } else if let Some(credentials) = self.taken_over().await {
            let text = self.keep(&credentials).await?;
            let account = self.builder().from_credentials(credentials).await?;
            return Ok(Opened { account, text });
        }
        self.register().await
    }

    /// Puts the account aside: the CA does not know it, or nobody can read it. It is kept, because
    /// certificates and records may still name it.
    async fn set_aside(&self) {
        let storage = self.store.storage();
        let key = self.store.account_key(self.directory, self.email);
        if let Ok(Some(text)) = storage.get(&key).await
            && storage.put(&format!("{key}.old"), &text).await.is_ok()
        {
            let _ = storage.delete(&key).await;
        }
    }

    /// A new account.
    async fn register(&self) -> Result<Opened, Error> {
        let contact = self.email.map(|email| format!("mailto:{email}"));
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding = self
            .binding
            .map(|binding| ExternalAccountKey::new(binding.id.clone(), &binding.key));
        let (account, credentials) = self
            .builder()
            .create(&new, self.directory.to_owned(), binding.as_ref())
            .await?;
        let text = self.keep(&credentials).await?;
        Ok(Opened { account, text })
    }

    /// What CoreDNS or the like has registered.
    async fn taken_over(&self) -> Option<AccountCredentials> {
        let storage = self.store.storage();
        for path in certmagic::accounts(self.directory, self.email) {
            let (registration, key) = (format!("{path}.json"), format!("{path}.key"));
            let (Ok(Some(text)), Ok(Some(pem))) =
                (storage.get(&registration).await, storage.get(&key).await)
            else {
                continue;
            };
            let (text, pem) = (
                String::from_utf8_lossy(&text),
                String::from_utf8_lossy(&pem),
            );
            let place = storage.place(&registration);
            let account = certmagic::account(self.directory, &text, &pem)
                .and_then(|value| serde_json::from_value(value).map_err(|error| error.to_string()));
            match account {
                Ok(credentials) => {
                    tracing::info!(target: "plugin/tls", "Using the account of {place}");
                    return Some(credentials);
                }
                Err(error) => {
                    tracing::warn!(target: "plugin/tls", "{place}: {error}; a new account is made");
                }
            }
        }
        None
    }

    async fn keep(&self, credentials: &AccountCredentials) -> Result<Vec<u8>, Error> {
        let key = self.store.account_key(self.directory, self.email);
        let text = serde_json::to_vec(credentials)?;
        self.store.storage().put(&key, &text).await.map_err(other)?;
        Ok(text)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.transport.clone()))
    }
}

fn other(error: std::io::Error) -> Error {
    Error::Other(Box::new(error))
}
