//! Two processes that want one journal.
use super::*;
use crate::server::binary;
use std::collections::BTreeMap;

/// A journal is one process's. A reload keeps it, and a process that is killed loses it.
pub(super) fn one_process() -> Result<(), Failed> {
    let primary = Primary::new("");
    let mut first = primary.start();
    let mut second = Process::start(
        binary(),
        &["-conf", "Corefile"],
        primary.folder.path(),
        &BTreeMap::new(),
        None,
    );
    let status = second.wait_end(PATIENCE).expect("it refuses to start");
    assert_eq!(status.code(), Some(1));
    let told = second.last_lines().join("\n");
    let whose = "updates: another process (PID ";
    assert!(
        told.contains(whose) && told.contains("'journal DIR'"),
        "{told}"
    );
    assert_eq!(
        primary.update("all", "update add a.example.org 60 A 192.0.2.7"),
        "NOERROR"
    );

    first.signal("USR1");
    first.wait_for_log("Reloading complete");
    assert_eq!(
        primary.update("all", "update add b.example.org 60 A 192.0.2.7"),
        "NOERROR"
    );
    let mut third = Process::start(
        binary(),
        &["-conf", "Corefile"],
        primary.folder.path(),
        &BTreeMap::new(),
        None,
    );
    assert!(
        third.wait_end(PATIENCE).is_some(),
        "a reload keeps the lock"
    );

    first.signal("KILL");
    assert!(first.wait_end(PATIENCE).is_some());
    let _next = primary.start();
    assert_eq!(primary.answers("a", "A"), ["192.0.2.7"]);
    assert_eq!(primary.answers("b", "A"), ["192.0.2.7"]);
    Ok(())
}
