//! What is counted of a query, and where the numbers are kept.
//!
//! A number is found by indices alone: site, zone, then what kind of query or reply it was. Its
//! handle is made when the first of a kind is counted; from then on counting allocates nothing, takes
//! no lock and compares no text.
use std::sync::{Arc, OnceLock};

use corten_plugin::metrics::{Counter, Histogram, registry};
use corten_plugin::wire::{Name, Rcode, RecordType};
use corten_plugin::{BySite, Exchange, Refusals, Site, Transport, ZoneLabels};

/// Seconds: 0.25 ms doubled fifteen times.
const DURATION: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192,
];
/// Octets.
const SIZES: &[f64] = &[
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3,
];
/// RCODEs that have a place of their own; of the others there are many, and few are ever seen.
const RCODES: usize = 24;
/// Types that are told apart, in the order of [`type_index`]; all others are `other`.
const TYPES: [&str; 20] = [
    "A", "AAAA", "CNAME", "DNSKEY", "DS", "MX", "NSEC", "NSEC3", "NS", "PTR", "RRSIG", "SOA",
    "SRV", "TXT", "HTTPS", "SVCB", "IXFR", "AXFR", "ANY", "other",
];
/// What CoreDNS calls the zone of queries that reach no chain.
const DROPPED: &str = "dropped";

const fn type_index(rtype: RecordType) -> usize {
    match rtype {
        RecordType::A => 0,
        RecordType::AAAA => 1,
        RecordType::CNAME => 2,
        RecordType::DNSKEY => 3,
        RecordType::DS => 4,
        RecordType::MX => 5,
        RecordType::NSEC => 6,
        RecordType::NSEC3 => 7,
        RecordType::NS => 8,
        RecordType::PTR => 9,
        RecordType::RRSIG => 10,
        RecordType::SOA => 11,
        RecordType::SRV => 12,
        RecordType::TXT => 13,
        RecordType::HTTPS => 14,
        RecordType::SVCB => 15,
        RecordType::IXFR => 16,
        RecordType::AXFR => 17,
        RecordType::ANY => 18,
        _ => 19,
    }
}

/// The numbers of a server block.
pub(crate) struct Counts {
    sites: BySite<Box<[ZoneCounts]>>,
    /// Labels of each zone, as [`Exchange::zone`] counts them.
    lengths: Box<[usize]>,
    links: OnceLock<Box<[&'static str]>>,
    /// Zones beside those of the block.
    more: OnceLock<Box<[Arc<ZoneLabels>]>>,
}

impl Counts {
    /// Those of a block with these zones, as [`Exchange::zone`] counts them.
    pub(crate) fn new(zones: &[Name]) -> Self {
        let names: Vec<_> = zones.iter().map(ToString::to_string).collect();
        Self {
            sites: BySite::new(move |site| {
                let counts = |zone: &String| ZoneCounts::new(site, zone.clone());
                names.iter().map(counts).collect()
            }),
            lengths: zones.iter().map(Name::label_count).collect(),
            links: OnceLock::new(),
            more: OnceLock::new(),
        }
    }

    /// Tells which zones there are beside those of the block, before the first query.
    pub(crate) fn add_zones(&self, zones: impl Iterator<Item = Arc<ZoneLabels>>) {
        let _ = self.more.set(zones.collect());
    }

    /// Tells what the links of the chain are called, before the first query.
    pub(crate) fn name_links(&self, links: &[&'static str]) {
        let _ = self.links.set(links.into());
    }

    /// Counts a query that comes back up the chain.
    pub(crate) fn count(&self, ex: &Exchange) {
        for zones in self.more.get().into_iter().flatten() {
            let above = self.lengths.get(usize::from(ex.zone)).copied();
            let counted = zones.with(&ex.query.question.name, above.unwrap_or(0), |zone| {
                let counts = zone.kept(|| {
                    let name = zone.name().to_string();
                    BySite::new(move |site| ZoneCounts::new(site, name.clone()))
                });
                counts.map(|counts| self.count_in(counts.at(ex.site), ex))
            });
            if counted.flatten().is_some() {
                return;
            }
        }
        if let Some(counts) = self.sites.at(ex.site).get(usize::from(ex.zone)) {
            self.count_in(counts, ex);
        }
    }

    fn count_in(&self, counts: &ZoneCounts, ex: &Exchange) {
        counts.request(ex);
        if ex.is_dropped() {
            return;
        }
        let link = ex.answered_by();
        let links = self.links.get().map_or(&[][..], |links| links);
        let plugin = link
            .and_then(|at| links.get(at).copied())
            .unwrap_or_default();
        counts.response(ex, link.map_or(0, |at| at + 1), plugin);
    }
}

/// The numbers of queries that reach no chain; one for the process.
pub(crate) struct Dropped(BySite<ZoneCounts>);

impl Default for Dropped {
    fn default() -> Self {
        Self(BySite::new(|site| {
            ZoneCounts::new(site, DROPPED.to_owned())
        }))
    }
}

impl Refusals for Dropped {
    fn refused(&self, ex: &Exchange) {
        let counts = self.0.at(ex.site);
        counts.request(ex);
        counts.response(ex, 0, "");
    }
}

/// The numbers of one zone on one listener.
struct ZoneCounts {
    site: Site,
    zone: String,
    /// By transport and family, then by type.
    requests: [[OnceLock<Counter>; TYPES.len()]; 4],
    duration: OnceLock<Histogram>,
    with_do: OnceLock<Counter>,
    /// Of requests and of responses, by transport.
    sizes: [[OnceLock<Histogram>; 2]; 2],
    /// By link and RCODE; a link's place is its index in the chain and one, the server's is 0.
    responses: [OnceLock<Box<[OnceLock<Counter>; RCODES]>>; Self::LINKS],
}

impl ZoneCounts {
    /// Links of the longest chain, and the server.
    const LINKS: usize = corten_plugin::Chain::LINKS_MAX + 1;

    fn new(site: Site, zone: String) -> Self {
        Self {
            site,
            zone,
            requests: Default::default(),
            duration: OnceLock::new(),
            with_do: OnceLock::new(),
            sizes: Default::default(),
            responses: [const { OnceLock::new() }; Self::LINKS],
        }
    }

    /// The labels that all numbers have, and `more`.
    fn labels<'a, const N: usize>(
        &'a self,
        more: [(&'static str, &'a str); N],
    ) -> Vec<(&'static str, &'a str)> {
        let own = [
            ("server", self.site.server()),
            ("zone", self.zone.as_str()),
            ("view", self.site.view()),
        ];
        let mut labels = own.into_iter().chain(more).collect::<Vec<_>>();
        labels.sort();
        labels
    }

    fn request(&self, ex: &Exchange) {
        let (proto, family) = (proto(ex), family(ex));
        let rtype = type_index(ex.query.question.rtype);
        self.requests[2 * proto + family][rtype]
            .get_or_init(|| {
                let more = [
                    ("proto", ex.transport.network()),
                    ("family", ["1", "2"][family]),
                    ("type", TYPES[rtype]),
                ];
                registry().counter(
                    "coredns_dns_requests_total",
                    "Counter of DNS requests made per zone, protocol and family.",
                    &self.labels(more),
                )
            })
            .increment();
        self.duration
            .get_or_init(|| {
                registry().histogram(
                    "coredns_dns_request_duration_seconds",
                    "Histogram of the time (in seconds) each request took per zone.",
                    DURATION,
                    &self.labels([]),
                )
            })
            .observe(ex.received.elapsed().as_secs_f64());
        self.sizes[0][proto]
            .get_or_init(|| {
                registry().histogram(
                    "coredns_dns_request_size_bytes",
                    "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
                    SIZES,
                    &self.labels([("proto", ex.transport.network())]),
                )
            })
            .observe(ex.query.octets().len() as f64);
        if ex.query.edns().is_some_and(|edns| edns.dnssec_ok) {
            self.with_do
                .get_or_init(|| {
                    registry().counter(
                        "coredns_dns_do_requests_total",
                        "Counter of DNS requests with DO bit set per zone.",
                        &self.labels([]),
                    )
                })
                .increment();
        }
    }

    fn response(&self, ex: &Exchange, link: usize, plugin: &str) {
        self.sizes[1][proto(ex)]
            .get_or_init(|| {
                registry().histogram(
                    "coredns_dns_response_size_bytes",
                    "Size of the returned response in bytes.",
                    SIZES,
                    &self.labels([("proto", ex.transport.network())]),
                )
            })
            .observe(ex.reply_octets() as f64);
        let rcode = ex.reply.rcode;
        let known = self
            .responses
            .get(link)
            .map(|codes| codes.get_or_init(|| Box::new([const { OnceLock::new() }; RCODES])))
            .and_then(|codes| codes.get(usize::from(rcode.0)));
        match known {
            Some(counter) => counter
                .get_or_init(|| self.responses_with(rcode, plugin))
                .increment(),
            // Looked up by its labels: no RCODE above 23 is assigned but for private use.
            None => self.responses_with(rcode, plugin).increment(),
        }
    }

    fn responses_with(&self, rcode: Rcode, plugin: &str) -> Counter {
        let text = match rcode.mnemonic() {
            Some(text) => text.to_owned(),
            None => rcode.0.to_string(),
        };
        registry().counter(
            "coredns_dns_responses_total",
            "Counter of response status codes.",
            &self.labels([("rcode", text.as_str()), ("plugin", plugin)]),
        )
    }
}

/// 0 for UDP, 1 for streams.
fn proto(ex: &Exchange) -> usize {
    usize::from(ex.transport != Transport::Udp)
}

/// 0 for IPv4, 1 for IPv6.
fn family(ex: &Exchange) -> usize {
    usize::from(ex.client.is_ipv6())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_plugin::wire::Gate;
    use corten_plugin::{Chain, Flow, Interest, Plugin, Progress};

    use super::*;

    /// A query for www.example A with DO.
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\
        \0\0\x29\x04\xd0\0\0\x80\0\0\0";

    struct Answers;

    impl Plugin for Answers {
        fn name(&self) -> &'static str {
            "answers"
        }

        fn on_query(&self, ex: &mut Exchange) -> Flow {
            match ex.query.question.rtype {
                RecordType::ANY => Flow::Drop,
                RecordType::MX => ex.answer(Rcode(3900)),
                _ => ex.answer(Rcode::NXDOMAIN),
            }
        }
    }

    struct Counting(Arc<Counts>);

    impl Plugin for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn interest(&self) -> Interest {
            Interest::Response
        }

        fn on_response(&self, ex: &mut Exchange) -> Flow {
            self.0.count(ex);
            Flow::Respond
        }
    }

    fn ask(chain: &Chain, site: Site, zone: u16, rtype: RecordType) {
        let mut ex = Exchange::new();
        assert_eq!(ex.query.read(QUERY), Gate::Pass);
        (ex.site, ex.zone) = (site, zone);
        ex.query.question.rtype = rtype;
        assert!(matches!(chain.run(&mut ex), Progress::Done(_)));
    }

    /// Lines of the page that speak of a server.
    fn lines(server: &str) -> Vec<String> {
        let own = format!("server=\"{server}\"");
        let page = registry().expose();
        page.lines()
            .filter(|line| line.contains(&own))
            .map(|line| line.replace(&format!(",{own}"), ""))
            .collect()
    }

    #[test]
    fn queries_are_counted_by_what_they_are() {
        let server = "dns://count-test:53";
        let counts = Arc::new(Counts::new(&["a".parse().unwrap(), "b".parse().unwrap()]));
        counts.name_links(&["counting", "answers"]);
        let chain = Chain::new(vec![Arc::new(Counting(counts)), Arc::new(Answers)]).unwrap();
        let site = Site::new(server, "inside");
        for (zone, rtype) in [
            (0, RecordType::A),
            (0, RecordType::A),
            (0, RecordType::HINFO),
            (1, RecordType::ANY),
            (1, RecordType::MX),
            (7, RecordType::A),
        ] {
            ask(&chain, site, zone, rtype);
        }
        let all = lines(server);
        for (line, there) in [
            (
                r#"coredns_dns_requests_total{family="1",proto="udp",type="A",view="inside",zone="a."} 2"#,
                true,
            ),
            (
                r#"coredns_dns_requests_total{family="1",proto="udp",type="other",view="inside",zone="a."} 1"#,
                true,
            ),
            (
                r#"coredns_dns_requests_total{family="1",proto="udp",type="ANY",view="inside",zone="b."} 1"#,
                true,
            ),
            (
                r#"coredns_dns_responses_total{plugin="answers",rcode="NXDOMAIN",view="inside",zone="a."} 3"#,
                true,
            ),
            (
                r#"coredns_dns_responses_total{plugin="answers",rcode="3900",view="inside",zone="b."} 1"#,
                true,
            ),
            (
                r#"coredns_dns_do_requests_total{server="dns://count-test:53",view="inside",zone="a."} 3"#,
                true,
            ),
            (
                r#"coredns_dns_request_size_bytes_bucket{proto="udp",view="inside",zone="a.",le="100"} 3"#,
                true,
            ),
            (
                r#"coredns_dns_request_size_bytes_sum{proto="udp",view="inside",zone="a."} 120"#,
                true,
            ),
            (
                r#"coredns_dns_request_size_bytes_count{proto="udp",view="inside",zone="b."} 2"#,
                true,
            ),
            (
                r#"coredns_dns_response_size_bytes_count{proto="udp",view="inside",zone="b."} 1"#,
                true,
            ),
        ] {
            assert_eq!(
                all.iter().any(|one| one == line),
                there,
                "{line}\n{}",
                all.join("\n")
            );
        }
        assert!(
            !all.iter()
                .any(|line| line.contains("tcp") || line.contains("NOERROR"))
        );
    }

    #[test]
    fn counting_the_second_query_of_a_kind_allocates_nothing() {
        let counts = Counts::new(&["a".parse().unwrap()]);
        let mut ex = Exchange::new();
        assert_eq!(ex.query.read(QUERY), Gate::Pass);
        ex.site = Site::new("dns://allocation-test:53", "");
        let _ = ex.answer(Rcode::NOERROR);
        counts.count(&ex);
        let counted = allocation_counter::measure(|| (0..100).for_each(|_| counts.count(&ex)));
        assert_eq!(counted.count_total, 0);
        let all = lines("dns://allocation-test:53");
        let total = |line: &&String| line.contains("_total{") && line.ends_with(" 101");
        assert_eq!(all.iter().filter(total).count(), 3, "{all:?}");
    }

    #[test]
    fn what_reaches_no_chain_is_dropped() {
        let server = "dns://dropped-test:53";
        let dropped = Dropped::default();
        let mut ex = Exchange::new();
        assert_eq!(ex.query.read(QUERY), Gate::Pass);
        (ex.site, ex.transport) = (Site::new(server, ""), Transport::Tls);
        ex.client = "[::1]:53".parse().unwrap();
        let _ = ex.answer(Rcode::REFUSED);
        dropped.refused(&ex);
        let all = lines(server);
        for line in [
            r#"coredns_dns_requests_total{family="2",proto="tcp",type="A",view="",zone="dropped"} 1"#,
            r#"coredns_dns_responses_total{plugin="",rcode="REFUSED",view="",zone="dropped"} 1"#,
        ] {
            assert!(
                all.iter().any(|one| one == line),
                "{line}\n{}",
                all.join("\n")
            );
        }
    }

    #[test]
    fn buckets_are_those_of_coredns() {
        assert_eq!((DURATION.len(), SIZES.len()), (16, 14));
        for (index, bound) in DURATION.iter().enumerate() {
            assert_eq!(*bound, 0.00025 * f64::from(1u32 << index));
        }
        for (at, name) in TYPES.iter().enumerate().take(19) {
            assert_eq!(type_index(name.parse().unwrap()), at, "{name}");
        }
    }
}
