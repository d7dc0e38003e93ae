//! Requests over HTTP/2 that are few octets and would like to be many.
use std::io::Write;

use libtest_mimic::{Failed, Trial};

use crate::web_attacks::{END_HEADERS, HEADERS, PING, Served, frame, request};

/// A field that the client's table has, again and again: an octet each.
fn lists_of_fields_take_no_more_room_than_they_may() -> Result<(), Failed> {
    let served = Served::new(" whoami");
    // The first entry of the dynamic table.
    let again = [0xbe; 170];
    let listed = [&b"\x40\x0fx-forwarded-for\x2d"[..], &[b'1'; 45], &again].concat();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut raw = served.begin(&[]);
        let head = request("POST", "/dns-query");
        let mut octets = frame(HEADERS, END_HEADERS, 1, &[&head[..], &listed].concat());
        for at in 1..120 {
            let block = [&head[..], &again].concat();
            octets.extend(frame(HEADERS, END_HEADERS, 2 * at + 1, &block));
        }
        octets.extend(frame(PING, 0, 0, &[7; 8]));
        raw.0.write_all(&octets)?;
        clients.push(raw);
    }
    for raw in &mut clients {
        assert_eq!(raw.receive_kind(PING)?.1, [7; 8], "all have been read");
    }
    served.has_not_grown();
    served.serves_others();
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "web_bombs/lists_of_fields_take_no_more_room_than_they_may",
        lists_of_fields_take_no_more_room_than_they_may,
    )]
}
