//! Zone transfers: the step `axfr`.
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::client::{self, NoAnswer, Options, Query, read_message};
use crate::message::{Message, rcode_text, record_line, wire_name};

/// The records of a transfer, in their order, as cases show them.
pub(crate) fn records(
    zone: &str,
    opts: &Options,
    port: u16,
    folder: &Path,
) -> Result<Vec<String>, String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let source = opts.get("from").map_or("0.0.0.0", String::as_str);
    let limit = Duration::from_secs(10);
    let told = |error: io::Error| NoAnswer::from(error).0.to_owned();
    if opts.contains_key("tls") {
        let mut stream = client::tls(address, limit, opts, folder).map_err(told)?;
        return transfer(&mut stream, zone, opts);
    }
    let mut stream = client::tcp_from(source, address, limit).map_err(told)?;
    transfer(&mut stream, zone, opts)
}

fn transfer(
    stream: &mut (impl Read + Write),
    zone: &str,
    opts: &Options,
) -> Result<Vec<String>, String> {
    let told = |error: io::Error| NoAnswer::from(error).0.to_owned();
    let query = query(zone, opts);
    let own: Option<u32> = opts.get("ixfr").map(|serial| serial.parse().unwrap());
    stream
        .write_all(&(query.wire.len() as u16).to_be_bytes())
        .map_err(told)?;
    stream.write_all(&query.wire).map_err(told)?;
    stream.flush().map_err(told)?;
    let mut lines: Vec<String> = Vec::new();
    let mut soas: Vec<u32> = Vec::new();
    loop {
        let octets = read_message(stream).map_err(told)?;
        let octets = match &query.signature {
            Some(signature) => signature.verify(&octets).map_err(told)?,
            None => octets,
        };
        let message = Message::read(&octets).ok_or("error FormError")?;
        if message.rcode != 0 {
            return Err(format!("error TransferError {}", rcode_text(message.rcode)));
        }
        for record in message.records.iter().filter(|record| record.section == 0) {
            if record.rtype == 6 {
                soas.push(record.rdata.split(' ').nth(2).unwrap().parse().unwrap());
            }
            lines.push(record_line("record", record, false));
        }
        let newest = soas.first().copied().ok_or("error FormError")?;
        let over = match (own, soas.get(1)) {
            // Nothing newer.
            (Some(own), None) => {
                lines.len() == 1 && newest.wrapping_sub(own).wrapping_sub(1) >= 1 << 31
            }
            // Changes end with the third record that has the newest serial; a zone with the second.
            (Some(own), Some(second)) if *second == own && newest != own => {
                soas.iter().filter(|serial| **serial == newest).count() == 3
            }
            _ => soas.len() == 2,
        };
        if over {
            return Ok(lines);
        }
    }
}

fn query(zone: &str, opts: &Options) -> Query {
    let Some(serial) = opts.get("ixfr") else {
        return Query::new(zone, "AXFR", opts);
    };
    // The signature covers the SOA record, so it comes last.
    let mut unsigned = opts.clone();
    let key = unsigned.remove("tsig");
    let mut query = Query::new(zone, "IXFR", &unsigned);
    query.wire[9] = 1;
    query.wire.extend(wire_name(zone));
    query.wire.extend([0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    query
        .wire
        .extend(serial.parse::<u32>().unwrap().to_be_bytes());
    query.wire.extend([0; 16]);
    query.signature = key.map(|key| crate::tsig::Signature::sign(&mut query.wire, &key));
    query
}

/// What the step prints.
pub(crate) fn lines(zone: &str, opts: &Options, port: u16, folder: &Path) -> Vec<String> {
    let records = match records(zone, opts, port, folder) {
        Ok(records) => records,
        Err(error) => return vec![error],
    };
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return vec!["error FormError".into()];
    };
    let mut lines = vec![
        format!("{} records", records.len()),
        format!("first {first}"),
        format!("last {last}"),
    ];
    if !opts.contains_key("brief") && records.len() > 2 {
        let mut middle = records[1..records.len() - 1].to_vec();
        if !opts.contains_key("order") {
            middle.sort();
        }
        lines.extend(middle);
    }
    lines
}
