"""Hostile header fields that a request may have: they are let in with it, and not sent to fal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import pytest
from support.gateway_process import JSON, Gateway, Rig, ask, bearer, message
from support.hostile_targets import GOOD
from support.in_process_gateway import ENDPOINT, ENVIRON, INPUT, QUEUED
from support.scripted_upstream import Recording

from proxy import __version__

SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()
BODY = json.dumps(INPUT).encode()
# Both modes of one submit: where it goes, and the fields that takes.
MODES = {"path": (SUBMIT, ()), "header": (b"/api/fal/proxy", (b"x-fal-target-url: " + GOOD,))}

# H7 to H13: nothing of these may reach fal, change what does, or decide anything here.
IGNORED: dict[str, tuple[bytes, ...]] = {
    "forwarding": (b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Host: evil.test", b"X-Forwarded-Proto: http"),
    "forwarded": (b"Forwarded: for=1.2.3.4;host=evil.test;proto=http", b"Via: 1.0 evil.test"),
    "addresses": (b"X-Real-IP: 1.2.3.4", b"True-Client-IP: 1.2.3.4", b"CF-Connecting-IP: 1.2.3.4"),
    "routing": (b"X-Original-URL: /evil", b"X-Rewrite-URL: /evil", b"X-Forwarded-Prefix: /evil", b"X-Host: evil.test"),
    "methods": (b"X-HTTP-Method-Override: DELETE", b"X-Method-Override: GET", b"X-HTTP-Method: PUT"),
    "credentials": (b"Proxy-Authorization: Key a:b", b"Cookie: session=1; fal_key=a:b", b"X-Api-Key: a:b"),
    "fal-credentials": (b"X-Fal-Cdn-Token: a", b"X-Fal-Key: a:b", b"X-Fal-Cdn-Authorization: Bearer a"),
    "browser": (b"Origin: https://evil.test", b"Referer: https://evil.test/", b"Sec-Fetch-Site: cross-site"),
    "conditional": (
        b"Range: bytes=0-1",
        b"If-None-Match: *",
        b"If-Match: x",
        b"If-Range: x",
        b"Cache-Control: no-cache",
    ),
    "encodings": (b"Accept-Encoding: gzip, br", b"TE: trailers, deflate;q=1", b"Accept-Charset: utf-16"),
    "accept": (b"Accept: text/html", b"Accept-Language: x", b"User-Agent: evil/1.0 (\xff)"),
    "hop-by-hop": (b"Keep-Alive: timeout=9", b"Proxy-Connection: keep-alive", b"Trailer: X-Fal-Store-IO"),
    "storage": (b"X-Fal-Store-IO: 1", b"X-Fal-Object-Lifecycle: {}"),
    "fal-internal": (b"X-Fal-Retry-Config: {}", b"X-App-Fal-Disable-Fallback: 0", b"X-App-Fal-Can-Disable-Filter: 1"),
    "fal-unknown": (b"X-Fal-Webhook: https://evil.test", b"Fal-Webhook: https://evil.test"),
    "ids": (b"X-Request-Id: evil", b"X-Fal-Request-Id: evil", b"X-Correlation-Id: evil", b"Traceparent: 00-0-0-00"),
    "underscores": (b"Authorization_: x", b"X_Fal_Target_Url: https://evil.test/", b"X_Fal_Queue_Priority: low"),
    "underscored-own": (
        b"Content_Length: 0",
        b"Content_Type: text/html",
        b"Transfer_Encoding: chunked",
        b"Host_: evil",
    ),
    "nominated": (b"Connection: authorization, content-type, user-agent, accept, host, x-fal-target-url",),
    "nominated-lower": (b"connection: AUTHORIZATION,content-length, accept-encoding",),
    "nominated-twice": (b"Connection: x-a", b"Connection: keep-alive, x-b, host", b"X-A: 1", b"X-B: 2"),
    "cgi": (b"Proxy: http://evil.test", b"Content-Location: /evil", b"Destination: /evil", b"Expect-CT: x"),
    "not-utf-8": (b"X-Evil: \xff\xfe\x80", b"X-Fal-\x7eevil: \xe2\x80\xae"),
    "empty": (b"X-Empty:", b"Referer:", b"Origin:"),
    "many": tuple(b"X-Evil-%d: %d" % (n, n) for n in range(80)),
    "continue": (b"Expect: 100-continue",),
}
KEPT: dict[str, tuple[bytes, ...]] = {
    "priority": (b"X-Fal-Queue-Priority: low",),
    "nominated": (b"X-Fal-Queue-Priority: low", b"Connection: x-fal-queue-priority"),
    "all": (
        b"X-FAL-REQUEST-TIMEOUT: 30.0",
        b"x-fal-request-start-timeout: 12",
        b"X-Fal-Queue-Priority: normal",
        b"X-Fal-Runner-Hint: a.b_c-1",
        b"X-Fal-No-Retry: yes",
        b"X-Fal-Store-IO: 0",
        b'X-Fal-Object-Lifecycle-Preference: {"expiration_duration_seconds":60}',
        b"X-App-Fal-Disable-Fallback: 1",
        b"X-Fal-Tags: team=a",
    ),
}


@pytest.fixture(scope="module")
def open_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Recording]]:
    recording = Recording(json.dumps(QUEUED).encode())
    with Rig(tmp_path_factory.mktemp("open")) as rig:
        upstream = rig.upstream(recording)
        yield rig.gateway(upstream.url), recording


def heard(gateway: Gateway, forwarded: Iterable[bytes] = ()) -> bytes:
    """Returns the expected bytes of a submit to fal."""
    fields = [
        b"host: " + gateway.parts.config.fal.queue_origin.removeprefix("http://").encode(),
        f"authorization: Key {ENVIRON['FAL_KEY']}".encode(),
        f"user-agent: fal-auth-proxy/{__version__}".encode(),
        b"accept: application/json",
        b"accept-encoding: identity",
        b"content-type: application/json",
        *forwarded,
    ]
    body = json.dumps(INPUT, separators=(",", ":")).encode()
    head = b"\r\n".join([f"POST /{ENDPOINT} HTTP/1.1".encode(), *fields, b"content-length: %d" % len(body)])
    return head + b"\r\n\r\n" + body


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", IGNORED)
def test_hostile_fields_stay_here(open_gate: tuple[Gateway, Recording], name: str, mode: str) -> None:
    """The request to fal is the same to the byte, and the answer repeats none of them."""
    gateway, recording = open_gate
    recording.requests.clear()
    path, target = MODES[mode]
    answer = ask(gateway.address, message("POST", path, bearer(), JSON, *target, *IGNORED[name], body=BODY))

    assert recording.requests == [heard(gateway)]
    assert b"HTTP/1.1 200 OK\r\n" in answer
    assert b"evil" not in answer.lower()


@pytest.mark.parametrize("name", KEPT)
def test_callers_own_fields_go_on(open_gate: tuple[Gateway, Recording], name: str) -> None:
    """The ones that mean something to fal arrive as they were, and no Connection field takes one away."""
    gateway, recording = open_gate
    recording.requests.clear()
    ask(gateway.address, message("POST", SUBMIT, bearer(), JSON, *KEPT[name], body=BODY))
    pairs = [line.split(b": ", 1) for line in KEPT[name] if not line.startswith(b"Connection")]

    assert recording.requests == [heard(gateway, [key.lower() + b": " + value for key, value in pairs])]
