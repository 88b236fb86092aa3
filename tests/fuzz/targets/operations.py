"""Targets of requests: what a route and `x-fal-target-url` resolve to, and the request to fal."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
from fuzz.target import Target
from support.hostile_targets import GOOD, PATH_ROWS, URL_ROWS
from support.hostile_webhooks import HOSTS, ROWS

from proxy.auth.authorization import Grant
from proxy.auth.caller import Caller
from proxy.auth.job_handles import JobHandles
from proxy.errors import BadRequest, Forbidden, JobNotFound, MethodNotAllowed, NotFound, Refusal, TargetNotFal
from proxy.fal_api import operations
from proxy.fal_api.call_ranks import CallRanks
from proxy.fal_api.operations import SURFACES, Action, Surface
from proxy.http.server.load_limit import Rank
from proxy.upstream.request_builder import PATHS, RequestBuilder

METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")
PARAMETERS = frozenset({"logs", "fal_max_queue_length", "storage_type", "fal_webhook"})
HOST = "queue.fal.run"

_CALLER = Caller("https://issuer.test", "alice", "0" * 64, frozenset(), 0.0, {})
_HANDLES = JobHandles([bytes(range(32))])
_BUILDER = RequestBuilder(b"Key canary")
_RANKS = CallRanks(frozenset(), b"/webhooks/")
_HEADER_HOSTS = {Surface.QUEUE: b"https://queue.fal.run", Surface.RUN: b"https://fal.run"}


def check(data: bytes) -> None:
    """Checks *data*: a byte for the method, the lines route, and perhaps query and `x-fal-target-url`."""
    if not data:
        return
    method = METHODS[data[0] % len(METHODS)]
    lines = data[1:].split(b"\n")
    route, query = (*lines, b"")[:2]
    url = lines[2] if len(lines) > 2 else None
    assert _RANKS.rank(method, route + b"?" + query, [(b"x-fal-target-url", url or b"")]) in Rank
    target = _resolve(method, route, query, url)
    if isinstance(target, operations.Target):
        _check_target(target, url)
    if url is None and b"?" not in data and b"#" not in data:
        _check_both_modes(method, route, query, target)


def _resolve(method: str, route: bytes, query: bytes, url: bytes | None) -> operations.Target | type[Refusal]:
    try:
        target = operations.resolve(method, route, query, url, webhook_hosts=HOSTS)
    except (NotFound, BadRequest, MethodNotAllowed, TargetNotFal, Forbidden) as refusal:
        return type(refusal)
    assert target == operations.resolve(method, route, query, url, webhook_hosts=HOSTS)
    return target


def _check_target(target: operations.Target, url: bytes | None) -> None:
    if target.action in PATHS:
        # The constructor of the request refuses what would change its framing.
        request = _BUILDER.build(Grant(_CALLER, target, "upstream-id"))
        _check_path(request.path.decode("ascii"))
        assert request.headers[0] == (b"authorization", b"Key canary")
        assert b"canary" not in request.path
    if target.surface is not Surface.STORAGE and target.action is not Action.JOBS:
        assert target.endpoint == target.app or target.endpoint.startswith(target.app + "/")
        assert "requests" not in target.endpoint.split("/")
    if target.handle is not None:
        _check_handle(target.handle, target.app)
    if url is not None:
        # The id of a job is opaque here, so it may have characters that no URL has.
        text = url.decode("latin-1")
        _check_url(text.replace(f"/requests/{target.handle}", "/requests/id") if target.handle else text, target)


def _check_path(path: str) -> None:
    """Checks that two other parsers see fal's host, the same normal path and only listed parameters."""
    parts, other = urlsplit(f"https://{HOST}{path}"), httpx2.URL(f"https://{HOST}{path}")
    assert (parts.hostname, parts.port, parts.username, parts.fragment) == (HOST, None, None, "")
    assert (other.host, other.raw_path) == (HOST, path.encode("ascii"))
    assert posixpath.normpath(parts.path) == parts.path.removesuffix("/")
    assert not set(parts.path) & set("%\\;@:*?#[]"), path
    parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    assert len(dict(parameters)) == len(parameters)
    assert {name for name, _ in parameters} <= PARAMETERS
    webhook = dict(parameters).get("fal_webhook")
    if webhook is not None:
        receiver, same = urlsplit(webhook), httpx2.URL(webhook)
        assert (receiver.scheme, receiver.netloc, same.host) == ("https", receiver.hostname, receiver.hostname)
        assert receiver.hostname in HOSTS
        assert receiver.fragment == ""
        assert unquote(receiver.path) == receiver.path


def _check_url(url: str, target: operations.Target) -> None:
    """Checks that other parsers see one of fal's hosts in a URL that was accepted, and the same endpoint."""
    parts, other = urlsplit(url), httpx2.URL(url)
    for host in (parts.netloc, other.netloc.decode("ascii")):
        assert SURFACES[host.encode("ascii")] is target.surface
    assert parts.scheme == other.scheme == "https"
    if target.surface is not Surface.STORAGE:
        assert f"{parts.path}/".startswith(f"/{target.endpoint}/")


def _check_handle(handle: str, app: str) -> None:
    try:
        name = _HANDLES.verify(handle, owner=_CALLER.key, app=app)
    except JobNotFound:
        return
    assert handle == _HANDLES.sign(name.upstream_id, owner=_CALLER.key, app=app)


def _check_both_modes(method: str, route: bytes, query: bytes, target: operations.Target | type[Refusal]) -> None:
    """Checks that the header mode resolves the same path to the same target, or refuses it alike."""
    for surface, origin in _HEADER_HOSTS.items():
        prefix = b"/" + surface.value.encode()
        if route.startswith(prefix + b"/"):
            path = route.removeprefix(prefix)
            url = origin + path + (b"?" + query if query else b"")
            assert _resolve(method, b"/proxy", b"", url) == target


def seeds() -> Iterable[bytes]:
    """Yields the hostile targets and webhooks in both modes, and good ones."""
    for _, method, url, _ in URL_ROWS:
        yield bytes([METHODS.index(method)]) + b"/proxy\n\n" + url
    for _, method, path, query, _ in PATH_ROWS:
        yield bytes([METHODS.index(method)]) + b"/queue" + path + b"\n" + query
    for _, value in ROWS:
        yield b"\1/queue/fal-ai/flux/dev\nfal_webhook=" + value
    yield b"\1/queue/fal-ai/flux/dev\nfal_max_queue_length=5&fal_webhook=https%3A%2F%2Fapp.example.com%2Fhook"
    yield b"\1/proxy\n\n" + GOOD
    handle = _HANDLES.sign("abc-1", owner=_CALLER.key, app="fal-ai/flux").encode()
    job = b"/queue/fal-ai/flux/requests/" + handle
    yield from (b"\0" + job + tail for tail in (b"", b"/", b"/response", b"/status\nlogs=1", b"/status/stream\nlogs=0"))
    yield from (b"\2" + job + b"/cancel", b"\0/proxy\n\nhttps://queue.fal.run" + job.removeprefix(b"/queue"))
    yield from (b"\1/run/fal-ai/flux/dev", b"\1/run/fal-ai/flux/dev/stream", b"\1/quote/fal-ai/flux/dev", b"\0/jobs")
    yield from (b"\1/storage/upload/initiate\nstorage_type=gcs", b"\1/tokens/", b"\1/tokens/realtime")
    yield from (
        b"\1/queue/workflows/a/b/c",
        b"\1/proxy\n\nhttps://wma.fal.run/x",
        b"\1/proxy\n\nhttps://rest.fal.ai/tokens/",
    )


TARGET = Target(
    "operations",
    check,
    seeds,
    words=(
        *b"/ // /. /.. %2e %2f % ? # @ : \\ ; & = /queue /run /proxy".split(),
        *b"/requests/ /status /stream /cancel /response".split(),
        *b"/quote /jobs /tokens/ /storage/upload/initiate https:// http:// queue.fal.run fal.run rest.fal.ai".split(),
        *b"evil.test fal-ai/flux/dev workflows/ comfy/ logs=1 storage_type=gcs fal_webhook= ~alias \xc3\xa9".split(),
        *b"https%3A%2F%2Fapp.example.com%2F fal_max_queue_length=1".split(),
        *(b"\n", b"\t"),
    ),
)
