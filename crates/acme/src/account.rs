//! The account with a CA: kept, taken over from CertMagic, or made (RFC 8555 section 7.3).
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};

use crate::certmagic;
use crate::http::Transport;
use crate::spec::Binding;
use crate::store::Store;

/// Where an account comes from and is kept.
pub(crate) struct Accounts<'a> {
    pub(crate) store: &'a Store,
    pub(crate) transport: &'a Transport,
    pub(crate) directory: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) binding: Option<&'a Binding>,
}

impl Accounts<'_> {
    /// The account that is kept, or a new one.
    pub(crate) async fn open(&self) -> Result<Account, Error> {
        let storage = self.store.storage();
        let key = self.store.account_key(self.directory, self.email);
        if let Some(text) = storage.get(&key).await.map_err(other)? {
            match serde_json::from_slice::<AccountCredentials>(&text) {
                Ok(credentials) => return self.builder().from_credentials(credentials).await,
                Err(error) => {
                    let place = storage.place(&key);
                    tracing::error!(target: "plugin/tls", "{place}: {error}; it is put aside, a new account is made");
                    self.set_aside().await;
                }
            }
        } else if let Some(credentials) = self.taken_over().await {
            self.keep(&credentials).await?;
            return self.builder().from_credentials(credentials).await;
        }
        self.register().await
    }

    /// Puts the account aside: the CA does not know it, or nobody can read it. It is kept, because
    /// certificates and records may still name it.
    pub(crate) async fn set_aside(&self) {
        let storage = self.store.storage();
        let key = self.store.account_key(self.directory, self.email);
        if let Ok(Some(text)) = storage.get(&key).await
            && storage.put(&format!("{key}.old"), &text).await.is_ok()
        {
            let _ = storage.delete(&key).await;
        }
    }

    /// A new account.
    pub(crate) async fn register(&self) -> Result<Account, Error> {
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
        self.keep(&credentials).await?;
        Ok(account)
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

    async fn keep(&self, credentials: &AccountCredentials) -> Result<(), Error> {
        let key = self.store.account_key(self.directory, self.email);
        let text = serde_json::to_vec(credentials)?;
        self.store.storage().put(&key, &text).await.map_err(other)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.transport.clone()))
    }
}

fn other(error: std::io::Error) -> Error {
    Error::Other(Box::new(error))
}
