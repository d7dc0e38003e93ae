//! Small databases, written here, and what is read of them.
use corten_plugin::Process;
use corten_plugin::wire::Gate;

use super::*;
use crate::database::DatabaseError;

/// A value of MaxMind's format.
enum Data {
    Text(&'static str),
    Double(f64),
    Number(u32),
    Short(u16),
    Long(u64),
    Bool(bool),
    Map(Vec<(&'static str, Self)>),
    Array(Vec<Self>),
}

use Data::{Array, Bool, Double, Long, Map, Number, Short, Text};

/// A type and a size below 285, as one or more octets.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (small, more) = match size {
        0..29 => (size as u8, None),
        _ => (29, Some((size - 29) as u8)),
    };
    match kind {
        1..=7 => out.push(kind << 5 | small),
        _ => out.extend([small, kind - 7]),
    }
    out.extend(more);
}

fn write(data: &Data, out: &mut Vec<u8>) {
    match data {
        Text(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Double(number) => {
            control(3, 8, out);
            out.extend(number.to_be_bytes());
        }
        Number(number) => {
            control(6, 4, out);
            out.extend(number.to_be_bytes());
        }
        Short(number) => {
            control(5, 2, out);
            out.extend(number.to_be_bytes());
        }
        Long(number) => {
            control(9, 8, out);
            out.extend(number.to_be_bytes());
        }
        Bool(value) => control(14, usize::from(*value), out),
        Map(pairs) => {
            control(7, pairs.len(), out);
            for (key, value) in pairs {
                write(&Text(key), out);
                write(value, out);
            }
        }
        Array(values) => {
            control(11, values.len(), out);
            values.iter().for_each(|value| write(value, out));
        }
    }
}

/// A database of this type in which addresses under 128.0.0.0 have the data, and others none.
fn database(kind: &'static str, data: &Data) -> Vec<u8> {
    // One node of two records with 24 bits: data begins 16 behind the number of nodes.
    let mut out = vec![0, 0, 17, 0, 0, 1];
    out.extend([0; 16]);
    write(data, &mut out);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = Map(vec![
        ("node_count", Number(1)),
        ("record_size", Short(24)),
        ("ip_version", Short(4)),
        ("database_type", Text(kind)),
        ("languages", Array(vec![])),
        ("binary_format_major_version", Short(2)),
        ("binary_format_minor_version", Short(0)),
        ("build_epoch", Long(0)),
        ("description", Map(vec![])),
    ]);
    write(&metadata, &mut out);
    out
}

fn city() -> Vec<u8> {
    let names = |name| ("names", Map(vec![("en", Text(name)), ("de", Text("x"))]));
    let data = Map(vec![
        ("city", Map(vec![names("Saltmouth")])),
        (
            "country",
            Map(vec![
                ("iso_code", Text("IS")),
                names("Isle"),
                ("is_in_european_union", Bool(true)),
            ]),
        ),
        (
            "continent",
            Map(vec![("code", Text("EU")), names("Europe")]),
        ),
        (
            "location",
            Map(vec![
                ("latitude", Double(-12.5)),
                ("longitude", Double(0.125)),
                ("time_zone", Text("Europe/Saltmouth")),
            ]),
        ),
        ("postal", Map(vec![("code", Text("SM1 2"))])),
        (
            "subdivisions",
            Array(vec![
                Map(vec![("iso_code", Text("SA"))]),
                Map(vec![]),
                Map(vec![("iso_code", Text("LT"))]),
            ]),
        ),
    ]);
    database("GeoLite2-City", &data)
}

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

#[test]
fn cities_have_their_labels() {
    let database = Database::read(city()).unwrap();
    for (label, inside, outside) in [
        ("city/name", "Saltmouth", ""),
        ("country/code", "IS", ""),
        ("country/name", "Isle", ""),
        ("country/is_in_european_union", "true", "false"),
        ("continent/code", "EU", ""),
        ("continent/name", "Europe", ""),
        ("latitude", "-12.5", ""),
        ("longitude", "0.125", ""),
        ("timezone", "Europe/Saltmouth", ""),
        ("postalcode", "SM1 2", ""),
        ("subdivisions/code", "SA,,LT", ""),
    ] {
        let value = |address| database.value(address, label);
        assert_eq!(value(INSIDE).as_deref(), Some(inside), "{label}");
        assert_eq!(value(OUTSIDE).as_deref(), Some(outside), "{label}");
        assert_eq!(value(Ipv6Addr::LOCALHOST.into()), None, "IPv4 only");
    }
    for label in ["asn/number", "asn/org", "city", "city/names/en", ""] {
        assert_eq!(database.value(INSIDE, label), None, "{label}");
    }
}

#[test]
fn coordinates_may_be_missing() {
    let place = Map(vec![("location", Map(vec![("latitude", Double(0.0))]))]);
    let database = Database::read(database("GeoIP2-Enterprise", &place)).unwrap();
    assert_eq!(database.value(INSIDE, "latitude").as_deref(), Some("0"));
    assert_eq!(database.value(INSIDE, "longitude").as_deref(), Some(""));
}

#[test]
fn networks_have_a_number_and_an_owner() {
    let data = Map(vec![
        ("autonomous_system_number", Number(4_200_000_001)),
        ("autonomous_system_organization", Text("Pier & Sons")),
    ]);
    let database = Database::read(database("GeoLite2-ASN", &data)).unwrap();
    let value = |address, label| database.value(address, label).unwrap();
    assert_eq!(value(INSIDE, "asn/number"), "4200000001");
    assert_eq!(value(INSIDE, "asn/org"), "Pier & Sons");
    assert_eq!(value(OUTSIDE, "asn/number"), "0");
    assert_eq!(database.value(INSIDE, "city/name"), None);
}

#[test]
fn what_is_no_database_is_refused() {
    let country = database("GeoLite2-Country", &Map(vec![]));
    let refused = Database::read(country).map(|_| ()).unwrap_err();
    assert!(matches!(refused, DatabaseError::Schema(kind) if kind == "GeoLite2-Country"));
    assert!(Database::read(b"this is not a database".to_vec()).is_err());
    let whole = city();
    for end in 0..whole.len() {
        // Cut off anywhere: refused, or no value; never a panic.
        if let Ok(database) = Database::read(whole[end..].to_vec()) {
            let _ = database.value(INSIDE, "city/name");
        }
        if let Ok(database) = Database::read(whole[..end].to_vec()) {
            let _ = database.value(INSIDE, "city/name");
        }
    }
}

#[test]
fn blocks_share_a_database_until_the_file_changes() {
    let folder = std::env::temp_dir().join(format!("corten-geoip-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, process) = (folder.join("city.mmdb"), Process::default());
    std::fs::write(&file, city()).unwrap();
    let one = Database::shared(&process, &file).unwrap();
    let other = Database::shared(&process, &file).unwrap();
    assert!(Arc::ptr_eq(&one, &other));
    std::fs::write(&file, database("GeoLite2-ASN", &Map(vec![]))).unwrap();
    let changed = Database::shared(&process, &file).unwrap();
    assert!(!Arc::ptr_eq(&one, &changed));
    std::fs::remove_dir_all(&folder).unwrap();
    let missing = Database::shared(&process, &file).map(|_| ()).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("failed to open database file: ")
    );
}

#[test]
fn the_client_subnet_decides_when_it_is_asked_for() {
    for (option, address) in [
        (&b"\0\x01\x18\0\xcb\0\x71"[..], Some("203.0.113.0")),
        (b"\0\x01\x20\0\xcb\0\x71\x07", Some("203.0.113.7")),
        (b"\0\x02\x20\0\x20\x01\x0d\xb8", Some("2001:db8::")),
        (b"\0\x01\0\0", Some("0.0.0.0")),
        (b"\0\0\0\0", None),
        (b"\0\x01\x28\0\x01\x02\x03\x04\x05", None),
        (b"\0\x02\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", None),
        (b"\0\x01\x18", None),
    ] {
        assert_eq!(
            subnet(option),
            address.map(|text| text.parse().unwrap()),
            "{option:?}"
        );
    }
    const QUERY: &[u8] = b"\0\x01\0\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01\
        \0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\0\xcb\0\x71";
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(QUERY), Gate::Pass);
    ex.client = "[::ffff:192.0.2.1]:53".parse().unwrap();
    assert_eq!(Client::Sender.address(&ex), OUTSIDE);
    let named: IpAddr = "203.0.113.0".parse().unwrap();
    assert_eq!(Client::Subnet.address(&ex), named);
}
