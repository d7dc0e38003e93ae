//! A value that is served, and taken away again.
use std::sync::Arc;

use super::elsewhere::Elsewhere;
use super::{Challenges, Kind, Token};

/// A value that is served until this is dropped.
pub struct Pending {
    pub(super) challenges: Arc<Challenges>,
    pub(super) kind: Kind,
    /// Under which name it is noted.
    pub(super) key: Vec<u8>,
    /// The name whose control is to be shown.
    pub(super) base: Vec<u8>,
    pub(super) token: Token,
}

impl Challenges {
    /// Returns once what is served here no more is gone from where other servers look, too: for programs
    /// that end then.
    pub(crate) async fn withdrawn(&self) {
        drop(self.leaving.write().await);
    }
}

impl Pending {
    /// Has the other servers of the certificate answer, too; they look once a second.
    pub(crate) async fn share(&self) {
        for place in self.elsewhere() {
            place.share(&self.token).await;
        }
    }

    fn elsewhere(&self) -> Vec<Arc<Elsewhere>> {
        self.challenges.elsewhere(&self.base)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // What is left behind where there is no runtime any more expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (places, token) = (self.elsewhere(), self.token.clone());
            let leaving = Arc::clone(&self.challenges.leaving).try_read_owned();
            runtime.spawn(async move {
                let _leaving = leaving;
                for place in places {
                    place.withdraw(&token).await;
                }
            });
        }
        self.challenges.change(self.kind, &self.key, |base| {
            if let Some(at) = base.tokens.iter().position(|token| *token == self.token) {
                base.tokens.remove(at);
            }
        });
    }
}
