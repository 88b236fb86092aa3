"""Several gateways on one Redis: any of them answers fal, and the app still hears of each job once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.budgets import Valkey
from support.gateway_process import Gateway, Rig
from support.webhooks import BUDGET, PRICED, SEATS, WEBHOOK_ENVIRON, App, Fal, Hooked, listening

JOBS, CALLS = 12, 6


@pytest.fixture
def two(rig: Rig, tmp_path: Path) -> Iterator[tuple[Hooked, Gateway, Valkey]]:
    """Two gateways that share everything but their process; one of them with the app and fal to it."""
    valkey = Valkey(tmp_path / "valkey")
    rig.run(valkey.start())
    fal, app = Fal(), App(lambda number: 500 if number % 3 == 0 else 204)
    rig.enter(listening(fal.app))
    rig.enter(listening(app.app))
    first, second = (
        rig.gateway(
            fal.origin,
            environ={**WEBHOOK_ENVIRON, "FAL_PROXY_REDIS_URL": f"redis://127.0.0.1:{valkey.port}"},
            server={"trusted_proxies": ["127.0.0.1"]},
            endpoints=[PRICED],
            budgets=[BUDGET],
            in_flight=[SEATS],
            store={"kind": "redis"},
            ledger={"kind": "redis"},
            webhooks={"mode": "gateway", "url": app.url, "try_seconds": 1.0, "tries": 2},
        )
        for _ in range(2)
    )
    yield Hooked(first, fal, app, tmp_path / "unused"), second, valkey
    rig.run(valkey.stop())


def at(gateway: Gateway, url: str) -> str:
    """Returns the same path on another replica."""
    host, port = gateway.address
    return f"http://{host}:{port}/{url.split('/', 3)[3]}"


def test_two_replicas_deliver_once(two: tuple[Hooked, Gateway, Valkey]) -> None:
    """Each job's end is sent to both several times at once, and a third of the deliveries fail.

    The app acknowledges each job once, and its reservation is settled once.
    """
    hooks, second, _ = two
    jobs = [hooks.submit() for _ in range(JOBS)]
    handles = {hooks.handle(job) for job in jobs}

    def call(number: int) -> int:
        job = jobs[number % JOBS]
        url = at((hooks.gateway, second)[number // JOBS % 2], hooks.fal.callbacks[job])
        signed = hooks.fal.signed(job, at=time.time() - number // JOBS)
        return hooks.call(url, *signed, source=f"192.0.2.{number}").status_code

    statuses: Counter[int] = Counter()
    while set(hooks.app.acknowledged()) != handles:
        with ThreadPoolExecutor(16) as pool:
            statuses.update(pool.map(call, range(JOBS * CALLS)))
        assert sum(statuses.values()) < 20 * JOBS * CALLS
    usage = hooks.usage()

    assert Counter(hooks.app.acknowledged()) == dict.fromkeys(handles, 1)
    assert statuses.keys() <= {200, 403, 503}  # 403: the very call that was acknowledged, made again
    assert (usage["budgets"][0]["used"], usage["budgets"][0]["reserved"]) == (JOBS, 0)
    assert usage["in_flight"][0]["used"] == 0


def test_without_the_store_fal_is_asked_to_come_again(two: tuple[Hooked, Gateway, Valkey], rig: Rig) -> None:
    """503, the app hears nothing; with the store back the next call is delivered."""
    hooks, second, valkey = two
    hooks.app.plan = lambda _: 204
    job = hooks.submit()
    call = (at(second, hooks.fal.callbacks[job]), *hooks.fal.signed(job))

    rig.run(valkey.pause())
    away = hooks.call_once(*call)
    rig.run(valkey.resume())
    heard = len(hooks.app.deliveries)
    statuses = [hooks.call(call[0], *hooks.fal.signed(job, at=time.time() + n)).status_code for n in range(1, 4)]

    assert (away.status_code, away.json()["error_type"], heard) == (503, "store_unavailable", 0)
    assert 200 in statuses
    assert len(hooks.app.deliveries) == 1
