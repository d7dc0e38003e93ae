use super::*;
use crate::tests::kit;

fn line(text: &str) -> Result<String, String> {
    let corefile = format!("example.org {{\n {text}\n}}\n");
    let links = kit::set_up(&crate::PLUGIN, &corefile, &[]).map_err(|error| error.to_string())?;
    let cache = (&*links[0] as &dyn std::any::Any)
        .downcast_ref::<crate::Cache>()
        .unwrap();
    let config = &cache.inner.config;
    let limits = |limits: &Limits| {
        format!(
            "{}x256 {}..{}",
            limits.shard_entries, limits.ttl_min, limits.ttl_max
        )
    };
    let names = |zones: &Zones| {
        zones
            .names()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut said = vec![
        names(&config.zones),
        limits(&config.success),
        limits(&config.denial),
    ];
    if config.failure_ttl != 5 {
        said.push(format!("servfail {}", config.failure_ttl));
    }
    if let Some(prefetch) = &config.prefetch {
        said.push(format!(
            "prefetch {} {}ms {}%",
            prefetch.hits, prefetch.gap, prefetch.percent
        ));
    }
    if let Some(stale) = &config.stale {
        said.push(format!(
            "stale {} {:?} {} {}ms{}",
            stale.seconds,
            stale.mode,
            stale.ttl,
            stale.recheck,
            if stale.prefer_positive { " prefer" } else { "" }
        ));
    }
    for (name, zones) in ["success", "denial"].iter().zip(&config.disabled) {
        if !zones.names().is_empty() {
            said.push(format!("no {name} {}", names(zones)));
        }
    }
    if config.keep_ttl {
        said.push("keepttl".into());
    }
    Ok(said.join("; "))
}

#[test]
fn lines_mean_what_they_mean_to_coredns() {
    let usual = "39x256 5..3600; 39x256 5..1800";
    for (text, expected) in [
        ("cache", format!("example.org.; {usual}")),
        (
            "cache 30",
            "example.org.; 39x256 5..30; 39x256 5..30".into(),
        ),
        (
            "cache a.example b.example",
            format!("a.example.,b.example.; {usual}"),
        ),
        ("cache 20 .", ".; 39x256 5..20; 39x256 5..20".into()),
        (
            "cache 99999999999",
            "example.org.; 39x256 5..2147483647; 39x256 5..2147483647".into(),
        ),
        (
            "cache 60 {\n success 5000 30 1\n denial 100\n}",
            "example.org.; 19x256 1..30; 4x256 5..60".into(),
        ),
        (
            "cache {\n success -1 9 0 more\n}",
            "example.org.; 4x256 0..9; 39x256 5..1800".into(),
        ),
        (
            "cache {\n prefetch 10\n servfail 0\n keepttl\n}",
            format!("example.org.; {usual}; servfail 0; prefetch 10 60000ms 10%; keepttl"),
        ),
        (
            "cache {\n prefetch 3 30s 90%\n}",
            format!("example.org.; {usual}; prefetch 3 30000ms 90%"),
        ),
        (
            "cache {\n prefetch 0\n serve_stale 0s\n}",
            format!("example.org.; {usual}"),
        ),
        (
            "cache {\n serve_stale\n}",
            format!("example.org.; {usual}; stale 3600 Immediate 0 0ms"),
        ),
        (
            "cache {\n serve_stale_policy prefer_positive\n serve_stale 2h IMMEDIATE 30s 1m\n}",
            format!("example.org.; {usual}; stale 7200 Immediate 30 60000ms prefer"),
        ),
        (
            "cache {\n serve_stale 1h verify\n}",
            format!("example.org.; {usual}; stale 3600 Verify(0ns) 0 0ms"),
        ),
        (
            "cache {\n serve_stale 1h verify 100ms 30s 5m\n}",
            format!("example.org.; {usual}; stale 3600 Verify(100ms) 30 300000ms"),
        ),
        (
            "cache {\n disable success\n disable denial a.example b.example\n}",
            format!("example.org.; {usual}; no success .; no denial a.example.,b.example."),
        ),
    ] {
        assert_eq!(line(text), Ok(expected), "{text}");
    }
}

#[test]
fn mistakes_are_told() {
    for (text, error) in [
        ("cache 0", "cache TTL can not be zero or negative: 0"),
        (
            "cache -5 example.org",
            "cache TTL can not be zero or negative: -5",
        ),
        (
            "cache\n cache",
            "this plugin can only be used once per Server Block",
        ),
        (
            "cache {\n success\n}",
            "Wrong argument count or unexpected line ending after 'success'",
        ),
        ("cache {\n success lots\n}", "'lots' is not an integer"),
        (
            "cache {\n denial 100 0\n}",
            "cache TTL can not be zero or negative: 0",
        ),
        (
            "cache {\n denial 100 9 -1\n}",
            "cache min TTL can not be negative: -1",
        ),
        (
            "cache {\n prefetch\n}",
            "Wrong argument count or unexpected line ending after 'prefetch'",
        ),
        (
            "cache {\n prefetch -1\n}",
            "prefetch amount should be positive: -1",
        ),
        (
            "cache {\n prefetch 1 1m 20\n}",
            "last character of percentage should be `%`, but is: '0'",
        ),
        ("cache {\n prefetch 1 1m x%\n}", "'x%' is not a percentage"),
        (
            "cache {\n prefetch 1 1m 95%\n}",
            "percentage should fall in range [10, 90]: 95",
        ),
        (
            "cache {\n serve_stale -1h\n}",
            "invalid negative duration for serve_stale",
        ),
        (
            "cache {\n serve_stale 1h later\n}",
            "invalid value for serve_stale refresh mode: later",
        ),
        (
            "cache {\n serve_stale 1h verify -1s\n}",
            "invalid negative timeout for serve_stale verify",
        ),
        (
            "cache {\n serve_stale 1h immediate 1500ms\n}",
            "serve_stale response TTL must be a whole number of seconds",
        ),
        (
            "cache {\n serve_stale 1h immediate 2000000h\n}",
            "serve_stale response TTL exceeds the DNS TTL range",
        ),
        (
            "cache {\n serve_stale 1h immediate 1s 6m\n}",
            "serve_stale failure recheck cannot exceed 5 minutes",
        ),
        (
            "cache {\n serve_stale 1h immediate 1s 1m 1m\n}",
            "Wrong argument count",
        ),
        (
            "cache {\n serve_stale_policy prefer_positive\n}",
            "serve_stale_policy requires serve_stale",
        ),
        (
            "cache {\n serve_stale\n serve_stale_policy newest\n}",
            "invalid serve_stale_policy: newest",
        ),
        (
            "cache {\n serve_stale\n serve_stale_policy prefer_positive\n serve_stale_policy prefer_positive\n}",
            "serve_stale_policy can only be specified once",
        ),
        (
            "cache {\n servfail -1s\n}",
            "invalid negative ttl for servfail",
        ),
        (
            "cache {\n servfail 301s\n}",
            "caching SERVFAIL responses over 5 minutes is not permitted",
        ),
        (
            "cache {\n servfail 5\n}",
            "a duration needs a unit, such as '5s'",
        ),
        ("cache {\n disable\n}", "Wrong argument count"),
        (
            "cache {\n disable errors\n}",
            "cache type for disable must be \"denial\" or \"success\"",
        ),
        ("cache {\n keepttl yes\n}", "Wrong argument count"),
        ("cache {\n servfali 5s\n}", "did you mean 'servfail'?"),
    ] {
        let told = line(text).unwrap_err();
        assert!(told.contains(error), "{text}: {told}");
    }
}
