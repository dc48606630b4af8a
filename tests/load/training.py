#!/usr/bin/env python3
"""The load from which a compiler learns what a data plane does all day (profile-guided optimisation).

Runs one data plane, whose program was built to write a profile, through what it is for: HTTP/1.1 and HTTP/2, in the clear
and by TLS, short and long bodies both ways, a route with nothing and a route with every filter that looks at a request,
refusals among them. It is over when the data plane has drained and so has written its profile, to LLVM_PROFILE_FILE.

Needs nginx, h2load (nghttp2-client), curl, openssl, taskset. `deploy/release` runs it:

    LLVM_PROFILE_FILE=one.profraw tests/load/training.py --programs DIRECTORY
"""

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
import tempfile
import time

import protocols

SECRET = b"what signs the tokens of a training load"
GATEWAY = """
server: {{port: {plain}, protocols: [h2, http1], drain_delay: 100ms}}
listeners:
  - name: tls
    port: {tls}
    protocols: [h2, http1]
    tls: {{certificates: [{{cert: {dir}/cert.pem, key: {dir}/key.pem}}]}}
upstreams:
  - name: one
    targets: [{{addr: "http://127.0.0.1:{target}"}}]
  - name: guarded
    balancer: least_request
    targets: [{{addr: "http://127.0.0.1:{target}"}}, {{addr: "http://127.0.0.2:{target}"}}]
    health_check: {{path: /small}}
    outlier: {{consecutive_errors: 5}}
routes:
  - name: bare
    prefix: /
    upstream: one
  - name: stripped
    prefix: /api/v1/users
    strip_prefix: true
    upstream: one
  - name: guarded
    prefix: /guarded
    strip_prefix: true
    upstream: guarded
    filters:
      - rate_limit: {{qps: 100000000, burst: 100000000, key: client_ip}}
      - auth: {{type: jwt, secret: "{secret}"}}
      - circuit_breaker: {{threshold: 5, timeout: 30s}}
      - concurrency: {{max: 1000}}
      - retry: {{max_retries: 2, retry_on: [502, 503, 504]}}
      - cors: {{allow_origins: ["*"], allow_methods: [GET, POST]}}
      - request_id: {{}}
      - compression: {{}}
      - logging: {{format: json, output: {dir}/access.log}}
      - metrics: {{enabled: true}}
"""


def free_ports(count):
    """That nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def token():
    """Signed by HS256, good for a day."""

    def encoded(raw):
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "training", "exp": int(time.time()) + 86400})
    signed = b".".join(encoded(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + encoded(hmac.new(SECRET, signed, hashlib.sha256).digest())).decode()


def cases(plain, tls, body):
    """Where to, by which of h2load's options, and how often: most of it what most requests are."""
    signed, origin = ["-H", f"Authorization: Bearer {token()}"], ["-H", "Origin: https://a.test"]
    h1, h2, post = ["--h1", "-c", "50"], ["-c", "10", "-m", "10"], ["-d", body]
    yield f"{plain}/api/v1/users/small", h1, 200_000
    yield f"{plain}/guarded/small", [*h1, *signed, *origin], 100_000
    few_h1, few_h2 = ["--h1", "-c", "5"], ["-c", "1", "-m", "5"]
    for base, protocol, few in [(plain, h1, few_h1), (plain, h2, few_h2), (tls, h1, few_h1), (tls, h2, few_h2)]:
        yield f"{base}/small", protocol, 50_000
        yield f"{base}/guarded/small", [*protocol, *signed], 20_000
        yield f"{base}/guarded/small", protocol, 5_000
        yield f"{base}/small", [*protocol, *post], 10_000
        yield f"{base}/large", few, 300
        yield f"{base}/guarded/large", [*few, *signed, "-H", "Accept-Encoding: gzip"], 30
    # nothing but new connections
    yield f"{tls}/small", ["--h1", "-c", "100"], 100
    yield f"{plain}/small", ["--h1", "-c", "100"], 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, help="where controlplane and dataplane are")
    parser.add_argument("--effort", type=float, default=1, help="a multiple of the requests of each case")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        os.chmod(directory, 0o755)  # nginx's workers are another user
        protocols.prepare(directory)
        plain, tls, control, admin, protocols.TARGET = free_ports(5)
        body = os.path.join(directory, "body")
        with open(body, "wb") as file:
            file.write(b"x" * 2048)
        target = protocols.write(directory, "target.conf", protocols.NGINX_TARGET, small="x" * 128)
        values = {"tls": tls, "plain": plain, "secret": SECRET.decode()}
        config = protocols.write(directory, "gateway.yaml", GATEWAY, **values)
        stack.enter_context(protocols.running([protocols.NGINX_PROGRAM, "-c", target, "-e", "stderr"], 1))
        control_plane, data_plane = protocols.gateway(arguments.programs, directory, config, control, admin)
        stack.enter_context(protocols.running(control_plane, 1))
        gateway = stack.enter_context(protocols.running(data_plane, 0))
        if not protocols.answers(tls):
            sys.exit("the gateway does not answer")
        for url, options, requests in cases(f"http://localhost:{plain}", f"https://localhost:{tls}", body):
            clients = int(options[options.index("-c") + 1])
            answered(url, options, max(clients, int(requests * arguments.effort)))
        os.kill(gateway.pid, signal.SIGTERM)
        if gateway.wait(timeout=60) != 0:
            sys.exit("the gateway did not end as it should")


def answered(url, options, requests):
    """Refused or not, every request has an answer."""
    out = protocols.h2load(url, options, requests)
    if f" {requests} done" not in out or " 0 errored, 0 timeout" not in out or " 0 5xx" not in out:
        sys.exit(f"{url} with {' '.join(options)} fails:\n{out}")


if __name__ == "__main__":
    main()
