//! The command `acme test`: a dry run of every certificate that a configuration wants.
use std::sync::Arc;

use corten_acme::{Issuer, Limits, Manager, Outcome, Responder, rehearse};
use corten_plugin::Process;

use crate::bootstrap::{Bootstrap, Place};
use crate::claims::Claims;

/// Tries to obtain every certificate that the configuration of this process wants, at the CA's
/// staging directory or at `ca`, keeps none, and tells what is found. Returns the exit status: 0 if
/// all would be issued, 1 if not, 2 if something could not be tried.
pub async fn test(process: &Arc<Process>, ca: Option<&str>, mut tell: impl FnMut(String)) -> u8 {
    let manager = process.service(Manager::default);
    let mut wanted = process.service(Claims::default).wanted();
    wanted.retain(|claim| matches!(claim.spec().issuer, Issuer::Acme { .. }));
    if wanted.is_empty() {
        tell("no block wants a certificate of an ACME CA".to_owned());
        return 2;
    }
    let mut status = 0;
    for claim in wanted {
        let spec = claim.spec();
        let names = spec.names.join(" ");
        // The server that runs has the port: it finds the answers where certificates are kept.
        let responder = Bootstrap::new(Arc::clone(manager.challenges()));
        let place = Place {
            port: claim.port(),
            bind: claim.bind().map(<[_]>::to_vec),
        };
        let _wish = responder.want(place, Vec::new());
        let open = responder.open().await;
        match &open {
            Ok(_) => tell(format!(
                "{names}: port {} is open for the CA's questions",
                claim.port()
            )),
            Err(error) => tell(format!(
                "{names}: {error}; a server of this Corefile that runs answers with what it finds in certpath"
            )),
        }
        let outcome = rehearse(
            spec,
            ca,
            manager.challenges(),
            Limits::default(),
            |finding| {
                tell(format!("{names}: {finding}"));
            },
        )
        .await;
        tell(format!("{names}: {outcome}"));
        status = status.max(match outcome {
            Outcome::Issued { .. } => 0,
            Outcome::Failed(_) => 1,
            Outcome::NotTried(_) => 2,
        });
    }
    status
}
