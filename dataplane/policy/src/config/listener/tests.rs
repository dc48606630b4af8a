//! Listeners by chance, for the tests of whole configs.

use super::*;
use crate::config::leaf::{ByteSize, Duration};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn file() -> impl Strategy<Value = FilePath> {
    "/[a-z0-9./-]{0,20}[a-z]".prop_map(|text| text.parse().expect("a path"))
}

fn protocols() -> impl Strategy<Value = Vec<HttpProtocol>> {
    vec(select(vec![HttpProtocol::H2, HttpProtocol::Http1]), 0..3)
}

fn tls() -> impl Strategy<Value = ListenerTlsConfig> {
    let certificate = (file(), file(), option::of(file())).prop_map(|(cert, key, ocsp)| CertificateConfig {
        cert,
        key,
        ocsp,
    });
    let auth = select(vec![ClientAuth::Off, ClientAuth::Optional, ClientAuth::Required]);
    let version = select(vec![TlsVersion::Tls12, TlsVersion::Tls13]);
    (vec(certificate, 0..3), option::of(file()), auth, version, any::<bool>()).prop_map(
        |(certificates, client_ca, client_auth, min_version, session_tickets)| ListenerTlsConfig {
            certificates,
            client_ca,
            client_auth,
            min_version,
            session_tickets,
        },
    )
}

fn network() -> impl Strategy<Value = IpNet> {
    select(vec!["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]).prop_map(|text| text.parse().expect("a block"))
}

pub(in crate::config) fn listener() -> impl Strategy<Value = ListenerConfig> {
    let demand = select(vec![ProxyProtocol::Off, ProxyProtocol::Optional, ProxyProtocol::Required]);
    let redirect = (any::<u16>(), select(vec![301, 302, 308]));
    let redirect = redirect.prop_map(|(port, status)| RedirectHttpsConfig { port, status });
    let announced = (demand, vec(network(), 0..3));
    let named = ("[a-zA-Z0-9._-]{1,20}", any::<u16>());
    (named, protocols(), announced, option::of(tls()), option::of(redirect)).prop_map(
        |((name, port), protocols, (proxy_protocol, proxy_protocol_from), tls, redirect_https)| {
            ListenerConfig { name, port, protocols, proxy_protocol, proxy_protocol_from, tls, redirect_https }
        },
    )
}

fn duration() -> impl Strategy<Value = Duration> {
    (1u64..=86_400_000).prop_map(|millis| Duration::from_millis(millis).expect("at most 24 h"))
}

pub(in crate::config) fn server() -> impl Strategy<Value = ServerConfig> {
    let times = (duration(), duration(), duration(), duration(), duration(), duration());
    let numbers = (any::<[u64; 4]>(), any::<[u32; 2]>());
    (listener(), times, numbers, vec(network(), 0..4), duration()).prop_map(
        |(listener, times, (sizes, counts), trusted_proxies, ping_interval)| {
            let ListenerConfig {
                name: _,
                port,
                protocols,
                proxy_protocol,
                proxy_protocol_from,
                tls,
                redirect_https,
            } = listener;
            ServerConfig {
                port,
                protocols,
                proxy_protocol,
                proxy_protocol_from,
                tls,
                redirect_https,
                read_timeout: times.0,
                write_timeout: times.1,
                idle_timeout: times.2,
                header_timeout: times.3,
                max_header_bytes: ByteSize(sizes[0]),
                max_headers: counts[0],
                max_target_bytes: ByteSize(sizes[1]),
                max_body_bytes: ByteSize(sizes[2]),
                max_connections: sizes[3],
                trusted_proxies,
                drain_delay: times.4,
                drain_timeout: times.5,
                max_concurrent_streams: counts[1],
                ping_interval,
            }
        },
    )
}
