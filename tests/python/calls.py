"""gRPC by grpcio, without generated code: `server PORT`, or `client ADDRESS`, which plays every kind of call.

The client says what came of each call, a line of JSON each.
"""

import json
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "test.Python"


def unary(request, context):
    context.set_trailing_metadata((("x-trailing", "of python"),))
    return b"unary " + request


def collect(requests, context):
    return b"".join(requests)


def spread(request, context):
    for at in range(int(request)):
        yield str(at).encode()


def echo(requests, context):
    yield from requests


def fail(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100% über")


def time_left(request, context):
    return str(context.time_remaining()).encode()


def serve(port):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Spread": grpc.unary_stream_rpc_method_handler(spread),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "TimeLeft": grpc.unary_unary_rpc_method_handler(time_left),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"listening on 127.0.0.1:{bound}", flush=True)
    server.wait_for_termination()


def say(name, **what):
    print(json.dumps({"name": name, **what}), flush=True)


def failed(name, call):
    try:
        call()
    except grpc.RpcError as error:
        say(name, code=error.code().name, details=error.details())
    else:
        say(name, code="OK", details="")


def play(address):
    # neither proxies of the environment nor retries of its own: what is seen is the gateway's
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    channel = grpc.insecure_channel(address, options=options)
    path = lambda method: f"/{SERVICE}/{method}"

    response, call = channel.unary_unary(path("Unary")).with_call(b"hello", timeout=10)
    trailing = {key: value for key, value in call.trailing_metadata()}
    say("unary", said=response.decode(), trailing=trailing.get("x-trailing"))

    parts = (str(at).encode() for at in range(100))
    say("client_streaming", said=channel.stream_unary(path("Collect"))(parts, timeout=10).decode())

    numbers = channel.unary_stream(path("Spread"))(b"1000", timeout=10)
    say("server_streaming", count=sum(1 for _ in numbers))

    # each message is sent when the one before has come back
    turn = threading.Semaphore(1)

    def questions():
        for at in range(50):
            turn.acquire()
            yield str(at).encode()

    answers = []
    for answer in channel.stream_stream(path("Echo"))(questions(), timeout=10):
        answers.append(answer.decode())
        turn.release()
    say("bidirectional", said=answers)

    large = bytes(3 << 20)
    say("large", length=len(channel.unary_unary(path("Unary"))(large, timeout=20)))

    left = float(channel.unary_unary(path("TimeLeft"))(b"", timeout=30))
    say("deadline", left=left)

    failed("trailers_only", lambda: channel.unary_unary(path("Fail"))(b"", timeout=10))
    failed("no_method", lambda: channel.unary_unary(path("Nothing"))(b"", timeout=10))
    failed("no_route", lambda: channel.unary_unary("/other.Service/Call")(b"", timeout=10))
    failed("refused", lambda: channel.unary_unary("/limited.Service/Call")(b"", timeout=10))
    failed("too_late", lambda: channel.unary_unary("/hanging.Service/Hang")(b"", timeout=0.3))
    failed("unreachable", lambda: channel.unary_unary("/unreachable.Service/Call")(b"", timeout=10))


if __name__ == "__main__":
    {"server": serve, "client": play}[sys.argv[1]](sys.argv[2])
