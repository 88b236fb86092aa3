"""Before anything is measured: does each contender do the job it is measured for?"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.http1 import Reply, ask, connect
from bench.rig import APP
from bench.roster import Contender
from bench.workload import EACH, USERS, JobOf, Tokens, body, poll, submit

_REFUSALS = range(400, 500)
_ATTEMPTS = 5
_PAUSE = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Check:
    """A check of a contender. *passes* judges the answer to *request*; *applies* selects the contenders."""

    name: str
    request: bytes
    passes: Callable[[Contender, Reply], bool]
    applies: Callable[[Contender], bool] = lambda _: True


def examine(contender: Contender, port: int, tokens: Tokens, job: str) -> list[str]:
    """Returns the names of the checks that *contender* at *port* fails.

    *job* is one of user 0 that it will poll for.
    """
    return [
        check.name for check in _checks(tokens, job) if check.applies(contender) and not _put(check, contender, port)
    ]


def _put(check: Check, contender: Contender, port: int) -> bool:
    with connect(port) as connection:  # a refusal may close its connection
        return check.passes(contender, ask(connection, check.request))


def _checks(tokens: Tokens, job: str) -> Iterator[Check]:
    good, content = tokens.of_user[0], body(0, 0)
    head, _, signature = good.rpartition(".")
    forged = f"{head}.{signature[::-1]}"
    incomplete = json.dumps({"prompt": "no image", "num_images": 99}).encode()

    yield Check("a submit is accepted with fal's 200", submit(good, content), _accepted)
    yield Check("a poll is answered with fal's 202", poll(good, job), _polled)
    yield Check("a forged session gets 401", submit(forged, content), _is(401), lambda c: c.verifies)
    yield Check("a forged session may not poll", poll(forged, job), _is(401), lambda c: c.verifies)
    foreign = submit(good, content, target="https://example.com/fal-ai/hyper-sdxl/image-to-image")
    yield Check("a foreign host is refused", foreign, _refused)
    unlisted = submit(good, content, target=f"https://queue.fal.run/{APP}/text-to-image")
    yield Check("an unlisted endpoint is refused", unlisted, _refused)
    yield Check("a body outside the schema gets 422", submit(good, incomplete), _is(422), lambda c: c.validates)
    yield Check("a raw job id gets 404", poll(good, job.partition(".")[0]), _is(404), lambda c: c.handles)


def _accepted(_: Contender, reply: Reply) -> bool:
    return reply.status == 200 and b'"IN_QUEUE"' in reply.body


def _polled(contender: Contender, reply: Reply) -> bool:
    return reply.status == (202 if contender.keeps_status else 200) and b'"IN_PROGRESS"' in reply.body


def _refused(_: Contender, reply: Reply) -> bool:
    return reply.status in _REFUSALS and reply.status != 401


def _is(status: int) -> Callable[[Contender, Reply], bool]:
    return lambda _, reply: reply.status == status


def handles(port: int, tokens: Tokens) -> JobOf:
    """Submits EACH jobs for each user at the gateway, and remembers the handles it gives.

    Raises RuntimeError where a submit is refused again and again.
    """
    with connect(port) as connection:
        given = [
            [_handle(connection, submit(tokens.of_user[user], body(user, number))) for number in range(EACH)]
            for user in range(USERS)
        ]
    return lambda user, number: given[user][number]


def _handle(connection: socket.socket, request: bytes) -> str:
    for _ in range(_ATTEMPTS):
        reply = ask(connection, request)
        if reply.status == 200:
            handle: str = json.loads(reply.body)["request_id"]
            return handle
        time.sleep(_PAUSE)  # a worker that is held up by others refuses for a moment
    raise RuntimeError(f"a submit was refused with {reply.status}: {reply.body!r}")
