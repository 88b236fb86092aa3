"""Requests of the bench as bytes: submits and polls, with one token a user or a new one each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import jwt

from bench.rig import APP, AUDIENCE, ENDPOINT, ISSUER, JOB, Rig
from bench.roster import Cell

USERS = 200
EACH = 5  # bodies, and jobs, of each user
# Three times the gateway's cache of verified tokens: by the time one comes again it has long been forgotten.
FRESH = 30_000
WARM = 20_000
PROXY = "/api/fal/proxy"
SUBMIT_URL = f"https://queue.fal.run/{ENDPOINT}"
WARM_UP = "warm-up"

JobOf = Callable[[int, int], str]  # user and number -> a job id of that user


@dataclass
class Requests:
    """A file of *count* requests, each ended by a NUL.

    *at* moves on with what was sent, from one slice to the next.
    """

    path: Path
    count: int
    at: int = 0

    def advance(self, sent: int) -> None:
        self.at = (self.at + sent) % self.count

    def take(self, count: int) -> list[bytes]:
        """Returns the next *count* of them, from the start again where they end."""
        every = self.path.read_bytes().rstrip(b"\0").split(b"\0")
        batch = [every[(self.at + i) % len(every)] for i in range(count)]
        self.advance(count)
        return batch


class Tokens:
    """HS256 session tokens of USERS users, good for half a day.

    Those in *fresh* are of the users in turn, 1 first.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._now = int(time.time())
        self.of_user = [self._mint(user, 0) for user in range(USERS)]
        self.fresh = [self._mint(serial % USERS, serial) for serial in range(1, 2 * FRESH + WARM + 1)]

    def _mint(self, user: int, serial: int) -> str:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"user-{user:04}",
            "iat": self._now,
            "exp": self._now + 43_200,
            "jti": f"{serial:032x}",
            "scope": "images:create images:read",
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")


def submit(token: str, body: bytes, *, target: str = SUBMIT_URL) -> bytes:
    fields = {**_fields(token, target), "content-type": "application/json", "x-fal-queue-priority": "normal"}
    return _request("POST", PROXY, {**fields, "content-length": str(len(body))}, body)


def poll(token: str, job: str) -> bytes:
    return _request("GET", PROXY, _fields(token, status_url(job)))


def result(token: str, job: str) -> bytes:
    return _request("GET", PROXY, _fields(token, f"https://queue.fal.run/{APP}/requests/{job}"))


def is_large(job: str) -> bool:
    """Returns whether the result of the handle *job* is the upstream's large one."""
    return job.partition(".")[0][-1] in "01234567"


def cancel(token: str, job: str) -> bytes:
    url = f"https://queue.fal.run/{APP}/requests/{job}/cancel"
    return _request("PUT", PROXY, {**_fields(token, url), "content-length": "0"})


def direct_submit(fal_key: str, body: bytes) -> bytes:
    fields = {"host": "queue.fal.run", "authorization": f"Key {fal_key}", "content-length": str(len(body))}
    return _request("POST", f"/{ENDPOINT}", fields, body)


def direct_poll(fal_key: str) -> bytes:
    fields = {"host": "queue.fal.run", "authorization": f"Key {fal_key}"}
    return _request("GET", f"/{APP}/requests/{JOB}/status?logs=1", fields)


def status_url(job: str) -> str:
    return f"https://queue.fal.run/{APP}/requests/{job}/status?logs=1"


def body(user: int, number: int) -> bytes:
    """Returns about 350 bytes, as `@fal-ai/client` sends them; each one different."""
    prompt = "an island near sea, with seagulls, moon shining over the sea, light house, boats in the background"
    payload = {
        "image_url": "https://v3.fal.media/files/tiger/IExuP-WICqaIesLZAZPur.jpeg",
        "prompt": f"{prompt}, take {number} of {user:04}",
        "image_size": "square_hd",
        "num_inference_steps": 4,
        "strength": 0.95,
        "seed": user * 1000 + number,
        "num_images": 1,
        "enable_safety_checker": True,
        "format": "jpeg",
    }
    return json.dumps(payload, separators=(",", ":")).encode()


def write(rig: Rig, tokens: Tokens, job_handle: JobOf, name: str) -> dict[Cell | str, Requests]:
    """Returns the files of all cells and of the warm-up, which has both kinds and new tokens.

    *name* keeps file names apart.
    """

    def save(what: str, requests: Iterable[bytes]) -> Requests:
        every = list(requests)
        path = rig.home / f"{name}-{what}.requests"
        path.write_bytes(b"".join(request + b"\0" for request in every))
        return Requests(path, len(every))

    polls = [poll(tokens.of_user[u], job_handle(u, n)) for n in range(EACH) for u in range(USERS)]
    submits = [submit(tokens.of_user[u], body(u, n)) for n in range(EACH) for u in range(USERS)]
    fresh = ((token, s % USERS, s // USERS % EACH) for s, token in enumerate(tokens.fresh, start=1))
    return {
        ("poll", "per-user"): save("poll", polls),
        ("submit", "per-user"): save("submit", submits),
        ("poll", "fresh"): save("poll-fresh", (poll(t, job_handle(u, n)) for t, u, n in islice(fresh, FRESH))),
        ("submit", "fresh"): save("submit-fresh", (submit(t, body(u, n)) for t, u, n in islice(fresh, FRESH))),
        WARM_UP: save("warm-up", _alternating(fresh, job_handle)),
    }


def _alternating(fresh: Iterator[tuple[str, int, int]], job_handle: JobOf) -> Iterator[bytes]:
    pairs = zip(islice(fresh, WARM // 2), islice(fresh, WARM // 2), strict=True)
    return chain.from_iterable((poll(t, job_handle(u, n)), submit(s, body(v, m))) for (t, u, n), (s, v, m) in pairs)


def _fields(token: str, target: str) -> dict[str, str]:
    return {
        "host": "127.0.0.1",
        "authorization": f"Bearer {token}",
        "x-fal-target-url": target,
        "accept": "application/json",
        "user-agent": "@fal-ai/client/1.10.1",
    }


def _request(method: str, path: str, fields: Mapping[str, str], content: bytes = b"") -> bytes:
    lines: Sequence[str] = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + content
