"""Webhooks of the gateway over real sockets: fal's call is verified, the job settled, the app called."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from support.gateway_process import QUICK, Gateway, Rig, until
from support.in_process_gateway import ENDPOINT, FAL_KEY, INPUT, ISSUER
from support.sandbox import picture_input
from support.webhooks import BUDGET, PRICED, SEATS, WEBHOOK_ENVIRON, App, hooked, listening, patiently

JOBS = 60
SPARE = "spare-account:canary-51d0aa"


def outcomes(gateway: Gateway) -> Counter[object]:
    """Returns the outcomes of fal's calls so far."""
    return Counter(line["outcome"] for line in gateway.requests() if line["action"] == "webhook")


def test_each_job_is_delivered_once_over_a_bad_road(rig: Rig, tmp_path: Path) -> None:
    """Each of 60 jobs is acknowledged once, under one webhook-id, while 30 % of the deliveries fail.

    Each delivery is signed by Standard Webhooks, and each reservation is settled. The jobs are of two fal keys in turn.
    """
    dice = random.Random(5)
    # None of them is silence: all runs on one loop here, and a late acknowledgement causes a second delivery.
    app = App(lambda _: dice.choice([500, 503, 302, 404]) if dice.random() < 0.3 else 204)
    rig.enter(listening(app.app))
    keys = frozenset({FAL_KEY, SPARE})
    sandbox = rig.sandbox(replace(QUICK, keys=keys, webhook_attempts=20, webhook_backoff=0.1, webhook_backoff_max=0.5))
    gateway = rig.gateway(
        sandbox.queue,
        environ={**WEBHOOK_ENVIRON, "FAL_KEYS": f"spare={SPARE}"},
        fal={"rest_origin": sandbox.rest, "run_origin": sandbox.run},
        endpoints=[PRICED],
        budgets=[BUDGET],
        in_flight=[SEATS],
        webhooks={"mode": "gateway", "url": app.url, "try_seconds": 5.5, "tries": 2},
    )
    with gateway.client() as client:
        bodies: list[Mapping[str, object]] = [picture_input(), INPUT]  # the second's picture cannot be had
        answers = [
            patiently(partial(client.post, f"queue/{ENDPOINT}", json=bodies[number % 2])) for number in range(JOBS)
        ]
        jobs = {str(answer.json()["request_id"]) for answer in answers}
        until(lambda: outcomes(gateway)["delivered"] == JOBS, 60)
        until(lambda: client.get("usage").json()["in_flight"][0]["used"] == 0)
        (budget,) = client.get("usage").json()["budgets"]

    assert outcomes(gateway)["delivery-failed"] > 0
    assert Counter(app.acknowledged()) == dict.fromkeys(jobs, 1)
    assert (len(jobs), sum("~spare." in job for job in jobs)) == (JOBS, JOBS / 2)
    assert len(app.deliveries) > JOBS * 1.2
    assert all(delivery.is_signed() for delivery in app.deliveries)
    assert len({(d.headers["webhook-id"], d.message["request_id"]) for d in app.deliveries}) == JOBS
    assert {d.message["status"] for d in app.deliveries} == {"OK", "ERROR"}
    assert (budget["used"], budget["reserved"]) == (JOBS / 2, 0)


def test_a_stop_in_the_middle_of_a_delivery(rig: Rig, tmp_path: Path) -> None:
    """A gateway that stops during a slow delivery still sends the app's answer to fal."""
    app = App()
    app.ready.clear()
    hooks = hooked(rig, tmp_path, app=app, try_seconds=9.0, tries=1)
    job = hooks.submit()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(hooks.call, hooks.fal.callbacks[job], *hooks.fal.signed(job))
        until(lambda: app.under_way)
        stopped = pool.submit(lambda: rig.run(hooks.gateway.service.stop()))
        until(lambda: '"event":"stopping"' in hooks.gateway.journal())
        app.ready.set()
        stopped.result(20)

    assert (answer.result().status_code, app.acknowledged()) == (200, [hooks.handle(job)])


def test_what_the_app_is_told(rig: Rig, tmp_path: Path) -> None:
    """Our handle, fal's id, the caller, and fal's word as it was.

    Nothing of fal's own headers or attempts.
    """
    hooks = hooked(rig, tmp_path)
    job = hooks.submit()
    headers, body = hooks.fal.signed(job, error="x", payload_error="y", secret_of_fal=1)

    answer = hooks.call(hooks.fal.callbacks[job], headers, body)

    (delivery,) = hooks.app.deliveries
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert delivery.message == {
        "request_id": hooks.handle(job),
        "upstream_request_id": job,
        "endpoint": ENDPOINT,
        "issuer": ISSUER,
        "subject": "alice",
        "status": "OK",
        "error": "x",
        "payload": {"seed": 2**63},
        "payload_error": "y",
    }
    until(lambda: '"fal\'s account is fal-user-1"' in hooks.gateway.journal())
    assert delivery.headers["content-type"] == "application/json"
    assert not {name for name in delivery.headers if "fal" in name or name in ("authorization", "cookie")}
