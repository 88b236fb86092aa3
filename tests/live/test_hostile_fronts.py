"""The hostile tables through the shipped front proxies: nothing gets in that is refused directly."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from live import test_hostile as direct
from live.test_hostile_fields import BODY, IGNORED, MODES, heard
from support.front_proxies import Address, free_port
from support.front_repairs import REPAIRED, REWRITTEN
from support.gateway_process import JSON, Rig, bearer, message
from support.hostile_http import HOSTILE, Hostile
from support.hostile_tokens import fresh
from support.in_process_gateway import APP, AUDIENCE, ENVIRON, ISSUER, JOB, QUEUED
from support.raw_http import SEGMENT_GAP
from support.scripted_upstream import Recording
from support.shipped_fronts import FRONTS, places

from proxy.auth.caller import caller_key

AT_ONCE = 48
QUIET = 1.5  # seconds without a byte, after which no answer is expected any more
BEHIND = b"/api/fal/queue/smuggled"  # where the gateway would see a request that the front did not

# Requests that are well-formed HTTP.
TABLES = (
    direct.test_targets_by_header,
    direct.test_targets_by_path,
    direct.test_modes_are_not_mixed,
    direct.test_nothing_stands_in_for_a_session,
    direct.test_bodies,
    direct.test_body_kinds,
    direct.test_caller_fields,
    lambda siege: direct.test_tokens(siege, "HS256"),
)


@dataclass
class FrontSiege(direct.Siege):
    """Sends the tables to *front* instead of the gateway, many rows at once, and notes which reach fal."""

    name: str = ""
    front: Address = ("", 0)
    recording: Recording = field(default_factory=lambda: Recording(b""))

    def refuses(self, rows: Iterable[direct.Row]) -> None:
        listed = [row for row in rows if row.id not in REWRITTEN[self.name]]
        self.converse((self.front, [row.raw]) for row in listed)
        assert self.recording.requests == []

    def converse(self, calls: Iterable[tuple[Address, list[bytes]]]) -> list[bytes]:
        # The addresses come from a generator, which only one thread may read.
        sourced = [(address, segments, next(direct.ADDRESSES)) for address, segments in calls]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda call: converse(call[0], call[1], source=call[2]), sourced))

    def stands(self) -> None:
        """Does nothing: the journal is that of the direct tests."""


@pytest.fixture(scope="module", params=FRONTS)
def siege(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontSiege]:
    home = tmp_path_factory.mktemp("siege")
    material = fresh("HS256", issuer="https://hs256.example.com", audience=AUDIENCE, now=int(time.time()))
    recording, app = Recording(json.dumps(QUEUED).encode()), Recording(b"{}")
    with Rig(home) as rig:
        upstream, backend = rig.upstream(recording), rig.upstream(app)
        gateway = rig.gateway(
            upstream.url,
            server={"trusted_proxies": ["127.0.0.1/32"], "max_connections_per_address": 1000},
            environ={**ENVIRON, "SESSION_HS256": material.key.decode()},
            sessions=[
                {"issuer": ISSUER, "audience": AUDIENCE, "algorithm": "HS256", "secret_env": "SESSION_SECRET"},
                direct.session_section(material, home),
            ],
        )
        at = places(home, free_port(), [gateway.address], app=("127.0.0.1", backend.port))
        with FRONTS[request.param](at) as front:
            yield FrontSiege(gateway, upstream, (material,), [], request.param, front, recording)


def converse(address: Address, segments: list[bytes], *, source: str = "127.0.0.1") -> bytes:
    """Reads until the other side closes or is quiet: a front may keep a connection open."""
    received = bytearray()
    with socket.create_connection(address, timeout=QUIET, source_address=(source, 0)) as connection:
        try:
            for number, segment in enumerate(segments):
                time.sleep(SEGMENT_GAP if number else 0)
                connection.sendall(segment)
            while some := connection.recv(65536):
                received += some
        except (ConnectionError, TimeoutError):
            pass
    return bytes(received)


def test_well_formed_requests(siege: FrontSiege) -> None:
    """No target, session, body or field that the gateway refuses by itself reaches fal through a front."""
    for table in TABLES:
        table(siege)


def test_fields_stay_here(siege: FrontSiege) -> None:
    """Hostile fields of a good request change nothing: fal gets the same bytes as without them."""
    calls = [
        message("POST", path, bearer(), JSON, *target, *fields, body=BODY)
        for path, target in MODES.values()
        for fields in IGNORED.values()
    ]
    siege.converse((siege.front, [raw]) for raw in calls)
    reached = list(siege.recording.requests)
    siege.recording.requests.clear()

    assert len(reached) > len(calls) * 3 // 4  # some fronts refuse some of them
    assert set(reached) == {heard(siege.gateway)}


def aimed(siege: FrontSiege, row: Hostile, job: str) -> list[bytes]:
    """Returns the segments of *row* aimed at a cancel or a status of *job*, with a good session."""
    handle = siege.gateway.parts.handles.sign(job, owner=caller_key(ISSUER, "alice"), app=APP)
    base = f"/api/fal/queue/{APP}/requests/{handle}".encode()
    first, *more = row.segments or (b"",)
    first += row.endless * 100
    line, end, rest = first.partition(b"\n")
    line_end = b"\r\n" if line.endswith(b"\r") else b"\n"
    first = line + end + bearer() + line_end + rest
    method = first.partition(b" ")[0]
    target = base + (b"/status" if method == b"GET" else b"/cancel")
    first = first.replace(b"POST /hostile", b"PUT /hostile").replace(b"/hostile", target)
    return [segment.replace(b"/smuggled", BEHIND) for segment in (first, *more)]


def test_raw_requests(siege: FrontSiege) -> None:
    """A malformed request is refused, or reaches fal once, as the honest request the front made of it.

    The list of the latter is REPAIRED. What follows it in the same bytes is a request without a session: 401.
    """
    jobs = {row.id: f"{JOB[:-4]}{number:04}" for number, row in enumerate(HOSTILE)}
    siege.converse((siege.front, aimed(siege, row, jobs[row.id])) for row in HOSTILE)
    reached = {row.id: sum(jobs[row.id].encode() in r for r in siege.recording.requests) for row in HOSTILE}
    siege.recording.requests.clear()
    behind = {line["status"] for line in siege.gateway.requests() if BEHIND.decode() in str(line["path"])}

    got_in = {row.id for row in HOSTILE if reached[row.id] and not row.heard}
    assert got_in - REPAIRED[siege.name] == set()
    assert max(reached.values()) == 1
    assert behind <= {400, 401}
