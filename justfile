# The one entry point; the steps themselves are in .ci/run, so that CI and a laptop run the same lines.

_default:
    @just --list --unsorted

# Control plane, one data plane and demo targets in one process, on loopback.
dev *ARGS:
    cargo run --release -- dev {{ ARGS }}

# Everything CI runs, in its order.
ci:
    .ci/run

# One step of CI: packages, fmt, clippy, doc, test or bench.
step NAME:
    .ci/run {{ NAME }}

fmt:
    cargo fmt --all

lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, or those of one crate: just test -p policy router
test *ARGS='--workspace':
    cargo test {{ ARGS }}

bench *ARGS='--workspace':
    cargo bench {{ ARGS }}

# Constant load, WebSockets and slow downloads over 200 applies: nothing may be lost.
soak *ARGS:
    cargo run --release -p tests --bin soak -- {{ ARGS }}

# Idle keep-alive connections: memory of each.
idle *ARGS:
    cargo run --release -p tests --bin idle -- {{ ARGS }}

# A 10 000-route file saved: milliseconds until every data plane serves it.
reload *ARGS:
    cargo run --release -p tests --bin reload -- {{ ARGS }}

# Retries through a brown-out: amplification and client success, second by second.
brownout *ARGS:
    cargo run --release -p tests --bin brownout -- {{ ARGS }}

# A limit by header, a million values of it: memory of a data plane.
keys *ARGS:
    cargo run --release -p tests --bin keys -- {{ ARGS }}

# A million requests of which no two have the same path, method or host: series and memory of a data plane.
series *ARGS:
    cargo run --release -p tests --bin series -- {{ ARGS }}

# A scrape of 1 000 routes: milliseconds, and what requests feel of it.
scrape *ARGS:
    cargo run --release -p tests --bin scrape -- {{ ARGS }}

# CPU time per request by TLS and HTTP/2, beside nginx, HAProxy and Envoy where they are.
protocols *ARGS:
    cargo build --release --workspace --bins
    tests/load/protocols.py {{ ARGS }}

# libFuzzer on one target of dataplane/policy/tests/fuzz: just fuzz configs 600
fuzz TARGET SECONDS='60':
    .ci/fuzz {{ TARGET }} {{ SECONDS }}

# The programs as they are released, the data plane optimised by what a load shows of it: into target/release-pgo.
release *DIRECTORY:
    deploy/release {{ DIRECTORY }}

# A problem on a real fleet and how it is found: flood, cascade, reload, tokens, balance, health. See docs/drills.md.
drill NAME:
    cargo run -p tests --bin drill -- {{ NAME }}

# Licences, advisories, banned crates (needs cargo-deny and the network).
deny:
    cargo deny check
