#!/usr/bin/env python3
"""CPU time per request by TLS and by HTTP/2, of the gateway beside nginx, HAProxy and Envoy in one run.

Each proxy has one worker on core 0; h2load and the target (nginx) have core 1. All get the same certificate (ECDSA
P-256), speak HTTP/1.1 to the target and keep connections. Rounds are interleaved, medians are shown, each also as a
ratio to the best peer. What is counted is the CPU time of the proxy's processes, as a neighbour on the machine changes
requests per second, but hardly that.

Needs nginx, h2load (nghttp2-client), openssl, taskset; HAProxy and Envoy (--envoy PATH) where they are.

    cargo build --release --workspace --bins && tests/load/protocols.py --programs target/release
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SYSTEM = "/usr/sbin:" + os.environ["PATH"]
NGINX_PROGRAM, HAPROXY_PROGRAM = shutil.which("nginx", path=SYSTEM), shutil.which("haproxy", path=SYSTEM)
TARGET = 19100
CASES = {
    # name: (port offset, scheme, h2load's arguments)
    "h1 tls": (1, "https", ["--h1", "-c", "50"]),
    "h2c": (2, "http", ["-c", "10", "-m", "10"]),
    "h2 tls": (1, "https", ["-c", "10", "-m", "10"]),
}
# name: (path, requests in a round)
BODIES = {"128 B": ("/small", 60_000), "1 MiB": ("/large", 1_500)}

NGINX_TARGET = """
daemon off; worker_processes 1; error_log stderr crit; pid {dir}/target.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; default_type text/plain;
  server {{
    listen 127.0.0.1:{target}; listen 127.0.0.2:{target};
    location /small {{ return 200 "{small}"; }}
    location /large {{ root {dir}; }}
  }}
}}
"""
NGINX = """
daemon off; worker_processes 1; error_log stderr crit; pid {dir}/proxy.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  upstream target {{ server 127.0.0.1:{target}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{plain} http2;
    http2_max_requests 1000000000;
    ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Request-ID $request_id;
    }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  log /dev/null local0
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  unique-id-format %{{+X}}o%pid%ms%rt
  unique-id-header X-Request-ID
frontend in
  bind 127.0.0.1:{tls} ssl crt {dir}/both.pem alpn h2,http/1.1
  bind 127.0.0.1:{plain} proto h2
  default_backend target
backend target
  http-reuse always
  server one 127.0.0.1:{target}
"""
ENVOY = """
static_resources:
  listeners:
    - name: plain
      address: {{socket_address: {{address: 127.0.0.1, port_value: {plain}}}}}
      filter_chains: [{{filters: [&http {{name: envoy.filters.network.http_connection_manager, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: in, codec_type: AUTO, use_remote_address: true,
        http_filters: [{{name: envoy.filters.http.router, typed_config: {{
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}],
        route_config: {{virtual_hosts: [{{name: all, domains: ["*"],
          routes: [{{match: {{prefix: /}}, route: {{cluster: target}}}}]}}]}}}}}}]}}]
    - name: tls
      address: {{socket_address: {{address: 127.0.0.1, port_value: {tls}}}}}
      filter_chains:
        - filters: [*http]
          transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
            common_tls_context: {{alpn_protocols: [h2, http/1.1], tls_certificates: [{{
              certificate_chain: {{filename: {dir}/cert.pem}}, private_key: {{filename: {dir}/key.pem}}}}]}}}}}}
  clusters:
    - name: target
      connect_timeout: 5s
      load_assignment: {{cluster_name: target, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{
        socket_address: {{address: 127.0.0.1, port_value: {target}}}}}}}}}]}}]}}
"""
GATEWAY = """
server: {{port: {plain}, protocols: [h2, http1]}}
listeners:
  - name: tls
    port: {tls}
    protocols: [h2, http1]
    tls: {{certificates: [{{cert: {dir}/cert.pem, key: {dir}/key.pem}}]}}
routes:
  - name: all
    prefix: /
    targets: [{{addr: "http://127.0.0.1:{target}"}}]
"""


def write(directory, name, text, **values):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text.format(dir=directory, target=TARGET, **values))
    return path


def prepare(directory):
    """A certificate and the bodies."""
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    with open(os.path.join(directory, "both.pem"), "w") as both:
        both.write(open(cert).read() + open(key).read())
    with open(os.path.join(directory, "large"), "wb") as large:
        large.write(os.urandom(1 << 20))


def commands(arguments, directory):
    """Each proxy's first port and its programs, the last of which is measured."""
    found = {}

    def peer(name, port, program, file, config, *options):
        if program:
            path = write(directory, file, config, tls=port + 1, plain=port + 2)
            found[name] = (port, [[program, *(path if option == "FILE" else option for option in options)]])

    peer("nginx", 19200, NGINX_PROGRAM, "nginx.conf", NGINX, "-c", "FILE", "-e", "stderr")
    peer("haproxy", 19300, HAPROXY_PROGRAM, "haproxy.cfg", HAPROXY, "-f", "FILE")
    quiet = ["--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    peer("envoy", 19400, arguments.envoy, "envoy.yaml", ENVOY, "-c", "FILE", *quiet)
    port = 19500
    config = write(directory, "gateway.yaml", GATEWAY, tls=port + 1, plain=port + 2)
    found["gateway"] = (port, gateway(arguments.programs, directory, config, port + 3, port + 4))
    return found


@contextlib.contextmanager
def running(command, core):
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def family(pid):
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                todo += map(int, open(f"/proc/{one}/task/{task}/children").read().split())
    return found


def cpu(pid):
    """Seconds that the process and its children have used."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                total += int(open(f"/proc/{one}/task/{task}/schedstat").read().split()[0])
    return total / 1e9


def gateway(programs, directory, config, control, admin):
    """The commands of a control plane and of a data plane with one worker; the latter two are ports."""
    control = f"127.0.0.1:{control}"
    return [
        [f"{programs}/controlplane", "--config", config, "--listen", control]
        + ["--state-dir", f"{directory}/controlplane"],
        [f"{programs}/dataplane", "--control-plane", f"http://{control}", "--instance", "bench"]
        + ["--bind", "127.0.0.1", "--admin", f"127.0.0.1:{admin}", "--workers", "1"]
        + ["--state-dir", f"{directory}/dataplane"],
    ]


def h2load(url, options, requests):
    """What it says of them."""
    command = ["taskset", "-c", "1", "h2load", "-t", "1", "-n", str(requests), *options, url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def load(url, options, requests):
    """All must be answered."""
    out = h2load(url, options, requests)
    if f" {requests} succeeded, 0 failed, 0 errored" not in out:
        sys.exit(f"{url} fails under load:\n{out}")


def answers(port):
    for _ in range(100):
        with contextlib.suppress(OSError):
            command = ["curl", "-sko", "/dev/null", "-w", "%{http_code}", f"https://localhost:{port}/small"]
            if subprocess.run(command, capture_output=True, text=True).stdout == "200":
                return True
        time.sleep(0.1)
    return False


def measure(name, port, programs, figures, effort):
    with contextlib.ExitStack() as stack:
        for beside in programs[:-1]:
            stack.enter_context(running(beside, 1))
        process = stack.enter_context(running(programs[-1], 0))
        if not answers(port + 1):
            sys.exit(f"{name} does not answer")
        for case, (offset, scheme, options) in CASES.items():
            for body, (path, requests) in BODIES.items():
                url = f"{scheme}://localhost:{port + offset}{path}"
                load(url, options, requests // 10)
                requests = int(requests * effort)
                began = cpu(process.pid)
                load(url, options, requests)
                used = cpu(process.pid) - began
                figures.setdefault((case, body), {}).setdefault(name, []).append(used / requests * 1e6)


def report(figures):
    for (case, body), by_name in figures.items():
        medians = {name: statistics.median(all_of_it) for name, all_of_it in by_name.items()}
        best = min((median for name, median in medians.items() if name != "gateway"), default=None)
        print(f"{case}, {body}: CPU us/request")
        for name, median in sorted(medians.items(), key=lambda one: one[1]):
            print(f"  {name:8} {median:10.2f}" + (f"  x{median / best:.2f}" if best else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", default="target/release", help="where controlplane and dataplane are")
    parser.add_argument("--envoy", help="path of Envoy")
    parser.add_argument("--only", help="names of proxies, by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--effort", type=float, default=1, help="a multiple of the requests of each case and round")
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # nginx's workers are another user
        prepare(directory)
        target = write(directory, "target.conf", NGINX_TARGET, small="x" * 128)
        proxies = commands(arguments, directory)
        if arguments.only:
            proxies = {name: one for name, one in proxies.items() if name in arguments.only.split(",")}
        with running([NGINX_PROGRAM, "-c", target, "-e", "stderr"], 1):
            for _ in range(arguments.rounds):
                for name, (port, programs) in proxies.items():
                    measure(name, port, programs, figures, arguments.effort)
    report(figures)


if __name__ == "__main__":
    main()
