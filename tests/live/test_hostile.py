"""Hostile requests over real sockets: each row is refused as it should be, and none reaches fal.

One gateway with a known key is in front of an upstream that counts connections. After every table no connection was
opened, and the key is in no answer, log line or metric. The log has one line for each answered request.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from support import hostile_bodies, hostile_targets
from support.gateway_process import JSON, Gateway, Rig, ask, bearer, message, until
from support.hostile_http import HOSTILE, Hostile
from support.hostile_tokens import FAL_KEY, Material, fresh, rows
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, ENVIRON, INPUT, ISSUER, token
from support.raw_http import Reply, exchange, replies
from support.scripted_upstream import Peer, ScriptedServer

SUBMIT = f"/api/fal/queue/{ENDPOINT}".encode()
STATUS = b"/api/fal/queue/fal-ai/hyper-sdxl/requests/abc/status"
PROXY = b"/api/fal/proxy"
TARGET = b"x-fal-target-url: " + hostile_targets.GOOD
BODY = json.dumps(INPUT).encode()
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
ADDRESSES = (f"127.1.{n // 250}.{n % 250 + 1}" for n in count())


class Row(NamedTuple):
    """A request and the statuses it may be answered with."""

    id: str
    raw: bytes
    statuses: tuple[int, ...]


@dataclass
class Siege:
    """The gateway and its upstream, with every answer so far."""

    gateway: Gateway
    upstream: ScriptedServer
    materials: tuple[Material, ...]
    answers: list[bytes] = field(default_factory=list)

    def refuses(self, rows: Iterable[Row]) -> None:
        """Sends each row on its own connection and from its own address, by which bad sessions are counted."""
        wrong = {}
        for row in rows:
            answer = ask(self.gateway.address, row.raw, source=next(ADDRESSES))
            self.answers.append(answer)
            got = [reply.status for reply in replies(answer)]
            if len(got) != 1 or got[0] not in row.statuses:
                wrong[row.id] = (row.statuses, answer)
        assert wrong == {}
        self.stands()

    def stands(self) -> None:
        """Asserts what must be true after any request."""
        assert self.upstream.accepted == 0
        answered = {found for answer in self.answers for found in request_ids(answer)}
        until(lambda: answered <= {line["request_id"] for line in self.gateway.requests()})
        lines = Counter(line["request_id"] for line in self.gateway.requests())
        # Those without an answer were cut off on the way: the listener found the rest of the request malformed.
        silent = {line["status"] for line in self.gateway.requests() if line["request_id"] not in answered}
        assert silent <= {400, 405, 499}
        assert set(lines.values()) == {1}
        sinks = [*self.answers, self.gateway.journal().encode(), self.gateway.metrics().encode()]
        assert not [sink for sink in sinks if any(form in sink for form in secret_forms())]


def request_ids(answer: bytes) -> list[str]:
    """Returns the ids of requests in *answer*: the application names them, and the listener does not."""
    return [found.decode() for found in re.findall(rb"\r\nx-fal-request-id: ([0-9a-f]{32})\r\n", answer)]


def secret_forms() -> list[bytes]:
    """Returns the key and its secret half, plain, URL-encoded, and in base64 from any place."""
    found = []
    for secret in (FAL_KEY, FAL_KEY.partition(b":")[2]):
        encoded = [b64encode(secret[start : (len(secret) - start) // 3 * 3 + start]) for start in range(3)]
        found += [secret, quote(secret, safe="").encode(), *encoded]
    return found


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    home = tmp_path_factory.mktemp("siege")
    materials = tuple(
        fresh(a, issuer=f"https://{a}.example.com", audience=AUDIENCE, now=int(time.time())) for a in ALGORITHMS
    )
    with Rig(home) as rig:
        upstream = rig.upstream(Peer.gone)
        sessions = [session_section(material, home) for material in materials]
        gateway = rig.gateway(
            upstream.url,
            # A connection that was refused lingers for half a second, and one address makes hundreds of them here.
            server={"max_connections_per_address": 1000},
            environ={**ENVIRON, "FAL_KEY": FAL_KEY.decode(), "SESSION_HS256": materials[0].key.decode()},
            sessions=[
                {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"},
                *sessions,
            ],
        )
        yield Siege(gateway, upstream, materials)


def session_section(material: Material, home: Path) -> dict[str, str]:
    session = {"issuer": material.issuer, "audience": material.audience, "algorithm": material.algorithm}
    if not material.public:
        return {**session, "secret_env": "SESSION_HS256"}
    file = home / f"{material.algorithm}.pem"
    file.write_bytes(material.public)
    return {**session, "public_key_file": str(file)}


def submit(*fields: bytes, body: bytes = BODY, session: bool = True) -> bytes:
    """Returns a submit that would be accepted, but for what is given."""
    return message("POST", SUBMIT, *([bearer()] if session else []), *fields, body=body)


def by_header(method: str, url: bytes) -> bytes:
    body = BODY if method == "POST" else None
    return message(method, PROXY, bearer(), JSON, b"x-fal-target-url: " + url, body=body)


def by_path(method: str, path: bytes, query: bytes) -> bytes:
    target = b"/api/fal/queue" + path + (b"?" + query if query else b"")
    return message(method, target, bearer(), JSON, body=BODY if method == "POST" else None)


def test_the_siege_is_real(tmp_path: Path) -> None:
    """The control: the request that the rows below vary is let through, and counted as a connection."""
    with Rig(tmp_path) as rig:
        upstream = rig.upstream(Peer.gone)
        gateway = rig.gateway(upstream.url, fal={"submit_seconds": 0.2})
        answer = ask(gateway.address, submit(JSON))

    assert answer.startswith(b"HTTP/1.1 504 ")
    assert upstream.accepted == 1


def test_targets_by_header(siege: Siege) -> None:
    """U1 to U6: no URL but fal's own, literally, and no path outside its grammar."""
    siege.refuses(
        Row(name, by_header(method, url), (status,)) for name, method, url, status in hostile_targets.URL_ROWS
    )


def test_targets_by_path(siege: Siege) -> None:
    """U3 to U6 and the differential test: in path mode the same rows get the same verdict."""
    siege.refuses(
        Row(name, by_path(method, path, query), (status,))
        for name, method, path, query, status in hostile_targets.PATH_ROWS
    )


def test_modes_are_not_mixed(siege: Siege) -> None:
    """U8: one target a request, and it stands in one place."""
    siege.refuses(
        [
            Row("no-target", message("POST", PROXY, bearer(), JSON, body=BODY), (400,)),
            Row("query-on-proxy", message("POST", PROXY + b"?x=1", bearer(), JSON, TARGET, body=BODY), (400,)),
            Row("both", submit(JSON, TARGET), (400,)),
            Row("two-targets", message("POST", PROXY, bearer(), JSON, TARGET, TARGET, body=BODY), (400,)),
            Row("list", message("POST", PROXY, bearer(), JSON, TARGET + b", x", body=BODY), (400,)),
            Row(
                "underscores", message("POST", PROXY, bearer(), JSON, TARGET.replace(b"-", b"_", 3), body=BODY), (400,)
            ),
            Row("storage", message("POST", b"/api/fal/storage/upload/initiate", bearer(), JSON, body=b"{}"), (403,)),
            Row("run", message("POST", b"/api/fal/run/" + ENDPOINT.encode(), bearer(), JSON, body=BODY), (403,)),
            Row("not-listed", message("POST", b"/api/fal/queue/fal-ai/flux/dev", bearer(), JSON, body=BODY), (403,)),
            Row("listed-but-longer", message("POST", SUBMIT + b"/x", bearer(), JSON, body=BODY), (403,)),
            Row("listed-but-shorter", message("POST", SUBMIT[:-1], bearer(), JSON, body=BODY), (403,)),
            Row("listed-but-upper", message("POST", SUBMIT.replace(b"fal-ai", b"FAL-AI"), bearer(), body=BODY), (403,)),
        ]
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tokens(siege: Siege, algorithm: str) -> None:
    """J1 to J16: every bad session is a 401, two of them a 400, and what is over 8 KiB may be a 431."""
    material = siege.materials[ALGORITHMS.index(algorithm)]
    too_long = {True: (401, 431), False: (401,)}
    siege.refuses(
        Row(
            row.id,
            submit(JSON, *(b"Authorization: " + value for value in row.values), session=False),
            too_long[row.id.startswith("size-")] if row.status == 401 else (row.status,),
        )
        for row in rows(material)
        if row.travels
    )


def test_failed_logins(siege: Siege) -> None:
    """L4: after thirty bad sessions an address is not worth another signature, until a minute has passed."""
    bad = submit(JSON, b"Authorization: Bearer not.a.token", session=False)
    answers = [ask(siege.gateway.address, bad, source="127.9.9.9") for _ in range(40)]
    siege.answers += answers

    assert [replies(answer)[0].status for answer in answers] == [401] * 30 + [429] * 10
    assert 1 <= int(replies(answers[-1])[0].headers[b"retry-after"]) <= 66
    siege.stands()


# Who might claim to have been let in already: by another proxy, as a probe, or under another name of the field.
BYPASSES = (
    b"User-Agent: GoogleHC/1.0",
    b"User-Agent: kube-probe/1.31",
    b"User-Agent: ELB-HealthChecker/2.0",
    b"X-Original-URL: /healthz",
    b"X-Rewrite-URL: /healthz",
    b"X-Forwarded-Uri: /healthz",
    b"X-Forwarded-Path: /healthz",
    b"X-Forwarded-Prefix: /healthz",
    b"X-Forwarded-Method: OPTIONS",
    b"X-HTTP-Method-Override: OPTIONS",
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Real-IP: 127.0.0.1",
    b"Forwarded: for=127.0.0.1;proto=https",
    b"X-Forwarded-User: alice",
    b"X-Auth-Request-User: alice",
    b"X-Forwarded-Email: alice@example.com",
    b"Remote-User: alice",
    b"X-Remote-User: alice",
    b"X-WEBAUTH-USER: alice",
    b"Cookie: session=alice",
    b"Proxy-Authorization: %b",
    b"X-Authorization: %b",
    b"X-Forwarded-Authorization: %b",
    b"X-Original-Authorization: %b",
    b"X_Authorization: %b",
    b"Authorization_: %b",
    b"Sec-WebSocket-Protocol: %b",
    b"X-Fal-Jwt-Token: %b",
    b"X-Api-Key: %b",
)


def test_nothing_stands_in_for_a_session(siege: Siege) -> None:
    """H9 to H12: no field, user agent or query makes up for a missing session, on any route."""
    secret = token().encode()
    routes = {
        "submit": ("POST", SUBMIT, BODY),
        "proxy": ("POST", PROXY, BODY),
        "status": ("GET", STATUS, None),
        "cancel": ("PUT", STATUS.replace(b"status", b"cancel"), None),
        "usage": ("GET", b"/api/fal/usage", None),
        "description": ("GET", b"/api/fal/openapi.json", None),
    }
    headers = [
        Row(
            f"{name} {bypass.decode()}",
            message(method, path, *([TARGET] if path == PROXY else []), JSON, bypass.replace(b"%b", secret), body=body),
            (401,),
        )
        for bypass in BYPASSES
        for name, (method, path, body) in routes.items()
    ]
    queries = [
        Row(name, message("GET", b"/api/fal/usage?%b=%b" % (name.encode(), secret), JSON), (401,))
        for name in ("token", "access_token", "fal_jwt_token", "jwt", "key")
    ]
    siege.refuses([*headers, *queries])


def test_bodies(siege: Siege) -> None:
    """D1, D2 and D8: no JSON that two parsers could read in two ways, and nothing outside the schema."""
    siege.refuses(Row(name, submit(JSON, body=body), (status,)) for name, body, status in hostile_bodies.ROWS)


def test_body_kinds(siege: Siege) -> None:
    """B1, D3 and D4: neither forms nor compressed bodies, nor more bytes than allowed, declared or not."""
    eleven = 11 * 1024 * 1024
    chunked = message("POST", SUBMIT, bearer(), JSON, b"Transfer-Encoding: chunked")
    types = (
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"),
        *("text/json", "application/json; charset=utf-16", "application/json, text/plain", "*/*", ""),
    )
    codings = ("gzip", "deflate", "br", "zstd", "x-gzip", "identity, gzip", "compress", "GZIP")
    siege.refuses(
        [
            *(Row(f"type {kind}", submit(f"Content-Type: {kind}".encode()), (415,)) for kind in types),
            Row("no type", submit(), (415,)),
            *(Row(f"coding {name}", submit(JSON, f"Content-Encoding: {name}".encode()), (415,)) for name in codings),
            Row("declared", message("POST", SUBMIT, bearer(), JSON, b"Content-Length: %d" % eleven), (413,)),
            Row("chunked", chunked + b"%x\r\n" % eleven + b"x" * eleven, (413,)),
        ]
    )


def test_caller_fields(siege: Siege) -> None:
    """The few fields that may go on to fal have a form, and are given once."""
    values = {
        "X-Fal-Queue-Priority": (b"high", b"NORMAL", b"", b"low, normal", b"low;q=1"),
        "X-Fal-Request-Timeout": (b"", b"-1", b"NaN", b"1e9", b"0x10", b"10 s", b"9999999", b"+5"),
        "X-Fal-Request-Start-Timeout": (b"inf", b"1,5", b"1.", b".5"),
        "X-Fal-Runner-Hint": (b"", b"a" * 257, b"a\tb", b"\xff"),
        "X-Fal-Store-IO": (b"", b"2", b"no"),
        "X-Fal-Object-Lifecycle-Preference": (b"60", b'{"initial_acl":{"default":"allow"}}', b"{", b"[]"),
        "X-App-Fal-Disable-Fallback": (b"", b"2", b"maybe"),
        "X-Fal-Tags": (b"", b"a", b"fal.a=b", b"a=b;c=d=e", b"\xff=a"),
        "X-Fal-No-Retry": (b"0", b"no", b"True"),
        "Idempotency-Key": (b"", b"a b", b"a" * 129, b"\xe9"),
    }
    single = [
        Row(f"{name} {value!r}", submit(JSON, f"{name}: ".encode() + value), (400,))
        for name, listed in values.items()
        for value in listed
    ]
    twice = [Row(f"twice {name}", submit(JSON, *[f"{name}: 1".encode()] * 2), (400,)) for name in values]
    siege.refuses([*single, *twice])


# --- below HTTP: rows that are sent byte by byte ----------------------------------------------------------------------


AIMS = {"submit": (b"POST " + SUBMIT, b"GET " + SUBMIT), "read": (b"PUT %b/cancel", b"GET %b/status")}


def armed(siege: Siege, row: Hostile, aim: str = "submit") -> tuple[bytes, ...]:
    """Aims *row* at a submit or a cancel of the caller's own, with a good session."""
    first, *more = row.segments or (b"",)
    job = f"/api/fal/queue/{APP}/requests/{siege.gateway.job()}".encode()
    posted, got = (target.replace(b"%b", job) for target in AIMS[aim])
    for version in (b"1.0", b"1.1"):
        line = b" HTTP/" + version + b"\r\n"
        first = first.replace(b" /hostile" + line, b" /hostile" + line + bearer() + b"\r\n" + JSON + b"\r\n", 1)
    return first.replace(b"POST /hostile", posted).replace(b"GET /hostile", got).replace(b"/hostile", SUBMIT), *more


async def raw_replies(siege: Siege, listed: list[Hostile], aim: str = "submit") -> list[list[Reply]]:
    semaphore = asyncio.Semaphore(16)

    async def replies_to(row: Hostile) -> list[Reply]:
        async with semaphore:
            return await exchange(siege.gateway.address, armed(siege, row, aim), endless=row.endless)

    got = await asyncio.gather(*map(replies_to, listed))
    siege.answers += [as_text(reply) for found in got for reply in found]
    return got


@pytest.mark.parametrize("aim", AIMS)
async def test_raw_requests(siege: Siege, aim: str) -> None:
    """H1 to H6, U7, M1 to M5: one answer and the end of the connection, none of it from behind the guards."""
    # One row takes two reads of the server to be hostile, which only a client on the server's own loop can promise.
    listed = [row for row in HOSTILE if not row.heard and not row.slow and row.id != "extension-after-tiny-chunks"]
    early = {"malformed_request", "method_not_allowed", "head_too_large", "target_too_long"}
    wrong = {}
    for row, got in zip(listed, await raw_replies(siege, listed, aim), strict=True):
        refused_as = [json.loads(reply.body)["error_type"] for reply in got]
        if [reply.status for reply in got] != [row.status] or not early.issuperset(refused_as):
            wrong[row.id] = (row.status, got)

    assert wrong == {}
    assert "/smuggled" not in siege.gateway.journal()
    siege.stands()


async def test_raw_requests_that_are_heard_once(siege: Siege) -> None:
    """H1, H3, H4: an honest request is answered, and what is hidden in or behind it is no second one."""
    listed = [row for row in HOSTILE if row.heard]
    wrong = {}
    for row, got in zip(listed, await raw_replies(siege, listed), strict=True):
        if len([reply for reply in got if b"x-fal-request-id" in reply.headers]) != row.heard:
            wrong[row.id] = got

    assert wrong == {}
    assert "/smuggled" not in siege.gateway.journal()
    siege.stands()


def test_requests_that_never_end(siege: Siege) -> None:
    """H5, L1, M5: half a head is closed after 10 s, half a body after 5: the limits of production."""
    aimed = [(row, aim) for row in HOSTILE if row.slow for aim in AIMS]
    with ThreadPoolExecutor(len(aimed)) as pool:
        answers = list(pool.map(lambda pair: ask(siege.gateway.address, b"".join(armed(siege, *pair))), aimed))
    siege.answers += answers
    got = {(row.id, aim): [r.status for r in replies(a)] for (row, aim), a in zip(aimed, answers, strict=True)}
    # A body that is too long for a cancel is not waited for.
    assert got.pop(("unfinished-smuggled-in-long-body", "read")) == [413]
    assert set(map(tuple, got.values())) == {(408,)}, got
    siege.stands()


def test_bodies_that_nobody_needs(siege: Siege) -> None:
    """H5, D3 and D4: a status or a cancel with a large or a compressed body is not a client's."""
    path = f"/api/fal/queue/{APP}/requests/{siege.gateway.job()}".encode()
    siege.refuses(
        Row(f"{method} {name}", message(method, path + rest, bearer(), *fields, body=body), (status,))
        for method, rest in (("PUT", b"/cancel"), ("GET", b"/status"), ("GET", b""))
        for name, fields, body, status in (
            ("long", (), b"x" * 2000, 413),
            ("compressed", (b"Content-Encoding: gzip",), b"{}", 415),
        )
    )


def as_text(reply: Reply) -> bytes:
    fields = b"".join(b"%b: %b\r\n" % pair for pair in reply.headers.items())
    return b"HTTP/1.1 %d\r\n%b\r\n%b" % (reply.status, fields, reply.body)


def test_there_are_enough_rows(siege: Siege) -> None:
    """The tables hold more than the 150 rows promised, many times over."""
    tokens = sum(len(rows(material)) for material in siege.materials)

    assert len(hostile_targets.URL_ROWS) + len(hostile_targets.PATH_ROWS) > 150
    assert min(len(hostile_bodies.ROWS), len(HOSTILE), tokens) > 150
