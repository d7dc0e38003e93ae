//! Who is connected: how many connections the process, a listener and a client have, and which of
//! them go when there are too many.
//!
//! A newcomer is worth more than a connection that is silent: when the process or a client has all
//! that it may have, the connections that were idle longest are closed, a few at once, so that
//! looking for them costs little for each. Those that wait for an answer stay. A listener that has all
//! that it may have closes one of the client with most of them, for a client with fewer.
//!
//! The lock is taken when a connection comes and goes. Between that a connection only notes when it
//! was last heard of, in a place of its own.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::generation::Listener;
use crate::limits;

static CONNECTIONS: LazyLock<Mutex<Connections>> = LazyLock::new(Mutex::default);
/// What times of connections are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A connection that waits for an answer: it was heard of later than anybody.
const BUSY: u64 = u64::MAX;
/// The place of a connection that was told to go.
const NOWHERE: usize = usize::MAX;

/// Whom a connection is counted for: an IPv4 address, or an IPv6 network of 56 bits, which is what
/// one customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Client(IpAddr);

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !((1 << 72) - 1);
                Self(IpAddr::V6(network.into()))
            }
            address => Self(address),
        }
    }
}

/// One open connection, counted as long as this lives.
pub(crate) struct Member(Arc<Record>);

struct Record {
    /// Milliseconds from [`START`] to when the connection was last heard of, or [`BUSY`].
    heard: AtomicU64,
    /// Where the connection stands among all; changed under the lock only.
    place: AtomicUsize,
    end: OnceLock<AbortHandle>,
}

struct Entry {
    record: Arc<Record>,
    client: Client,
    listener: Listener,
}

/// Every open connection of the process.
#[derive(Default)]
struct Connections {
    entries: Vec<Entry>,
    clients: HashMap<Client, usize, foldhash::fast::RandomState>,
    listeners: HashMap<Listener, usize, foldhash::fast::RandomState>,
    /// When the log was told last that there are too many.
    told: Option<Instant>,
    /// Closed or refused since.
    untold: u64,
}

impl Member {
    /// Counts a connection of this client; nothing when there is no room for it. A listener may have
    /// a bound of its own, which its clients share.
    pub(crate) fn join(client: IpAddr, listener: Listener, listener_max: usize) -> Option<Self> {
        let bounds = Bounds {
            all: limits::CONNECTIONS_MAX,
            client: limits::CLIENT_CONNECTIONS_MAX,
            listener: listener_max,
        };
        let (member, line) = lock().join(Client::of(client), listener, bounds, Instant::now());
        if let Some(line) = line {
            tracing::warn!("{line}");
        }
        member
    }

    /// What is ended when the connection has to go.
    pub(crate) fn ends_with(&self) -> impl FnOnce(AbortHandle) + use<> {
        let record = Arc::clone(&self.0);
        move |handle| {
            let _ = record.end.set(handle);
        }
    }

    /// Notes when the connection was last heard of; one that waits for an answer is not idle.
    pub(crate) fn heard(&self, when: Instant, waits: bool) {
        let heard = if waits { BUSY } else { milliseconds(when) };
        self.0.heard.store(heard, Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock().leave(&self.0);
    }
}

/// Closes some connections because the operating system has no room for another one.
pub(crate) fn make_room() {
    let mut connections = lock();
    connections.close_idle(|_| true, limits::CONNECTIONS_CLOSED_AT_ONCE);
}

fn lock() -> MutexGuard<'static, Connections> {
    CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(when: Instant) -> u64 {
    when.saturating_duration_since(*START).as_millis() as u64
}

#[derive(Clone, Copy)]
struct Bounds {
    all: usize,
    client: usize,
    listener: usize,
}

impl Connections {
    /// The newcomer, if there is room; and a line for the log now and then.
    fn join(
        &mut self,
        client: Client,
        listener: Listener,
        bounds: Bounds,
        now: Instant,
    ) -> (Option<Member>, Option<String>) {
        let (mut line, mut closed) = (None, 0);
        let listener_has = self.listeners.get(&listener).copied().unwrap_or(0);
        if listener_has >= bounds.listener {
            let what = format!("{} has {} connections", listener.address, bounds.listener);
            line = self.tell(&what, 1, now);
            if self.make_room_at(listener, client) == 0 {
                return (None, line);
            }
        }
        if self.clients.get(&client).copied().unwrap_or(0) >= bounds.client {
            let some = bounds.client.div_ceil(64);
            closed = self.close_idle(|entry| entry.client == client, some);
            let what = format!("client {} has {} connections", client.0, bounds.client);
            let told = self.tell(&what, closed.max(1), now);
            line = line.or(told);
        } else if self.entries.len() >= bounds.all {
            closed = self.close_idle(|_| true, bounds.all.div_ceil(64));
            let what = format!("{} connections are open", bounds.all);
            let told = self.tell(&what, closed.max(1), now);
            line = line.or(told);
        }
        let is_full = self.entries.len() >= bounds.all
            || self.clients.get(&client).copied().unwrap_or(0) >= bounds.client;
        if is_full && closed == 0 {
            return (None, line);
        }
        let record = Arc::new(Record {
            heard: AtomicU64::new(milliseconds(now)),
            place: AtomicUsize::new(self.entries.len()),
            end: OnceLock::new(),
        });
        self.entries.push(Entry {
            record: Arc::clone(&record),
            client,
            listener,
        });
        *self.clients.entry(client).or_default() += 1;
        *self.listeners.entry(listener).or_default() += 1;
        (Some(Member(record)), line)
    }

    fn leave(&mut self, record: &Record) {
        let place = record.place.swap(NOWHERE, Relaxed);
        if place == NOWHERE {
            return;
        }
        let gone = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            moved.record.place.store(place, Relaxed);
        }
        subtract(&mut self.clients, &gone.client);
        subtract(&mut self.listeners, &gone.listener);
    }

    /// Ends one connection of the client that has most of a listener's, when the newcomer's has fewer
    /// even with the new one: nobody keeps others out of a small listener. Returns how many it was.
    fn make_room_at(&mut self, listener: Listener, newcomer: Client) -> usize {
        let mut shares: HashMap<Client, usize, foldhash::fast::RandomState> = HashMap::default();
        for entry in self.entries.iter().filter(|one| one.listener == listener) {
            *shares.entry(entry.client).or_default() += 1;
        }
        let own = shares.get(&newcomer).copied().unwrap_or(0);
        match shares.into_iter().max_by_key(|(_, share)| *share) {
            Some((client, share)) if share > own + 1 => {
                self.close_idle(|one| one.listener == listener && one.client == client, 1)
            }
            _ => 0,
        }
    }

    /// Ends the `most` connections that were idle longest, of those that are meant; returns how many
    /// those were.
    fn close_idle(&mut self, meant: impl Fn(&Entry) -> bool, most: usize) -> usize {
        let mut idle: Vec<(u64, Arc<Record>)> = self
            .entries
            .iter()
            .filter(|entry| meant(entry) && entry.record.end.get().is_some())
            .map(|entry| (entry.record.heard.load(Relaxed), &entry.record))
            .filter(|(heard, _)| *heard != BUSY)
            .map(|(heard, record)| (heard, Arc::clone(record)))
            .collect();
        if idle.len() > most {
            idle.select_nth_unstable_by_key(most, |(heard, _)| *heard);
            idle.truncate(most);
        }
        for (_, record) in &idle {
            self.leave(record);
            if let Some(end) = record.end.get() {
                end.abort();
            }
        }
        idle.len()
    }

    /// A line that says so, at most one a minute.
    fn tell(&mut self, what: &str, lost: usize, now: Instant) -> Option<String> {
        self.untold += lost as u64;
        let recently = |told| now.saturating_duration_since(told) < Duration::from_secs(60);
        if self.told.is_some_and(recently) {
            return None;
        }
        self.told = Some(now);
        let lost = std::mem::take(&mut self.untold);
        Some(format!(
            "Too many connections: {what}; {lost} closed so far to make room, those that were idle longest first"
        ))
    }
}

fn subtract<K: std::hash::Hash + Eq>(
    counts: &mut HashMap<K, usize, foldhash::fast::RandomState>,
    key: &K,
) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_corefile::Transport;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        all: 4,
        client: 3,
        listener: usize::MAX,
    };

    fn listener(port: u16) -> Listener {
        Listener {
            transport: Transport::Tls,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// A connection whose end can be seen.
    fn add(all: &mut Connections, client: &str) -> Option<Member> {
        let client = Client::of(client.parse().unwrap());
        let (member, _) = all.join(client, listener(853), BOUNDS, Instant::now());
        let member = member?;
        member.ends_with()(tokio::spawn(std::future::pending::<()>()).abort_handle());
        Some(member)
    }

    /// Members of a test do not stand in the process's list.
    fn forget(members: Vec<Member>) {
        for member in members {
            member.0.place.store(NOWHERE, Relaxed);
        }
    }

    fn is_there(all: &Connections, member: &Member) -> bool {
        all.entries
            .iter()
            .any(|entry| Arc::ptr_eq(&entry.record, &member.0))
    }

    #[tokio::test]
    async fn the_one_idle_longest_goes_and_those_that_wait_stay() {
        let mut all = Connections::default();
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let members: Vec<_> = clients.map(|client| add(&mut all, client).unwrap()).into();
        let now = Instant::now();
        members[0].heard(now, true);
        members[1].heard(now + Duration::from_secs(9), false);
        members[2].heard(now + Duration::from_secs(5), false);
        members[3].heard(now + Duration::from_secs(6), false);
        let newcomer = add(&mut all, "192.0.2.5").unwrap();
        assert!(is_there(&all, &newcomer) && !is_there(&all, &members[2]));
        assert_eq!(all.entries.len(), 4);
        for member in members.iter().chain([&newcomer]) {
            member.heard(now, true);
        }
        assert!(
            add(&mut all, "192.0.2.6").is_none(),
            "all wait for an answer"
        );
        for (at, entry) in all.entries.iter().enumerate() {
            assert_eq!(entry.record.place.load(Relaxed), at);
        }
        forget(members);
        forget(vec![newcomer]);
    }

    #[tokio::test]
    async fn a_client_has_its_share_and_loses_its_own() {
        let mut all = Connections::default();
        let other = add(&mut all, "2001:db8:0:100::1").unwrap();
        let own: Vec<_> = (1..=3)
            .map(|host| add(&mut all, &format!("2001:db8:0:0:{host}::1")).unwrap())
            .collect();
        for member in [&own[0], &own[2]] {
            member.heard(Instant::now() + Duration::from_secs(5), false);
        }
        let newcomer = add(&mut all, "2001:db8:0:ff::").unwrap();
        assert!(is_there(&all, &other), "others are not touched");
        assert!(!is_there(&all, &own[1]));
        assert_eq!(
            all.clients[&Client::of("2001:db8::".parse().unwrap())],
            3,
            "as many as before"
        );
        for member in [&newcomer, &own[0], &own[2]] {
            all.leave(&member.0);
        }
        assert_eq!((all.entries.len(), all.clients.len()), (1, 1));
        assert_eq!(all.listeners[&listener(853)], 1);
        forget(own);
        forget(vec![newcomer, other]);
    }

    #[tokio::test]
    async fn nobody_keeps_others_out_of_a_listener() {
        let mut all = Connections::default();
        let bounds = Bounds {
            all: 100,
            client: 100,
            listener: 4,
        };
        let mut add = |client: &str| {
            let client = Client::of(client.parse().unwrap());
            let (member, _) = all.join(client, listener(443), bounds, Instant::now());
            if let Some(member) = &member {
                let silent = tokio::spawn(std::future::pending::<()>());
                member.ends_with()(silent.abort_handle());
            }
            member
        };
        let mut members: Vec<_> = (0..4).map(|_| add("192.0.2.1").unwrap()).collect();
        members[0].heard(Instant::now(), true);
        members[2].heard(Instant::now() + Duration::from_secs(5), false);
        members[3].heard(Instant::now() + Duration::from_secs(5), false);
        assert!(add("192.0.2.1").is_none(), "it has its share");
        members.push(add("192.0.2.2").expect("others find room"));
        assert!(add("192.0.2.1").is_none(), "and keep it");
        members.push(add("192.0.2.2").unwrap());
        assert!(add("192.0.2.2").is_none(), "two and two");
        assert_eq!(all.listeners[&listener(443)], 4);
        assert!(is_there(&all, &members[0]) && !is_there(&all, &members[1]));
        forget(members);
    }

    #[test]
    fn a_listener_has_a_bound_and_the_log_is_told_once_a_minute() {
        let mut all = Connections::default();
        let bounds = Bounds {
            listener: 1,
            ..BOUNDS
        };
        let client = Client::of("192.0.2.1".parse().unwrap());
        let now = Instant::now();
        let mut join = |port, now| all.join(client, listener(port), bounds, now);
        let first = join(443, now).0.unwrap();
        let (none, line) = join(443, now);
        assert!(
            none.is_none()
                && line
                    .unwrap()
                    .contains("127.0.0.1:443 has 1 connections; 1 ")
        );
        assert_eq!(join(443, now).1, None);
        let second = join(444, now).0.unwrap();
        let line = join(443, now + Duration::from_secs(60)).1;
        assert!(line.unwrap().contains("; 2 closed"));
        forget(vec![first, second]);
    }
}
