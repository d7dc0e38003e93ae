//! What an operator wants to know of a certificate, from what is stored: no CA is asked, nothing is
//! changed, and whoever serves goes on.
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ari::{self, Suggestion};
use crate::backoff::{Backoff, moment};
use crate::machine::due;
use crate::spec::{Issuer, Spec};
use crate::store::{RETRY, SUGGESTION, Store};

/// File of why the last attempt failed.
pub(crate) const LAST_ERROR: &str = "error.json";

/// Why an attempt failed; kept until one succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub(crate) what: String,
    /// Seconds since 1970.
    pub(crate) at: u64,
}

/// A time as people say it.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7200.. => format!("{} hours", seconds / 3600),
        120.. => format!("{} minutes", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// One certificate as it is stored. Times are written as in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its names.
    pub names: Vec<String>,
    /// Who is to sign: a directory's URL, or `internal`.
    pub ca: String,
    /// Where it is kept.
    pub storage: String,
    /// Who has signed it; nothing before there is one.
    pub issuer: Option<String>,
    /// notBefore.
    pub valid_from: Option<String>,
    /// notAfter.
    pub valid_until: Option<String>,
    /// Seconds until it expires; negative behind that.
    pub seconds_left: Option<i64>,
    /// Until when the local CA's is good that serves for want of one.
    pub fallback_until: Option<String>,
    /// When it is renewed.
    pub renewal: Option<String>,
    /// Attempts that have failed since the last success.
    pub failed_attempts: u32,
    /// Before then nothing is tried.
    pub next_attempt: Option<String>,
    /// Why the last attempt failed; nothing after a success.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<String>,
}

/// Reads what is stored of a certificate. Fails when the storage cannot be read.
pub async fn report(spec: &Spec) -> std::io::Result<Report> {
    let store = Store::new(spec);
    // A folder that is not there is one without certificates; one that cannot be read is not.
    store.storage().list("corten").await?;
    let now = SystemTime::now();
    let bundle = store.look().await.map(|stored| stored.bundle);
    let backoff: Backoff = store.load_json(RETRY).await.unwrap_or_default();
    let suggestion: Suggestion = store.load_json(SUGGESTION).await.unwrap_or_default();
    let error: Option<LastError> = store.load_json(LAST_ERROR).await.flatten();
    let paused = backoff.paused_until(now);
    let renewal = bundle.as_ref().map(|bundle| {
        let certificate = bundle.certified().cert.first();
        let identifier = certificate.and_then(|leaf| ari::identifier(leaf));
        let window = suggestion.window(identifier.as_deref());
        let renew_at = spec.options.renew_at;
        due(bundle.validity(), renew_at, window, bundle.chance()).max(paused)
    });
    let validity = bundle.as_ref().map(|bundle| bundle.validity());
    let stand_in = match bundle.is_none() && spec.options.fallback_internal {
        true => store.load_stand_in().await,
        false => None,
    };
    Ok(Report {
        names: spec.names.clone(),
        ca: match &spec.issuer {
            Issuer::Acme { directory, .. } => directory.clone(),
            Issuer::Internal => "internal".to_owned(),
        },
        storage: spec.storage.to_string(),
        issuer: bundle.as_ref().map(|bundle| bundle.issuer().to_owned()),
        valid_from: validity.map(|validity| stamp(validity.from)),
        valid_until: validity.map(|validity| stamp(validity.until)),
        seconds_left: validity.map(|validity| seconds_between(now, validity.until)),
        fallback_until: stand_in.map(|bundle| stamp(bundle.validity().until)),
        renewal: renewal.map(stamp),
        failed_attempts: backoff.attempts,
        next_attempt: (paused > now).then(|| stamp(paused)),
        last_error: error.as_ref().map(|error| error.what.clone()),
        last_error_at: error.map(|error| stamp(moment(error.at))),
    })
}

fn seconds_between(from: SystemTime, until: SystemTime) -> i64 {
    let signed = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match until.duration_since(from) {
        Ok(left) => signed(left),
        Err(over) => -signed(over.duration()),
    }
}

/// RFC 3339, in UTC, with seconds.
fn stamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_say_them() {
        for (seconds, text) in [
            (5, "5 s"),
            (600, "10 minutes"),
            (10_000, "2 hours"),
            (7_775_999, "89 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
    use crate::bundle::Bundle;
    use crate::bundle::tests::pair;
    use crate::tests::Scratch;

    #[test]
    fn times_are_written_for_people_and_programs() {
        assert_eq!(stamp(moment(1_800_000_000)), "2027-01-15T08:00:00Z");
        assert_eq!(seconds_between(moment(10), moment(7)), -3);
    }

    #[tokio::test]
    async fn a_report_tells_what_is_stored_and_changes_nothing() {
        let scratch = Scratch::new();
        let (names, folder) = (["a.example"], scratch.path().to_owned());
        let spec = Spec::new(&names, Issuer::Internal, folder, Duration::from_secs(900)).unwrap();
        let nothing = report(&spec).await.unwrap();
        assert_eq!((nothing.issuer, nothing.valid_until), (None, None));
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);

        let store = Store::new(&spec);
        let (key, certificate) = pair(&names);
        let bundle = Bundle::read(&format!("{key}{certificate}")).unwrap();
        store.save(&bundle).await.unwrap();
        let what = "the CA is on holiday".to_owned();
        let error = Some(LastError {
            what: what.clone(),
            at: 1_800_000_000,
        });
        store.save_json(LAST_ERROR, &error).await.unwrap();
        let told = report(&spec).await.unwrap();
        assert_eq!(told.names, names);
        assert_eq!(told.ca, "internal");
        assert!(told.seconds_left.unwrap() > 0 && told.renewal.is_some());
        assert_eq!(told.last_error, Some(what));
        assert_eq!(told.last_error_at.unwrap(), "2027-01-15T08:00:00Z");
    }
}
