//! Questions of plugins to the server itself.
use std::sync::Arc;

use corten_plugin::{Exchange, Progress, Resolve};
use corten_wire::Rcode;

use crate::generation::Table;
use crate::panics::{contain, contain_wait, mend};

#[corten_plugin::async_trait]
impl Resolve for Table {
    async fn resolve(&self, ex: &mut Exchange) {
        if !self.serves(ex.query.question.class) {
            let _ = ex.answer(Rcode::REFUSED);
            return;
        }
        ex.site = self.site;
        let found = contain(self.panics, &self.name, || {
            self.find(ex)
                .and_then(|served| served.chain.as_ref().map(Arc::clone))
        });
        let chain = match found {
            Some(Some(chain)) => chain,
            Some(None) => {
                let _ = ex.answer(Rcode::REFUSED);
                return;
            }
            None => return mend(ex),
        };
        let judges = chain.judges_clients() || self.has_views(&ex.query.question.name);
        let done = match contain(self.panics, &self.name, || chain.run(ex)) {
            Some(Progress::Waits(at, phase)) => {
                let wait = chain.resume(ex, at, phase);
                contain_wait(self.panics, &self.name, wait).await.map(drop)
            }
            done => done.map(drop),
        };
        if done.is_none() {
            mend(ex);
        }
        // Not before: what the block itself keeps stands behind its own rules.
        if judges {
            ex.set_personal();
        }
    }
}
