//! Zones whose files go.
use super::*;

const FILE: &str = "zones/db.example.org";

/// Waits for what is to become of an update.
fn becomes(primary: &Primary, commands: &str, rcode: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = primary.update("all", commands);
        if found == rcode {
            return;
        }
        assert!(Instant::now() < until, "{found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A zone that is no longer served takes no updates, and is not written back into the folder that it went from.
/// What updated it is there again when it is.
pub(super) fn a_zone_that_went() -> Result<(), Failed> {
    let primary = Primary::new("");
    primary.folder.write(FILE, ZONE);
    let corefile = format!(
        ".:{} {{
    tsig {{
        secret all.example.org. {SECRET}
    }}
    auto {{
        directory zones
        reload 100ms
    }}
    update {{
        allow all.example.org. example.org
        rate 0
        write_back zones
    }}
}}
",
        primary.port
    );
    let server = Process::serve(&primary.folder, &corefile);
    let add = |address: &str| format!("update add a.example.org 60 A {address}");
    assert_eq!(primary.update("all", &add("192.0.2.7")), "NOERROR");
    let path = primary.folder.path().join(FILE);
    let until = Instant::now() + PATIENCE;
    let written = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("192.0.2.7"));
    while !written() {
        assert!(Instant::now() < until, "it is not written back");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::remove_file(&path).unwrap();
    server.wait_for_log("Deleting zone `example.org.'");
    becomes(&primary, &add("192.0.2.8"), "NOTAUTH");
    assert!(!path.exists());
    primary.folder.write(FILE, ZONE);
    let inserted = |line: &&String| line.contains("Inserting zone");
    let until = Instant::now() + PATIENCE;
    while server.lines().iter().filter(inserted).count() < 2 {
        assert!(Instant::now() < until, "it does not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    becomes(&primary, &add("192.0.2.9"), "NOERROR");
    assert!(primary.answers("a", "A").contains(&"192.0.2.7".to_owned()));
    Ok(())
}
