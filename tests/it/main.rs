//! Whole-server tests: the real binary on free loopback ports, real peers beside it.
//!
//! | module | what it is |
//! |---|---|
//! | [`cases`], [`run`], [`parallel`], [`compare`] | case files: a Corefile, queries, recorded answers |
//! | [`server`] | the server as a child process |
//! | [`client`], [`message`] | a DNS client that shares no code with the server |
//! | [`http`] | an HTTP client, and the steps of cases that need one |
//! | [`upstream`] | a scripted name server |
//! | [`collectors`] | collectors of dnstap messages and of spans |
//! | [`tsig`], [`axfr`] | signatures and zone transfers, as cases have them |
//! | [`peers`] | zones to and from NSD, Knot and BIND |
//! | [`catalogs`] | catalog zones for Knot, BIND and ourselves |
//! | [`acme`] | certificates from a real ACME CA, pebble |
//! | [`challenges`] | what is answered at a challenge's name, and what an operator sees |
//! | [`sharing`] | several servers that share their certificates |
//! | [`differential`] | random zones and questions, for us and for NSD, Knot and BIND |
//! | [`forwarding`] | upstreams that fail in every way |
//! | [`life`], [`arriving`] | reloads and stops under load, and with connections that have only just begun |
//! | [`parallel`], [`proxied`] | more ways to ask: many at once, behind a proxy |
//! | [`validation`], [`signed`] | what is signed, checked by a resolver, by tools, and signature by signature |
//! | [`sockets`] | how many sockets there are, and too much load for them |
//! | [`web`], [`web_attacks`], [`web_bombs`] | queries over HTTPS and gRPC, and clients of HTTP that mean no good |
//! | [`web_clients`] | kdig, curl and nghttp |
//! | [`transports`], [`floods`] | clients that mean no good |
//! | [`quic`], [`doq`], [`quic_clients`], [`quic_proxies`], [`quic_leaving`] | a client of DNS over QUIC and over HTTP/3; what DoQ demands; addresses; ends |
//! | [`updates`] | dynamic updates by nsupdate, certbot, lego and dehydrated, and with `kill -9` |
//! | [`transports`], [`floods`], [`endurance`] | clients that mean no good, and very many of their queries |
//! | [`quic`], [`doq`] | a client of DNS over QUIC and over HTTP/3; what DoQ demands |
//! | [`updates`] | dynamic updates by nsupdate and certbot, and with `kill -9` |
//! | [`everywhere`], [`signatures`], [`denied`] | a server on every transport: signatures of every kind, and clients that are denied |
//! | [`caching`] | the cache with many clients and over reloads |
//! | [`panics`] | a plugin that panics |
//! | [`readme`] | what the README promises, with kdig, and every plugin's examples |
//! | [`architecture`] | rules about who depends on whom |
//!
//! A module of tests is a function `trials()` that is called here. `cargo test -p corten-tests --
//! NAME` runs those whose names contain NAME.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod acme;
mod architecture;
mod arriving;
mod axfr;
mod base64;
mod caching;
mod cases;
mod catalogs;
mod certificates;
mod challenges;
mod client;
mod collectors;
mod compare;
mod denied;
mod differential;
mod doq;
mod endurance;
mod everywhere;
mod extended_error;
mod floods;
mod forwarding;
mod http;
mod life;
mod message;
mod panics;
mod parallel;
mod peers;
mod proxied;
mod quic;
mod quic_clients;
mod quic_leaving;
mod quic_proxies;
mod rdata;
mod readme;
mod repeat;
mod run;
mod server;
mod sharing;
mod signatures;
mod signed;
mod sockets;
mod transfer_transports;
mod transports;
mod tsig;
mod updates;
mod upstream;
mod validation;
mod web;
mod web_attacks;
mod web_bombs;
mod web_clients;
mod web_requests;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = cases::trials();
    trials.extend(architecture::trials());
    trials.extend(acme::trials());
    trials.extend(sharing::trials());
    trials.extend(challenges::trials());
    trials.extend(caching::trials());
    trials.extend(catalogs::trials());
    trials.extend(differential::trials());
    trials.extend(forwarding::trials());
    trials.extend(life::trials());
    trials.extend(peers::trials());
    trials.extend(panics::trials());
    trials.extend(readme::trials());
    trials.extend(message::trials());
    trials.extend(http::trials());
    trials.extend(transports::trials());
    trials.extend(updates::trials());
    trials.extend(sockets::trials());
    trials.extend(arriving::trials());
    trials.extend(web_attacks::trials());
    trials.extend(web_bombs::trials());
    trials.extend(web_clients::trials());
    trials.extend(web_requests::trials());
    trials.extend(quic_clients::trials());
    trials.extend(quic_leaving::trials());
    trials.extend(quic_proxies::trials());
    trials.extend(transfer_transports::trials());
    trials.extend(validation::trials());
    trials.extend(doq::trials());
    trials.extend(floods::trials());
    trials.extend(signatures::trials());
    trials.extend(denied::trials());
    trials.extend(endurance::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
