//! Telling others that a zone has changed (RFC 1996).
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use corten_plugin::unix_seconds;
use corten_plugin::wire::message::Message;
use corten_plugin::wire::{Class, Name, Opcode, Query, Question, Rcode, RecordType, same_question};
use corten_tsig::{Key, Query as Signed, ResponseError};
use corten_zone::{Listener, Slot};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Policies;

/// How often one server is told, at most; CoreDNS's number.
const TRIES: u32 = 3;
/// How long the first answer is waited for; then twice and four times as long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Zones that one server is told of at the same time.
const UNDER_WAY_MAX: usize = 16;
/// Octets of the largest answer.
const ANSWER_OCTETS_MAX: usize = 1232;

/// Zones that changed, and the task that tells of them.
pub(crate) struct Notifier {
    policies: Arc<Policies>,
    /// Those that others have not been told of yet; one that changes twice is told of once.
    pending: Mutex<BTreeMap<Box<[u8]>, Name>>,
    /// Servers that are being told, each of a zone, and whether that has changed once more: one that does not
    /// answer takes no room from others, however often the zone changes.
    under_way: Mutex<HashMap<(Name, SocketAddr), bool>>,
    wake: Notify,
    stopped: CancellationToken,
    tasks: TaskTracker,
}

/// Why a server does not know that a zone has changed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer")]
    Silence,
    #[error("rcode was {0}")]
    Rcode(Rcode),
    #[error(transparent)]
    Signature(#[from] ResponseError),
}

impl Listener for Notifier {
    fn changed(&self, slot: &Slot) {
        self.note(slot);
    }
}

impl Notifier {
    pub(crate) fn new(policies: Arc<Policies>) -> Arc<Self> {
        Arc::new(Self {
            policies,
            pending: Mutex::default(),
            under_way: Mutex::default(),
            wake: Notify::new(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Has others told of a zone, if there are any and the zone has a version.
    pub(crate) fn note(&self, slot: &Slot) {
        let Ok(name) = Name::from_wire(slot.apex()) else {
            return;
        };
        let wanted = self
            .policies
            .of(&name)
            .is_some_and(|policy| !policy.notified.is_empty());
        if wanted && slot.load().is_some() {
            self.pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(slot.apex().into(), name);
            self.wake.notify_one();
        }
    }

    pub(crate) fn start(self: &Arc<Self>) {
        let notifier = Arc::clone(self);
        self.tasks.spawn(async move {
            let stopped = notifier.stopped.clone();
            stopped.run_until_cancelled(notifier.run()).await;
        });
    }

    pub(crate) async fn stop(&self) {
        self.stopped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<(Name, SocketAddr), bool>> {
        let under_way = self.under_way.lock();
        under_way.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody tells the server of the zone yet; whoever does is told to do it again.
    fn begins(&self, told: &(Name, SocketAddr)) -> bool {
        let mut under_way = self.under_way();
        let known = under_way.get_mut(told).map(|again| *again = true);
        if known.is_none() {
            under_way.insert(told.clone(), false);
        }
        known.is_none()
    }

    /// Whether the zone has not changed since the server was told.
    fn ends(&self, told: &(Name, SocketAddr)) -> bool {
        let mut under_way = self.under_way();
        let again = under_way.get_mut(told).is_some_and(std::mem::take);
        if !again {
            under_way.remove(told);
        }
        !again
    }

    /// Tells a server of a zone as often as that changes meanwhile.
    async fn tell(
        &self,
        told: &(Name, SocketAddr),
        source: Option<IpAddr>,
        key: Option<&Arc<Key>>,
    ) {
        let (name, server) = told;
        loop {
            if let Err(error) = tell(name, *server, source, key).await {
                tracing::warn!(
                    target: "plugin/transfer",
                    "notify for zone \"{name}\" was not accepted by \"{server}\": {error}"
                );
            }
            if self.ends(told) {
                return;
            }
        }
    }

    async fn run(self: Arc<Self>) {
        let mut rooms: HashMap<SocketAddr, Arc<Semaphore>> = HashMap::new();
        loop {
            self.wake.notified().await;
            let zones =
                std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
            for name in zones.into_values() {
                let Some(policy) = self.policies.of(&name) else {
                    continue;
                };
                for &server in &policy.notified {
                    let told = (name.clone(), server);
                    if !self.begins(&told) {
                        continue;
                    }
                    // One that does not answer keeps nobody else waiting.
                    let room = rooms
                        .entry(server)
                        .or_insert_with(|| Arc::new(Semaphore::new(UNDER_WAY_MAX)));
                    let room = Arc::clone(room);
                    let (notifier, source) = (Arc::clone(&self), policy.source);
                    let key = policy.keys.first().cloned();
                    self.tasks.spawn(async move {
                        let telling = async {
                            // Never closed.
                            let _room = room.acquire().await;
                            notifier.tell(&told, source, key.as_ref()).await;
                        };
                        notifier.stopped.run_until_cancelled(telling).await;
                    });
                }
            }
        }
    }
}

/// Tells one server, a few times if need be.
async fn tell(
    name: &Name,
    server: SocketAddr,
    source: Option<IpAddr>,
    key: Option<&Arc<Key>>,
) -> Result<(), Failure> {
    let mut patience = PATIENCE;
    let mut last = Failure::Silence;
    for _ in 0..TRIES {
        last = Failure::Silence;
        match timeout(patience, ask(name, server, source, key, &mut last)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error,
            Err(_) => (),
        }
        patience *= 2;
    }
    Err(last)
}

/// The message of one try: AA is set, as RFC 1996 section 3.3 has it.
fn message(name: &Name) -> Vec<u8> {
    let question = Question {
        name: name.clone(),
        rtype: RecordType::SOA,
        class: Class::IN,
    };
    let mut octets = Query::ask(rand::random(), &question).octets().to_vec();
    let flags = Opcode::NOTIFY.0 << 11 | 0x0400;
    octets[2..4].copy_from_slice(&flags.to_be_bytes());
    octets
}

/// One try. `seen` is why an answer did not count.
async fn ask(
    name: &Name,
    server: SocketAddr,
    source: Option<IpAddr>,
    key: Option<&Arc<Key>>,
    seen: &mut Failure,
) -> Result<(), Failure> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let own = source
        .filter(|ip| ip.is_ipv4() == server.is_ipv4())
        .unwrap_or(any);
    let socket = UdpSocket::bind((own, 0)).await?;
    // The kernel drops what does not come from there.
    socket.connect(server).await?;
    let mut query = message(name);
    let mut signed = key.map(|key| Signed::sign(&mut query, key, unix_seconds()));
    socket.send(&query).await?;
    let mut buffer = vec![0; ANSWER_OCTETS_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let octets = buffer.get(..length).unwrap_or_default();
        let Ok(answer) = Message::read(octets) else {
            continue;
        };
        let ours = answer.is_response()
            && answer.opcode() == Opcode::NOTIFY
            && query.starts_with(&answer.id().to_be_bytes())
            && (answer.questions() == 0 || same_question(&query, octets));
        if !ours {
            continue;
        }
        if let Some(signed) = &mut signed
            && let Err(error) = signed.verify(octets, unix_seconds())
        {
            // Anybody may have sent it: the genuine answer still counts (RFC 8945 section 5.3).
            *seen = error.into();
            continue;
        }
        return match answer.rcode() {
            Rcode::NOERROR => Ok(()),
            rcode => Err(Failure::Rcode(rcode)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use corten_plugin::Zones;
    use corten_tsig::{Keyring, Record, Secret, verify};
    use corten_zone::Builder;

    async fn server() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// Answers with each of these RCODEs in turn, and returns how many were asked for.
    async fn answer(socket: UdpSocket, rcodes: &[u8]) -> usize {
        let mut buffer = [0; 512];
        for rcode in rcodes {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let reply = &mut buffer[..length];
            assert_eq!(reply[2..4], [0x24, 0]);
            // What is not the answer does not count.
            let stray = [&[reply[0] ^ 1][..], &reply[1..]].concat();
            socket.send_to(&stray, from).await.unwrap();
            reply[2] |= 0x80;
            reply[3] = *rcode;
            socket.send_to(reply, from).await.unwrap();
        }
        rcodes.len()
    }

    /// An answer that is not signed ends nothing: the one that is comes behind it.
    #[tokio::test]
    async fn a_forged_answer_does_not_end_the_wait() {
        let name: Name = "example".parse().unwrap();
        let key = || {
            let secret = Secret::from_base64("YQ==").unwrap();
            Key::new("one.key".parse().unwrap(), None, secret)
        };
        let mut keys = Keyring::default();
        keys.add(key());
        let (socket, address) = server().await;
        let answer = async {
            let mut buffer = [0; 512];
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = &buffer[..length];
            let mut verdict = verify(query, &keys, unix_seconds()).unwrap().unwrap();
            let end = Record::find(query).unwrap().unwrap().start;
            let mut reply = query[..end].to_vec();
            reply[2] |= 0x80;
            reply[11] = 0;
            let mut refused = reply.clone();
            refused[3] = 5;
            socket.send_to(&refused, from).await.unwrap();
            verdict.answer.sign(&mut reply, 0, unix_seconds());
            socket.send_to(&reply, from).await.unwrap();
        };
        let key = Arc::new(key());
        let mut seen = Failure::Silence;
        let asked = ask(&name, address, None, Some(&key), &mut seen);
        let (told, ()) = tokio::join!(asked, answer);
        assert!(told.is_ok(), "{told:?}");
        assert!(matches!(seen, Failure::Signature(ResponseError::Unsigned)));
    }

    #[tokio::test]
    async fn a_server_is_told_until_it_agrees() {
        let name: Name = "example".parse().unwrap();
        for (rcodes, result) in [
            (&[0][..], "Ok(())"),
            (&[5, 0], "Ok(())"),
            (&[5, 2, 5], "Err(Rcode(Rcode(5)))"),
        ] {
            let (socket, address) = server().await;
            let told = tell(&name, address, None, None);
            let (told, answered) = tokio::join!(told, answer(socket, rcodes));
            assert_eq!(format!("{told:?}"), result);
            assert_eq!(answered, rcodes.len());
        }
    }

    fn slot(name: &Name, serial: u32) -> Slot {
        let mut builder = Builder::new(name.wire());
        let mut soa = vec![0, 0];
        soa.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).concat());
        builder.add(name.wire(), RecordType::SOA, 60, &soa).unwrap();
        let slot = Slot::new(name.wire());
        slot.set(Arc::new(builder.build().unwrap()));
        slot
    }

    /// A secondary that is down delays the NOTIFYs of no other, and is not asked more often because a zone changes
    /// more often.
    #[tokio::test]
    async fn who_does_not_answer_keeps_nobody_waiting() {
        const ZONES: usize = 200;
        let (_dead, silent) = server().await;
        let (socket, address) = server().await;
        let zones = Zones::new(vec![Name::root()]);
        let policies = Policies::everybody(zones, vec![silent, address]);
        let notifier = Notifier::new(Arc::new(policies));
        notifier.start();
        let live = async {
            let (mut heard, mut buffer) = (HashSet::new(), [0; 512]);
            while heard.len() < ZONES {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let reply = &mut buffer[..length];
                reply[2] |= 0x80;
                reply[3] = 0;
                socket.send_to(reply, from).await.unwrap();
                heard.insert(reply[12..].to_vec());
            }
        };
        let slots: Vec<_> = (0..ZONES)
            .map(|number| slot(&format!("z{number}.example").parse().unwrap(), 1))
            .collect();
        slots.iter().for_each(|slot| notifier.note(slot));
        // The silent one is given up after 14 seconds at the earliest.
        let heard = timeout(Duration::from_secs(12), live).await;
        assert!(heard.is_ok(), "the other one is not told in time");
        for _ in 0..10 {
            notifier.note(&slots[0]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let silent = |told: &&(Name, SocketAddr)| told.1 == silent;
        assert_eq!(notifier.under_way().keys().filter(silent).count(), ZONES);
        notifier.stop().await;
    }
}
