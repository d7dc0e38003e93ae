//! The commands `certs` and `trust`: what is stored of the certificates that a configuration wants.
use std::io;
use std::sync::Arc;

use corten_acme::{Report, report, roots};
use corten_plugin::Process;

use crate::claims::{Claim, Claims};

/// Every certificate that the configuration of this process wants, with what is wrong with its
/// storage if that cannot be read.
pub async fn certificates(process: &Arc<Process>) -> Vec<Result<Report, String>> {
    // All at once: a storage that does not answer is waited for once.
    let look = |claim: Arc<Claim>| async move {
        let names = claim.spec().names.join(" ");
        let told = report(claim.spec()).await;
        told.map_err(|error| format!("{names}: {error}"))
    };
    let wanted = process.service(Claims::default).wanted();
    let looks: Vec<_> = wanted
        .into_iter()
        .map(|claim| tokio::spawn(look(claim)))
        .collect();
    let mut all = Vec::with_capacity(looks.len());
    for look in looks {
        all.push(look.await.unwrap_or_else(|error| Err(error.to_string())));
    }
    all
}

/// The roots of every local CA that the configuration of this process has, as PEM text, the one in
/// use first.
pub async fn local_roots(process: &Arc<Process>) -> io::Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for claim in process.service(Claims::default).wanted() {
        for root in roots(claim.spec()).await? {
            if !all.contains(&root) {
                all.push(root);
            }
        }
    }
    Ok(all)
}
