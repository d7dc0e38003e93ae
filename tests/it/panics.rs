//! A plugin that panics costs the reply it was making, and nothing else.
use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use crate::client;
use crate::server::{Folder, Process, build, free_port};

fn costs_one_servfail() -> Result<(), Failed> {
    let program = build(
        &["--package", "corten-tests", "--example", "misbehaving"],
        "examples/misbehaving",
    );
    let (folder, port) = (Folder::new(), free_port());
    let block = "bind 127.0.0.1\n misbehave\n hosts /dev/null {\n  192.0.2.1 good.test\n }\n";
    folder.write("Corefile", &format!(".:{port} {{\n {block}}}\n"));
    let corefile = ["-conf", "Corefile"];
    let server = Process::start(&program, &corefile, folder.path(), &BTreeMap::new(), None);
    server.wait_for_log("^Corten-");
    for (name, what) in [
        ("down.test", "on the way down"),
        ("back.good.test", "on the way back"),
        ("wait.test", "while waiting"),
    ] {
        let reply = client::ask(port, name, "A").expect("an answer");
        assert_eq!(reply.rcode_name(), "SERVFAIL", "{name}");
        server.wait_for_log(&format!(
            r#"^\[ERROR\] Recovered from panic in server: "dns://127\.0\.0\.1:{port}" {what}"#
        ));
        let reply = client::ask(port, "good.test", "A").expect("an answer");
        assert_eq!(reply.answers(), ["192.0.2.1"], "after {name}");
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("panics::cost_one_servfail", costs_one_servfail)]
}
