//! Clients of HTTP that people use, and a reload under an open connection.
use std::process::Command;
use std::time::Duration;

use http::Request;
use libtest_mimic::{Failed, Trial};

use crate::certificates;
use crate::client::{Options, Query};
use crate::message::Message;
use crate::server::{Folder, Process, free_port};
use crate::web;

/// `www.example A`, as a GET request has it.
const QUESTION: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE";

fn corefile(port: u16, address: &str) -> String {
    format!(
        "https://.:{port} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n hosts /dev/null {{\n  \
         {address} www.example\n }}\n}}\n"
    )
}

fn served() -> (Folder, u16, Process) {
    let (folder, port) = (Folder::new(), free_port());
    certificates::write(folder.path());
    let process = Process::serve(&folder, &corefile(port, "192.0.2.1"));
    (folder, port, process)
}

fn run(folder: &Folder, program: &str, arguments: &str) -> (String, Vec<u8>) {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .current_dir(folder.path())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.stdout)
}

/// kdig by POST and by GET.
fn kdig() -> Result<(), Failed> {
    let (folder, port, _process) = served();
    for option in ["+https", "+https-get"] {
        let arguments = format!("{option} @127.0.0.1 -p {port} www.example +short");
        assert_eq!(
            run(&folder, "kdig", &arguments).0,
            "192.0.2.1\n",
            "{option}"
        );
    }
    Ok(())
}

/// curl over HTTP/1.1 and HTTP/2, with bodies of a known length and in chunks.
fn curl() -> Result<(), Failed> {
    let (folder, port, _process) = served();
    let query = Query::new("www.example", "A", &Options::new());
    std::fs::write(folder.path().join("query"), &query.wire)?;
    let url = format!("https://localhost:{port}/dns-query");
    let post = "--data-binary @query -H Content-Type:application/dns-message";
    for (version, proto) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for how in [
            format!("{url}?dns={QUESTION}"),
            format!("{post} {url}"),
            format!("{post} -H Transfer-Encoding:chunked {url}"),
            // Two requests on one connection.
            format!("{post} {url} --next -s --cacert ca.pem {post} {url}"),
        ] {
            if version == "--http2" && how.contains("chunked") {
                continue;
            }
            let arguments = format!("-s --cacert ca.pem {version} {how}");
            let (_, octets) = run(&folder, "curl", &arguments);
            let reply = Message::read(&octets[..octets.len().min(56)]);
            let reply = reply.unwrap_or_else(|| panic!("curl {arguments}: {octets:?}"));
            assert_eq!(reply.answers(), ["192.0.2.1"], "curl {arguments}");
        }
        let shown = format!(
            "-s --cacert ca.pem {version} -o /dev/null -w %{{http_version}} {url}?dns={QUESTION}"
        );
        assert_eq!(run(&folder, "curl", &shown).0, proto);
        // RFC 9110 section 6.6.1, whatever the response is.
        for path in [format!("?dns={QUESTION}"), String::new()] {
            let shown = format!("-s --cacert ca.pem {version} -o /dev/null -D - {url}{path}");
            let (head, _) = run(&folder, "curl", &shown);
            let mut dates = head.lines().filter_map(|line| line.strip_prefix("date: "));
            let date = dates.next().unwrap_or_else(|| panic!("no date in {head}"));
            assert!(date.len() == 29 && date.ends_with(" GMT"), "{head}");
        }
    }
    Ok(())
}

/// nghttp with a window for the answer that is smaller than a frame's head would like.
fn nghttp() -> Result<(), Failed> {
    let (folder, port, _process) = served();
    let arguments = format!("-v -w 4 https://localhost:{port}/dns-query?dns={QUESTION}");
    let (text, _) = run(&folder, "nghttp", &arguments);
    for part in [
        ":status: 200",
        "content-type: application/dns-message",
        "END_STREAM",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(text.contains("recv DATA frame <length=15"), "{text}");
    Ok(())
}

/// A connection outlives a reload; its next request is answered by the new configuration.
fn reload_keeps_connections() -> Result<(), Failed> {
    let (folder, port, process) = served();
    let client = async {
        let address = ([127, 0, 0, 1], port).into();
        let mut requests = web::connect(address, Some(("localhost", folder.path())))
            .await
            .unwrap();
        for expected in ["192.0.2.1", "192.0.2.2"] {
            let uri = format!("https://localhost:{port}/dns-query?dns={QUESTION}");
            let request = Request::get(uri).body(()).unwrap();
            let answer = web::exchange(&mut requests, request, Vec::new())
                .await
                .unwrap();
            assert_eq!(Message::read(&answer.body).unwrap().answers(), [expected]);
            folder.write("Corefile", &corefile(port, "192.0.2.2"));
            process.signal("USR1");
            process.wait_for_log("Reloading complete");
        }
    };
    web::wait(Duration::from_secs(30), client).ok_or("it takes too long")?;
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("web_clients/kdig", kdig),
        Trial::test("web_clients/curl", curl),
        Trial::test("web_clients/nghttp", nghttp),
        Trial::test(
            "web_clients/reload_keeps_connections",
            reload_keeps_connections,
        ),
    ]
}
