//! What can be seen to go wrong before anything is asked of the CA that counts.
//!
//! Everything here costs the CA's quota nothing: its directory is read, and name servers are asked
//! what the CA will ask them.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_wire::typed::rr::RData;
use corten_wire::{Name, RecordType};
use rand::RngExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::alias::{self, Alias};
use crate::backoff::Failure;
use crate::challenges::{Challenges, Published};
use crate::delegation::{self, Authority, NotFound, Saw, Server};
use crate::dns;
use crate::http::Directory;
use crate::problem::ObtainError;
use crate::report::span;
use crate::spec::{ChallengeKind, Spec};

/// The furthest that our clock may be from the CA's.
const CLOCK_MAX: Duration = Duration::from_secs(300);
/// Between two looks at servers that do not have the answer yet.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Other servers of the certificate know of an alias by then.
const ALIAS_KNOWN: Duration = Duration::from_secs(75);
/// Characters of a probe's value, as many as a challenge's.
const PROBE_CHARACTERS: usize = 43;

/// Who is asked for the records of challenges before the CA asks.
pub(crate) struct Places {
    resolvers: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    port: u16,
    patience: Duration,
    found: Mutex<Vec<(Name, Authority)>>,
    aliases: Mutex<Vec<(Name, Result<Alias, NotFound>)>>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub verdict: Verdict,
}

/// How something that was looked at is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Good,
    /// Not known: why.
    Unknown(String),
    /// Wrong: what.
    Bad(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.verdict {
            Verdict::Good => write!(f, "{what}: good"),
            Verdict::Unknown(why) => write!(f, "{what}: not known: {why}"),
            Verdict::Bad(why) => write!(f, "{what}: {why}"),
        }
    }
}

/// Our clock against the CA's.
pub(crate) fn clock(directory: &Directory, now: SystemTime) -> Result<(), ObtainError> {
    let Some(date) = directory.date else {
        return Ok(());
    };
    let (apart, word) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= CLOCK_MAX {
        return Ok(());
    }
    Err(ObtainError::new(
        Failure::Clock,
        format!(
            "this machine's clock is {} {word} the CA's; set it right, nothing is ordered meanwhile",
            span(apart)
        ),
    ))
}

/// What the CA's directory says about the order.
pub(crate) fn directory(
    directory: &Directory,
    spec: &Spec,
    first: bool,
) -> Result<(), ObtainError> {
    let problem = |what: String| Err(ObtainError::new(Failure::Preflight, what));
    if let Some(profile) = &spec.options.profile
        && first
        && !directory.profiles.contains(profile)
    {
        return problem(match directory.profiles.is_empty() {
            true => format!("the CA has no profiles, so none called '{profile}'"),
            false => format!(
                "the CA has no profile '{profile}'; it has {}",
                directory.profiles.join(", ")
            ),
        });
    }
    if directory.wants_binding && (spec.options.binding.is_none() || !first) {
        return problem(
            "the CA wants an external account binding: register with it and write 'eab KID HMAC'"
                .to_owned(),
        );
    }
    Ok(())
}

/// Whether CAA records (RFC 8659) let the CA sign for a name.
pub(crate) async fn caa(resolvers: &[SocketAddr], identities: &[String], domain: &str) -> Verdict {
    if identities.is_empty() {
        return Verdict::Unknown(
            "the CA does not say by which name CAA records know it".to_owned(),
        );
    }
    let (wild, base) = match domain.strip_prefix("*.") {
        Some(base) => (true, base),
        None => (false, domain),
    };
    let Ok(name) = base.parse::<Name>() else {
        return Verdict::Unknown(format!("'{base}' is no name of the DNS"));
    };
    for skipped in 0..name.label_count() {
        let owner = name.parent(skipped);
        let message = match dns::resolve(resolvers, &owner, RecordType::CAA).await {
            Ok(message) => message,
            Err(error) => return Verdict::Unknown(error),
        };
        let records: Vec<_> = message
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::CAA(caa) => Some((caa.tag.to_ascii_lowercase(), caa.value.clone())),
                _ => None,
            })
            .collect();
        if records.is_empty() {
            continue;
        }
        let tagged = |tag: &str| {
            let values = records.iter().filter(|(other, _)| other == tag);
            values.map(|(_, value)| issuer(value)).collect::<Vec<_>>()
        };
        let mut permitted = if wild {
            tagged("issuewild")
        } else {
            Vec::new()
        };
        if permitted.is_empty() {
            permitted = tagged("issue");
        }
        let good = permitted.is_empty()
            || permitted
                .iter()
                .any(|one| identities.iter().any(|own| own.eq_ignore_ascii_case(one)));
        if good {
            return Verdict::Good;
        }
        let whom = match permitted.iter().all(String::is_empty) {
            true => "nobody".to_owned(),
            false => permitted.join(", "),
        };
        return Verdict::Bad(format!(
            "the CAA records of {owner} let {whom} sign, and this CA is {}",
            identities.join(" or ")
        ));
    }
    Verdict::Good
}

/// The issuer's domain name of a CAA record's value.
fn issuer(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

impl Places {
    /// For a certificate's names. A CA with roots of its own sees a DNS of its own as well, which
    /// only a resolver that is named can show.
    pub(crate) async fn new(spec: &Spec, roots: bool, port: u16, patience: Duration) -> Self {
        let named = spec.options.resolver.as_deref();
        let resolvers = match named.is_none() && roots {
            true => Vec::new(),
            false => dns::resolvers(named).await.unwrap_or_default(),
        };
        Self {
            resolvers,
            peers: spec.options.peers.clone(),
            port,
            patience,
            found: Mutex::default(),
            aliases: Mutex::default(),
        }
    }

    /// Where the alias of a record's name leads; the same as long as this lives.
    pub(crate) async fn alias(&self, record: &str) -> Alias {
        match record.parse() {
            Ok(name) => self.follow(&name).await.unwrap_or(Alias::Unknown),
            Err(_) => Alias::Unknown,
        }
    }

    async fn follow(&self, name: &Name) -> Result<Alias, NotFound> {
        if self.resolvers.is_empty() {
            return Ok(Alias::Unknown);
        }
        let mut aliases = self.aliases.lock().await;
        if let Some((_, alias)) = aliases.iter().find(|(known, _)| known == name) {
            return alias.clone();
        }
        let alias = alias::follow(&self.resolvers, name).await;
        aliases.push((name.clone(), alias.clone()));
        alias
    }

    /// Whether anybody can be asked.
    pub(crate) fn is_blind(&self) -> bool {
        self.resolvers.is_empty() && self.peers.is_empty()
    }

    /// Waits until every server that can be asked has the value; says who has not.
    ///
    /// Whoever cannot be reached from here is no reason to give up: many networks do not let a
    /// machine reach itself by its public address.
    pub(crate) async fn wait_visible(&self, name: &str, value: &str) -> Result<(), String> {
        match self.look(name, value, self.patience).await {
            Verdict::Bad(words) => Err(words),
            Verdict::Good | Verdict::Unknown(_) => Ok(()),
        }
    }

    /// The same with the reasons for not knowing.
    pub(crate) async fn look(&self, name: &str, value: &str, patience: Duration) -> Verdict {
        if self.is_blind() {
            return Verdict::Unknown("there is nobody to ask".to_owned());
        }
        let wanted: Name = match name.parse() {
            Ok(name) => name,
            Err(error) => return Verdict::Bad(format!("'{name}' is no name of the DNS: {error}")),
        };
        let (authority, unknown) = match self.authority(&wanted).await {
            Ok(authority) => (Some(authority), None),
            Err(NotFound::Missing(words)) => return Verdict::Bad(words),
            Err(NotFound::Unknown(words)) => (None, Some(words)),
        };
        let target = authority
            .as_ref()
            .map_or(&wanted, |authority| &authority.name);
        let mut servers: Vec<(Server, Name)> = Vec::new();
        for server in authority.iter().flat_map(|found| &found.servers) {
            servers.push((server.clone(), target.clone()));
        }
        for address in &self.peers {
            let peer = Server {
                name: "peer".to_owned(),
                address: *address,
            };
            servers.push((peer, wanted.clone()));
        }
        let until = Instant::now() + patience;
        loop {
            let (wrong, silent) = Self::ask_all(&servers, value).await;
            let of_zone = match &authority {
                None => String::new(),
                Some(found) if found.name != wanted => format!(
                    " ({wanted} is an alias of {}, where the CA looks then; the nearest zone is {})",
                    found.name, found.zone
                ),
                Some(found) => format!(" (the nearest zone is {})", found.zone),
            };
            if wrong.is_empty() {
                return match unknown {
                    Some(words) => Verdict::Unknown(words),
                    None if silent.is_empty() => Verdict::Good,
                    None => Verdict::Unknown(format!(
                        "not every name server can be asked from here; if the CA cannot either, it will refuse: {}",
                        silent.join("; ")
                    )),
                };
            }
            if Instant::now() + LOOK_AGAIN > until {
                return Verdict::Bad(format!("{}{of_zone}", wrong.join("; ")));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks everybody at the same time: who says something else, and who says nothing.
    async fn ask_all(servers: &[(Server, Name)], value: &str) -> (Vec<String>, Vec<String>) {
        let mut looks = JoinSet::new();
        for (server, name) in servers.iter().cloned() {
            let value = value.to_owned();
            looks.spawn(async move {
                let saw = delegation::look(server.address, &name, &value).await;
                (server, saw)
            });
        }
        let (mut wrong, mut silent) = (Vec::new(), Vec::new());
        while let Some(Ok((server, saw))) = looks.join_next().await {
            match saw {
                Saw::Value => (),
                Saw::Other(words) => wrong.push(format!("{server}: {words}")),
                Saw::Silent(words) => silent.push(format!("{server}: {words}")),
            }
        }
        wrong.sort();
        silent.sort();
        (wrong, silent)
    }

    async fn authority(&self, name: &Name) -> Result<Authority, NotFound> {
        if self.resolvers.is_empty() {
            return Err(NotFound::Unknown("there is no resolver to ask".to_owned()));
        }
        let mut found = self.found.lock().await;
        if let Some(authority) = found.iter().find(|(known, _)| known == name) {
            return Ok(authority.1.clone());
        }
        let alias = self.follow(name).await?;
        let end = alias.end().unwrap_or(name);
        let authority = delegation::find(&self.resolvers, end, self.port).await?;
        found.push((name.clone(), authority.clone()));
        Ok(authority)
    }
}

/// A value that no CA has thought of.
pub(crate) fn probe_value() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    (0..PROBE_CHARACTERS)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

/// Looks at everything about the names that can be known before their CA is asked.
pub(crate) async fn look(
    places: &Places,
    spec: &Spec,
    challenges: &Arc<Challenges>,
    directory: &Directory,
    patience: Duration,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if places.is_blind() {
        return findings;
    }
    if !places.resolvers.is_empty() {
        for name in &spec.names {
            findings.push(Finding {
                what: format!("CAA records for {name}"),
                verdict: caa(&places.resolvers, &directory.caa_identities, name).await,
            });
        }
    }
    // A record that persists may be another server's, which shows no probe.
    if spec.options.challenge == ChallengeKind::DnsPersist01 {
        return findings;
    }
    let (mut probes, mut patience) = (Vec::new(), patience);
    for record in spec.records() {
        let value = probe_value();
        let alias = places.alias(&record).await;
        let Published { served, is_news } = challenges.publish(&record, &alias, &value).await;
        if is_news && !spec.options.lenient {
            patience = patience.max(ALIAS_KNOWN);
        }
        probes.push((record, alias, value, served));
    }
    // For all of them together: who has not seen one after that time is not going to see the next.
    let until = Instant::now() + patience;
    for (record, alias, value, _served) in &probes {
        let patience = until.saturating_duration_since(Instant::now());
        let what = match alias.end() {
            Some(end) => format!("a record of {end}, of which {record} is an alias"),
            None => format!("a record of {record}"),
        };
        findings.push(Finding {
            what: format!("{what}, as the CA will look for it"),
            verdict: places.look(record, value, patience).await,
        });
    }
    findings
}

#[cfg(test)]
mod tests;
