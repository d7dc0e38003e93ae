//! Asking a primary: SOA, then IXFR or AXFR, on one connection.
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::unix_seconds;
use corten_plugin::wire::message::{Found, Malformed, Message};
use corten_plugin::wire::{
    Class, Name, Opcode, Query, Question, Rcode, RecordType, Section, same_question,
};
use corten_tsig::{Key, Query as Signed, ResponseError};
use corten_zone::{Record, Soa, Zone, serial_newer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::incoming::{Bounds, Broken, Incoming, Received, Wanted};

/// A connection, TLS included, must be there within this time.
const CONNECT: Duration = Duration::from_secs(10);
/// For saying that a connection ends.
const CLOSE: Duration = Duration::from_secs(1);
/// The next message must be there within this time.
const MESSAGE: Duration = Duration::from_secs(30);
/// A whole transfer must be over within this time, however fast it goes on.
const TRANSFER: Duration = Duration::from_secs(3600);

/// A server that zones are transferred from.
#[derive(Clone, Debug)]
pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    /// Zone transfer over TLS (RFC 9103); nothing in the clear.
    pub(crate) tls: Option<Tls>,
}

/// How a primary is spoken to over TLS.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// What its certificate must be made for.
    pub(crate) name: ServerName<'static>,
}

impl PartialEq for Primary {
    fn eq(&self, other: &Self) -> bool {
        let name = |primary: &Self| primary.tls.as_ref().map(|tls| tls.name.clone());
        self.address == other.address && name(self) == name(other)
    }
}

/// What is asked, and how.
pub(crate) struct Request<'r> {
    pub(crate) zone: &'r Name,
    /// The version that is there.
    pub(crate) have: Option<&'r Zone>,
    pub(crate) key: Option<&'r Arc<Key>>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) bounds: Bounds,
    /// Whether changes are asked for, or the whole zone at once.
    pub(crate) changes: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0} took too long")]
    Late(&'static str),
    #[error("rcode was {0}")]
    Rcode(Rcode),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the response is not to this query")]
    Stray,
    #[error("the response has no SOA record of the zone")]
    NoSoa,
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error(transparent)]
    Signature(#[from] ResponseError),
}

impl Failure {
    /// Whether the primary may give the whole zone where it does not give the changes.
    pub(crate) fn is_about_changes(&self) -> bool {
        match self {
            Self::Rcode(rcode) => matches!(
                *rcode,
                Rcode::FORMERR | Rcode::NOTIMP | Rcode::SERVFAIL | Rcode::REFUSED
            ),
            Self::Broken(broken) => !matches!(broken, Broken::Records(_) | Broken::Octets(_)),
            Self::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Late(what) => *what == READING,
            _ => false,
        }
    }
}

const READING: &str = "a message of the transfer";

/// What a primary had to say; and records that are not the zone's, how many.
pub(crate) struct Answered {
    pub(crate) received: Received,
    pub(crate) strays: u64,
}

/// Asks a primary for what is newer.
pub(crate) async fn ask(primary: &Primary, request: &Request<'_>) -> Result<Answered, Failure> {
    let stream = timeout(CONNECT, connect(primary, request.source));
    let stream = stream.await.map_err(|_| Failure::Late("connecting"))??;
    let Some(tls) = &primary.tls else {
        return talk(stream, request).await;
    };
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let handshake = timeout(CONNECT, connector.connect(tls.name.clone(), stream));
    let stream = handshake
        .await
        .map_err(|_| Failure::Late("the TLS handshake"))??;
    talk(stream, request).await
}

async fn connect(primary: &Primary, source: Option<IpAddr>) -> io::Result<tokio::net::TcpStream> {
    let socket = match primary.address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if let Some(own) = source.filter(|ip| ip.is_ipv4() == primary.address.is_ipv4()) {
        socket.bind((own, 0).into())?;
    }
    let stream = socket.connect(primary.address).await?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &Request<'_>,
) -> Result<Answered, Failure> {
    let mut conversation = Conversation {
        stream,
        request,
        message: Vec::new(),
    };
    let Ok(result) = timeout(TRANSFER, conversation.run()).await else {
        return Err(Failure::Late("the transfer"));
    };
    // So that the primary does not take it for cut off (RFC 8446 section 6.1); it may be gone.
    let _ = timeout(CLOSE, conversation.stream.shutdown()).await;
    result
}

struct Conversation<'r, S> {
    stream: S,
    request: &'r Request<'r>,
    message: Vec<u8>,
}

/// A query that was sent.
struct Asked {
    query: Vec<u8>,
    signed: Option<Signed>,
    /// A message has come.
    begun: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn run(&mut self) -> Result<Answered, Failure> {
        let Some(have) = self.request.have else {
            return self.transfer(Wanted::Whole).await;
        };
        let own = have.soa().serial;
        let serial = self.serial().await?;
        if !serial_newer(serial, own) {
            return Ok(Answered {
                received: Received::Current(serial),
                strays: 0,
            });
        }
        match self.request.changes {
            true => self.transfer(Wanted::Since(own)).await,
            false => self.transfer(Wanted::Whole).await,
        }
    }

    /// The primary's serial. Over TCP, because anybody may forge what comes by UDP.
    async fn serial(&mut self) -> Result<u32, Failure> {
        let mut asked = self.send(RecordType::SOA, &[]).await?;
        self.receive(&mut asked).await?;
        let message = Message::read(&self.message)?;
        let (mut records, mut found) = (message.records(), Found::default());
        while let Some(section) = records.next_into(&mut found)? {
            let is_soa = section == Section::Answer && found.rtype == RecordType::SOA;
            if !is_soa || !found.owner.eq_ignore_ascii_case(self.request.zone.wire()) {
                continue;
            }
            let record = Record {
                owner: &found.owner,
                rtype: found.rtype,
                ttl: found.ttl,
                rdata: &found.rdata,
            };
            return Soa::read(record)
                .map(|soa| soa.serial)
                .ok_or(Failure::NoSoa);
        }
        Err(Failure::NoSoa)
    }

    async fn transfer(&mut self, wanted: Wanted) -> Result<Answered, Failure> {
        let own = match wanted {
            Wanted::Since(_) => self.request.have.map(own_soa).unwrap_or_default(),
            Wanted::Whole => Vec::new(),
        };
        let rtype = match wanted {
            Wanted::Since(_) => RecordType::IXFR,
            Wanted::Whole => RecordType::AXFR,
        };
        let mut asked = self.send(rtype, &own).await?;
        let mut incoming = Incoming::new(self.request.zone, wanted, self.request.bounds);
        let mut found = Found::default();
        let mut done = None;
        loop {
            let end = self.receive(&mut asked).await?;
            let message = Message::read(self.message.get(..end).unwrap_or_default())?;
            let mut records = message.records();
            // What stands behind the answer section, such as OPT, is not the zone's. The TSIG record
            // has been cut off, so the count of the last section is too high.
            let mut left = message.answers();
            if left == 0 {
                incoming.nothing()?;
            }
            while left > 0 && records.next_into(&mut found)?.is_some() {
                left -= 1;
                if done.is_some() {
                    return Err(Broken::Behind.into());
                }
                done = incoming.record(&found)?;
            }
            if done.is_none() {
                done = incoming.end_of_message();
            }
            // A message without a signature counts when a later one covers it; the last has one.
            if let Some(received) = done.take() {
                if asked
                    .signed
                    .as_ref()
                    .is_some_and(|signed| !signed.is_complete())
                {
                    return Err(ResponseError::Unsigned.into());
                }
                let strays = incoming.strays;
                return Ok(Answered { received, strays });
            }
        }
    }

    async fn send(&mut self, rtype: RecordType, authority: &[u8]) -> Result<Asked, Failure> {
        let question = Question {
            name: self.request.zone.clone(),
            rtype,
            class: Class::IN,
        };
        let mut query = Query::ask(rand::random(), &question).octets().to_vec();
        // RD means nothing here.
        query[2] = 0;
        if !authority.is_empty() {
            query[9] = 1;
            query.extend_from_slice(authority);
        }
        let signed = self
            .request
            .key
            .map(|key| Signed::sign(&mut query, key, unix_seconds()));
        let mut framed = (query.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(&query);
        let write = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        timeout(MESSAGE, write)
            .await
            .map_err(|_| Failure::Late("sending"))??;
        Ok(Asked {
            query,
            signed,
            begun: false,
        })
    }

    /// Reads the next message of an answer and checks whose it is; returns where its records end.
    async fn receive(&mut self, asked: &mut Asked) -> Result<usize, Failure> {
        let read = async {
            let length = usize::from(self.stream.read_u16().await?);
            self.message.resize(length, 0);
            self.stream.read_exact(&mut self.message).await
        };
        timeout(MESSAGE, read)
            .await
            .map_err(|_| Failure::Late(READING))??;
        let message = Message::read(&self.message)?;
        let ours = message.is_response()
            && message.opcode() == Opcode::QUERY
            && asked.query.starts_with(&message.id().to_be_bytes());
        // RFC 5936 section 2.2.1: later messages need no question.
        let question_fits = match message.questions() {
            0 => asked.begun || message.rcode() != Rcode::NOERROR,
            _ => same_question(&asked.query, &self.message),
        };
        if !ours || !question_fits {
            return Err(Failure::Stray);
        }
        asked.begun = true;
        let end = match &mut asked.signed {
            Some(signed) => signed.verify(&self.message, unix_seconds())?,
            None => self.message.len(),
        };
        match message.rcode() {
            Rcode::NOERROR if message.truncated() => Err(Failure::Stray),
            Rcode::NOERROR => Ok(end),
            rcode => Err(Failure::Rcode(rcode)),
        }
    }
}

/// The SOA record that says which version is there (RFC 1995 section 3).
fn own_soa(zone: &Zone) -> Vec<u8> {
    let Some(soa) = zone.records().next() else {
        return Vec::new();
    };
    let mut octets = soa.owner.to_vec();
    octets.extend_from_slice(&soa.rtype.0.to_be_bytes());
    octets.extend_from_slice(&Class::IN.0.to_be_bytes());
    octets.extend_from_slice(&soa.ttl.to_be_bytes());
    octets.extend_from_slice(&(soa.rdata.len() as u16).to_be_bytes());
    octets.extend_from_slice(soa.rdata);
    octets
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
