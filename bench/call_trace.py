"""Trace of the Python calls of one request: calls, modules and changes of module.

Run as `python bench/call_trace.py` in the root of a checkout. The service runs in the main thread under
`sys.setprofile`; its caller and its upstream are plain sockets in other threads, which are not traced. Each figure is
the smallest of several requests, so that a timer of the event loop does not count. The argument `--calls=submit`,
`--calls=keyed` or `--calls=poll` lists the calls of one of them.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path.cwd()
PACKAGE = f"{ROOT}/proxy/"
ENDPOINT, APP = "fal-ai/hyper-sdxl/image-to-image", "fal-ai/hyper-sdxl"
JOB = "764cabcf-b745-4b3e-ae38-1200304cf45b"
INPUT = json.dumps({"image_url": "https://example.com/cat.png", "prompt": "a cat"}).encode()
ISSUER, AUDIENCE = "https://app.example.com", "fal-proxy"
SECRET = "session-" + "5b1f0c8e9d7a4f3b2e6c" * 2
ROUNDS = 7
LISTED = next((argument.partition("=")[2] for argument in sys.argv if argument.startswith("--calls=")), "")
QUIET = 0.05  # seconds after an answer in which the service ends its own work on the request
CONFIG = """
[server]
public_origin = "http://127.0.0.1:@port@"
port = @port@
[admin]
port = 0
[fal]
queue_origin = "http://127.0.0.1:@upstream@"
run_origin = "http://127.0.0.1:@upstream@"
rest_origin = "http://127.0.0.1:@upstream@"
[[sessions]]
issuer = "https://app.example.com"
audience = "fal-proxy"
algorithm = "HS256"
secret_env = "SESSION_SECRET"
[[endpoints]]
id = "fal-ai/hyper-sdxl/image-to-image"
price = "1.0"
[[limits]]
name = "all"
per = "user"
actions = ["submit", "status"]
rate = "100000/minute"
[[budgets]]
name = "daily"
per = "user"
window = "day"
limit = 100000
[[in_flight]]
name = "jobs"
per = "user"
limit = 100000
[ledger]
path = ":memory:"
"""

calls: list[CodeType] = []


def profile(frame: FrameType, event: str, _: object) -> None:
    """Records each call of a function of the package; the re-entry of a suspended coroutine is a call too."""
    if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
        calls.append(frame.f_code)


def answer(connection: socket.socket) -> None:
    """Answers each request on *connection* as fal answers a submit or a poll."""
    with connection:
        while head := _message(connection):
            status = b"200 OK" if head.startswith(b"POST") else b"202 Accepted"
            body = json.dumps({"status": "IN_QUEUE", "request_id": JOB, "queue_position": 0, "logs": None}).encode()
            fields = b"content-type: application/json\r\ncontent-length: %d" % len(body)
            connection.sendall(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, fields, body))


def _message(connection: socket.socket) -> bytes:
    """Reads one whole message, or b"" at the end of the connection."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (some := connection.recv(65536)):
            return b""
        received += some
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def upstream(listening: socket.socket) -> None:
    while True:
        threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()


def trace(connection: socket.socket, requests: list[bytes]) -> tuple[list[CodeType], bytes]:
    """Returns the smallest trace of *requests*, and the last answer."""
    traces = []
    response = b""
    for request in requests:
        time.sleep(QUIET)
        start = len(calls)
        connection.sendall(request)
        response = _message(connection)
        time.sleep(QUIET)
        traces.append(calls[start:])
    return min(traces[2:], key=len), response  # the first two warm caches and connections


def request(method: str, path: str, *fields: str, body: bytes = b"") -> bytes:
    head = [f"{method} /api/fal{path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {TOKEN}", *fields]
    return ("\r\n".join([*head, f"content-length: {len(body)}"]) + "\r\n\r\n").encode() + body


def report(name: str, trace: list[CodeType]) -> None:
    """Prints one row of the table."""
    modules = [code.co_filename.removeprefix(PACKAGE) for code in trace]
    folders = [module.rpartition("/")[0] for module in modules]
    print(
        f"{name:8} {len(trace):5} calls  {len(set(modules)):3} modules  {_changes(modules):4} module changes  "
        f"{len(set(folders)):3} folders  {_changes(folders):4} folder changes",
        file=sys.stderr,
    )
    if name == LISTED:
        for code, module in zip(trace, modules, strict=True):
            print(f"    {module}:{code.co_firstlineno} {code.co_qualname}", file=sys.stderr)


def _changes(names: list[str]) -> int:
    return sum(one != other for one, other in pairwise(names))


def drive(port: int) -> None:
    """Traces the requests of a caller, then ends the process, also after an error."""
    try:
        _trace_all(port)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _trace_all(port: int) -> None:
    """Traces a submit, a submit with a key and a poll."""
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.05)
    json_type = "content-type: application/json"
    submit = f"/queue/{ENDPOINT}"
    submits = [request("POST", submit, json_type, body=INPUT) for _ in range(ROUNDS)]
    keyed = [request("POST", submit, json_type, f"idempotency-key: k{i}", body=INPUT) for i in range(ROUNDS)]
    rows = {}
    rows["submit"], response = trace(connection, submits)
    handle = json.loads(response.partition(b"\r\n\r\n")[2])["request_id"]
    rows["keyed"], _ = trace(connection, keyed)
    rows["poll"], _ = trace(connection, [request("GET", f"/queue/{APP}/requests/{handle}/status")] * ROUNDS)
    for name, traced in rows.items():
        report(name, traced)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _mint() -> str:
    """Returns a session token, signed here so that no version of the package has to be imported for it."""

    def part(value: dict[str, object]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 3600}
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    mac = hmac.digest(SECRET.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


TOKEN = _mint()


def main() -> None:
    sys.path.insert(0, str(ROOT))
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=upstream, args=(listening,), daemon=True).start()
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "trace.toml")
        text = CONFIG.replace("@port@", str(port)).replace("@upstream@", str(listening.getsockname()[1]))
        config.write_text(text)
        os.environ.update(
            FAL_KEY="canary-id:canary-secret-5f1c",
            SESSION_SECRET=SECRET,
            FAL_PROXY_HANDLE_SECRETS="handle-secret-of-the-trace-000001",
        )
        threading.Thread(target=drive, args=(port,), daemon=True).start()
        sys.argv = ["fal-proxy", "serve", str(config)]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the log; the table goes to standard error
        sys.setprofile(profile)
        runpy.run_module("proxy", run_name="__main__")


if __name__ == "__main__":
    main()
