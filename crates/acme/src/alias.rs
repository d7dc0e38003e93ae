//! Aliases (CNAME, RFC 1034 section 3.6.2) of challenges' names: the CA follows them, and looks for
//! the answer where they lead.
use std::net::SocketAddr;

use corten_wire::typed::rr::RData;
use corten_wire::{Name, RecordType};

use crate::delegation::{NotFound, ours, owned};
use crate::dns;

/// Aliases that are followed.
pub(crate) const ALIASES_MAX: usize = 8;

/// What a name's alias is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// It has none.
    None,
    /// It leads to this name, over others perhaps.
    To(Box<Name>),
    /// Nobody could be asked.
    Unknown,
}

impl Alias {
    /// The name that it leads to.
    pub(crate) fn end(&self) -> Option<&Name> {
        match self {
            Self::To(end) => Some(end),
            Self::None | Self::Unknown => None,
        }
    }
}

/// Follows the aliases of a name to their end. A circle, or a chain that no CA would follow, is
/// [`NotFound::Missing`].
pub(crate) async fn follow(resolvers: &[SocketAddr], name: &Name) -> Result<Alias, NotFound> {
    let mut chain = vec![name.clone()];
    loop {
        let last = chain.last().unwrap_or(name);
        let message = match dns::resolve(resolvers, last, RecordType::CNAME).await {
            Ok(message) => message,
            // A server of ours may say nothing about a name that has no challenge yet.
            Err(_) if chain.len() == 1 => return Ok(Alias::Unknown),
            Err(_) => break,
        };
        let target = message
            .answers
            .iter()
            .find_map(|record| match &record.data {
                RData::CNAME(target) if owned(record, last) => ours(&target.0),
                _ => None,
            });
        let Some(target) = target else {
            break;
        };
        let is_circle = chain.contains(&target);
        chain.push(target);
        let wrong = match chain.len() - 1 {
            _ if is_circle => "lead in a circle".to_owned(),
            count if count > ALIASES_MAX => format!("are more than {ALIASES_MAX}"),
            _ => continue,
        };
        let names: Vec<_> = chain.iter().map(ToString::to_string).collect();
        return Err(NotFound::Missing(format!(
            "its aliases (CNAME records) {wrong}: {}",
            names.join(" -> ")
        )));
    }
    Ok(match chain.pop() {
        Some(end) if !chain.is_empty() => Alias::To(Box::new(end)),
        _ => Alias::None,
    })
}
