from __future__ import annotations

from pathlib import Path

import pytest
from support.in_process_gateway import (
    APP,
    ENDPOINT,
    EVENTS,
    FAL_KEY,
    INPUT,
    JOB,
    JSON,
    LocalGateway,
    Step,
    open_gateway,
    reply,
)

from proxy.errors import ConnectFailed, DeadlineExceeded, ExchangeBroken, ResponseTooLarge
from proxy.http.client.messages import UpstreamResponse

RUN = f"/api/fal/run/{ENDPOINT}"
OPEN = {"id": ENDPOINT, "actions": ["run", "run-stream"], "price": "input.num_images"}
MONEY = {
    "endpoints": [OPEN],
    "budgets": [{"name": "day", "per": "user", "window": "24h", "limit": 10}],
    "in_flight": [{"name": "jobs", "per": "user", "limit": 1}],
}
ERROR = (b"x-fal-error-type", b"runner_server_error")
BUSY = {"detail": "Concurrent requests limit reached", "error_type": "concurrent_requests_limit"}


def page(status: int = 200) -> UpstreamResponse:
    return UpstreamResponse(status, ((b"content-type", b"text/html"),), b"<html>")


async def allowances(g: LocalGateway) -> tuple[float, float, int]:
    """Returns alice's used and reserved units, and her jobs in flight."""
    async with g.client() as alice:
        usage = (await alice.get("/api/fal/usage")).json()
    return usage["budgets"][0]["used"], usage["budgets"][0]["reserved"], usage["in_flight"][0]["used"]


SPENT, FREE, KEPT = (2.0, 0.0, 0), (0.0, 0.0, 0), (0.0, 2.0, 1)

# What fal says, for a run and for the head of a stream alike; what is answered, the money after it, and the journal.
OUTCOMES: dict[str, tuple[Step, int, tuple[float, float, int], str]] = {
    "done": (reply({"images": []}), 200, SPENT, "accepted"),
    "invalid": (
        reply({"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "x"}]}, 422),
        422,
        FREE,
        "failed",
    ),
    "conflict": (reply({"detail": "twice"}, 409), 400, FREE, "failed"),
    "no-model": (reply({"detail": "Application not found"}, 404), 404, FREE, "refused"),
    "busy": (reply(BUSY, 429, (b"retry-after", b"3")), 429, FREE, "refused"),
    "our-account": (reply({"detail": "User is locked. Reason: Exhausted balance."}, 403), 503, FREE, "refused"),
    "its-own-403": (reply({"detail": "Not for you"}, 403), 400, FREE, "failed"),
    "away": (reply({"detail": "no runner"}, 503), 503, FREE, "refused"),
    "failed": (reply({"detail": "oops"}, 500, ERROR), 500, FREE, "failed"),
    "timed-out": (reply({"detail": "late"}, 504, ERROR), 500, FREE, "failed"),
    "gateway": (page(502), 504, KEPT, "unknown"),
    "unsigned": (reply({"detail": "oops"}, 500), 504, KEPT, "unknown"),
    "page": (page(), 504, KEPT, "unknown"),
    "refused": (ConnectFailed("refused"), 503, FREE, "not-sent"),
    "reset": (ExchangeBroken("reset", sent=True), 504, KEPT, "unknown"),
    "late": (DeadlineExceeded("late", sent=True), 504, KEPT, "unknown"),
    "endless": (ResponseTooLarge("more", sent=True, received=True), 504, KEPT, "unknown"),
}


@pytest.mark.parametrize("rest", ["", "/stream"], ids=["run", "stream"])
@pytest.mark.parametrize(("step", "status", "money", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
async def test_what_comes_settles_the_money(
    tmp_path: Path, rest: str, step: Step, status: int, money: tuple[float, float, int], outcome: str
) -> None:
    """A 2xx is spent, a certain failure is not, and an unknown outcome stays reserved."""
    with open_gateway(tmp_path, step, **MONEY) as g:
        async with g.client() as alice:
            answer = await alice.post(RUN + rest, json={**INPUT, "num_images": 2})
        assert await allowances(g) == money
        line = g.lines()[0]

    assert (answer.status_code, line["outcome"]) == (status, outcome)
    assert answer.headers.get("x-fal-request-timeout-type") == ("user" if status == 504 else None)
    assert len(answer.headers["x-fal-request-id"]) == 32
    assert len(g.upstream.asked) == 1


@pytest.mark.parametrize(
    "step",
    [
        UpstreamResponse(200, (JSON,), b"{"),
        reply({"note": FAL_KEY}),
        reply({"note": FAL_KEY.partition(":")[2]}),
    ],
    ids=["cut", "key", "secret-half"],
)
async def test_an_answer_that_cannot_be_shown_is_unknown(tmp_path: Path, step: Step) -> None:
    """An answer that cannot be shown was paid for, so no client may replay it."""
    with open_gateway(tmp_path, step, **MONEY) as g:
        async with g.client() as alice:
            answer = await alice.post(RUN, json=INPUT)
        money = await allowances(g)

    assert (answer.status_code, answer.headers["x-fal-request-timeout-type"]) == (504, "user")
    assert FAL_KEY.partition(":")[2] not in answer.text
    assert money == (0.0, 1.0, 1)


async def test_a_run_is_the_models_own_answer(tmp_path: Path) -> None:
    """The model's bytes are forwarded in both modes, under the gateway's id: fal's id of a run is no job."""
    raw = b'{"seed": 12345678901234567890, "images":[ ] }'
    answer = UpstreamResponse(200, (JSON, (b"x-fal-request-id", JOB.encode()), (b"set-cookie", b"a=b")), raw)
    with open_gateway(tmp_path, answer, endpoints=[OPEN]) as g:
        async with g.client() as alice:
            path = await alice.post(RUN, json=INPUT)
            target = {"x-fal-target-url": f"https://fal.run/{ENDPOINT}"}
            header = await alice.post("/api/fal/proxy", json=INPUT, headers=target)

    for got in (path, header):
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, raw, "application/json")
        assert JOB not in str(got.headers)
        assert "set-cookie" not in got.headers
    assert [(asked.method, asked.path) for asked in g.upstream.asked] == [(b"POST", f"/{ENDPOINT}".encode())] * 2


@pytest.mark.parametrize(("units", "used"), [(b"0.5", 0.5), (b"", 2.0)], ids=["told", "not-told"])
async def test_billable_units(tmp_path: Path, units: bytes, used: float) -> None:
    """fal's billable units are spent where they are configured and sent, else the price, at once."""
    step = reply({}, 200, (b"x-fal-billable-units", units))
    with open_gateway(tmp_path, step, **MONEY, ledger={"settle_by": "billable"}) as g:
        async with g.client() as alice:
            await alice.post(RUN, json={**INPUT, "num_images": 2})
        assert await allowances(g) == (used, 0.0, 0)


async def test_failed_runs_may_be_charged(tmp_path: Path) -> None:
    """As failed jobs are, by the same setting; what never ran is free all the same."""
    steps = (
        reply({"detail": "no"}, 422),
        reply({"detail": "oops"}, 500, ERROR),
        reply(BUSY, 429),
        reply({}, 404),
    )
    with open_gateway(tmp_path, *steps, **MONEY, ledger={"refund_failed": False}) as g:
        async with g.client() as alice:
            for _ in steps:
                await alice.post(RUN, json=INPUT)
        assert await allowances(g) == (2.0, 0.0, 0)


@pytest.mark.parametrize("rest", ["", "/stream"], ids=["run", "stream"])
async def test_a_run_is_admitted_as_a_submit_is(tmp_path: Path, rest: str) -> None:
    """A run must be listed, in JSON, and within schema, windows, slots and budget."""
    limits = [{"name": "runs", "per": "user", "actions": ["run", "run-stream"], "rate": "3/minute"}]
    budgets = [{"name": "day", "per": "user", "window": "24h", "limit": 1}]
    with open_gateway(tmp_path, reply({}), limits=limits, endpoints=[OPEN], budgets=budgets) as g:
        async with g.client() as alice:
            url = RUN + rest
            answers = [
                await alice.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT),
                await alice.post(f"/api/fal/run/{APP}{rest}", json=INPUT),
                await alice.get(url),
                await alice.post(f"{url}?fal_webhook=https://evil.test/", json=INPUT),
                await alice.post(url, content=b"{}", headers={"content-type": "text/plain"}),
                await alice.post(url, json={"prompt": 7}),
                await alice.post(url, json=INPUT, headers={"idempotency-key": "a b"}),
                await alice.post(url, json={**INPUT, "num_images": 2}),
                await alice.post(url, json=INPUT),
                await alice.post(url, json=INPUT),
            ]

    assert [answer.status_code for answer in answers] == [403, 403, 405, 400, 415, 422, 400, 402, 200, 402]
    assert "idempotency-key" in answers[6].json()["detail"]
    assert len(g.upstream.asked) == 1


async def test_by_default_there_are_no_runs(tmp_path: Path) -> None:
    """Runs are refused where an endpoint does not list them."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice:
            answers = [await alice.post(RUN + rest, json=INPUT) for rest in ("", "/stream")]

    assert [(a.status_code, a.json()["error_type"]) for a in answers] == [(403, "action_not_listed")] * 2


TYPES = {
    b"text/event-stream; charset=utf-8": True,
    b"application/json": True,
    b"application/octet-stream": True,
    b"audio/mpeg": True,
    b"video/mp4": True,
    b"image/jpeg": True,
    b"image/svg+xml": False,
    b"text/html": False,
    b"text/plain": False,
    b"application/xhtml+xml": False,
    b"": False,
}


@pytest.mark.parametrize(("kind", "passes"), TYPES.items())
async def test_what_may_be_streamed(tmp_path: Path, kind: bytes, passes: bool) -> None:
    """Events, data and media; never what a browser would run as a page of ours."""
    step = UpstreamResponse(200, ((b"content-type", kind),), b"data: {}\n\n")
    with open_gateway(tmp_path, step, endpoints=[OPEN]) as g:
        async with g.client() as alice:
            answer = await alice.post(f"{RUN}/stream", json=INPUT)

    assert answer.status_code == (200 if passes else 504)
    assert (answer.content == step.body) == passes
    if passes:
        assert answer.headers["content-type"] == kind.decode()


async def test_a_stream_is_the_models_own_bytes(tmp_path: Path) -> None:
    """Names, ids, line ends and comments included; under our id."""
    raw = b': hi\r\nevent: x\r\nid: 7\r\ndata: {"a":  1}\r\n\r\ndata: 2\n\n'
    step = UpstreamResponse(200, (EVENTS, (b"x-fal-request-id", JOB.encode())), raw)
    with open_gateway(tmp_path, step, endpoints=[OPEN]) as g:
        async with g.client() as alice:
            answer = await alice.post(f"{RUN}/stream", json=INPUT)
        [line] = g.lines()

    assert answer.content == raw
    assert JOB not in str(answer.headers)
    assert (line["ended"], line["response_bytes"], line["outcome"]) == ("fal-ended", len(raw), "accepted")
