//! What a line of the access log costs: a request of a tool, one of a browser, one that somebody has made to be odd.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Version;
use policy::access_log::{Lines, Record};
use policy::config::leaf::TargetAddr;
use policy::filter::logging::{LogFormat, LogSchema};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

/// As a worker's buffer for an output, which is handed over when it is full.
const BATCH: usize = 64 * 1024;

const BROWSER: &[u8] =
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const ODD: &[u8] = b"\x1b[2J\"quoted\" \xff and \xe2\x80\xae the other way round";

fn record<'a>(target: &'a TargetAddr, user_agent: &'a [u8]) -> Record<'a> {
    Record {
        unix_nanos: 1_795_428_000_123_456_789,
        duration: Duration::from_nanos(1_234_567),
        method: "GET",
        path: "/api/v1/users/7/orders",
        query: None,
        host: Some(b"api.example.com"),
        user_agent: Some(user_agent),
        version: Version::HTTP_11,
        client_ip: IpAddr::from([203, 0, 113, 97]),
        request_id: "01a20aed-eacd-76f2-9a38-473b56cbc556",
        client_certificate: None,
        consumer: None,
        config_version: 127,
        route: Some("user-service"),
        upstream: None,
        target: Some(target),
        upstream_time: Some(Duration::from_micros(1100)),
        attempts: 1,
        status: 200,
        reason: None,
        grpc_status: None,
        error: None,
        bytes_in: 0,
        bytes_out: 348,
        trace_id: None,
    }
}

fn lines(criterion: &mut Criterion) {
    let target = TargetAddr { tls: false, host: "10.0.0.7".to_owned(), port: 8080 };
    let mut group = criterion.benchmark_group("access_log");
    for (agent_name, agent) in [("tool", &b"curl/8.5.0"[..]), ("browser", BROWSER), ("odd", ODD)] {
        for (form, format) in [("json", LogFormat::Json), ("text", LogFormat::Text)] {
            let mut of = record(&target, agent);
            let (mut lines, mut buffer) = (Lines::default(), Vec::with_capacity(2 * BATCH));
            lines.write(&mut buffer, format, LogSchema::Default, &of);
            group.throughput(Throughput::Bytes(buffer.len() as u64));
            group.bench_function(format!("{form}/{agent_name}"), |bencher| {
                bencher.iter(|| {
                    if buffer.len() >= BATCH {
                        buffer.clear();
                    }
                    // ten thousand requests a second
                    of.unix_nanos += 100_000;
                    lines.write(&mut buffer, format, LogSchema::Default, black_box(&of));
                });
            });
        }
    }
}

criterion_group!(benches, lines);
criterion_main!(benches);
