//! The commands `certs` and `trust`: what is stored of the certificates that a configuration wants.
use std::io;
use std::sync::Arc;

use corten_acme::{Report, report, roots};
use corten_plugin::Process;

use crate::claims::Claims;

/// Every certificate that the configuration of this process wants, with what is wrong with its
/// storage if that cannot be read.
pub async fn certificates(process: &Arc<Process>) -> Vec<Result<Report, String>> {
    let mut all = Vec::new();
    for claim in process.service(Claims::default).wanted() {
        let spec = claim.spec();
        let told = report(spec).await;
        all.push(told.map_err(|error| format!("{}: {error}", spec.names.join(" "))));
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
