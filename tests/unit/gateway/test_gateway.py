from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.in_process_gateway import APP, ENDPOINT, INPUT, JOB, ORIGIN, QUEUED, open_gateway, reply, token

from proxy.errors import ConnectFailed, ExchangeBroken
from proxy.http.client.messages import UpstreamResponse

SUBMIT = f"/api/fal/queue/{ENDPOINT}"
FAL_URL = f"https://queue.fal.run/{ENDPOINT}"


async def test_a_submit_returns_a_handle_that_reads_the_job(tmp_path: Path) -> None:
    """Submit, status, result and cancel in both modes, by the handle handed out."""
    running = {"status": "IN_PROGRESS", "request_id": JOB, "logs": [], "response_url": "https://queue.fal.run/x"}
    with open_gateway(
        tmp_path,
        reply(QUEUED),
        reply(running, 202),
        reply({"images": []}),
        reply({"status": "OK"}),
    ) as g:
        async with g.client() as alice:
            queued = (await alice.post(SUBMIT, json=INPUT)).json()
            handle = queued["request_id"]
            status = await alice.get(f"/api/fal/queue/{APP}/requests/{handle}/status?logs=1")
            target = {"x-fal-target-url": f"https://queue.fal.run/{APP}/requests/{handle}"}
            result = await alice.get("/api/fal/proxy", headers=target)
            cancel = await alice.put(f"/api/fal/queue/{APP}/requests/{handle}/cancel")

    assert handle.startswith(f"{JOB}.")
    assert queued["status_url"] == f"{ORIGIN}/api/fal/queue/{APP}/requests/{handle}/status"
    assert (status.status_code, status.json()["request_id"]) == (202, handle)
    assert (result.status_code, result.headers["x-fal-request-id"], result.json()) == (200, handle, {"images": []})
    assert cancel.json() == {"status": "OK"}
    assert [asked.path for asked in g.upstream.asked] == [
        f"/{ENDPOINT}".encode(),
        f"/{APP}/requests/{JOB}/status?logs=1".encode(),
        f"/{APP}/requests/{JOB}".encode(),
        f"/{APP}/requests/{JOB}/cancel".encode(),
    ]


async def test_limits_are_told_on_every_answer(tmp_path: Path) -> None:
    """RateLimit and RateLimit-Policy name the caller's own windows."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice:
            answer = await alice.post(SUBMIT, json=INPUT)

    assert '"submit-user";q=30;w=60' in answer.headers["ratelimit-policy"]
    assert '"submit-user";r=29' in answer.headers["ratelimit"]


async def test_the_order_of_refusals(tmp_path: Path) -> None:
    """Steps refuse in the order authenticate, resolve, authorize, count, admit, reserve."""
    limits = [{"name": "one", "per": "user", "actions": ["submit"], "rate": "1/minute"}]
    bad = {"content": b"{", "headers": {"content-type": "application/json"}}
    with open_gateway(tmp_path, limits=limits) as g:
        async with g.client(None) as nobody, g.client() as alice:
            answers = [
                await nobody.post("/api/fal/queue/fal-ai/%2e%2e", **bad),  # type: ignore[arg-type]
                await alice.post("/api/fal/queue/fal-ai/%2e%2e", **bad),  # type: ignore[arg-type]
                await alice.post("/api/fal/queue/other/app", **bad),  # type: ignore[arg-type]
                await alice.post(SUBMIT, **bad),  # type: ignore[arg-type]
                await alice.post(SUBMIT, json=INPUT),
                await alice.post(SUBMIT, **bad),  # type: ignore[arg-type]
                await alice.post(SUBMIT, json=INPUT),
            ]

    assert [answer.status_code for answer in answers] == [401, 400, 403, 400, 200, 429, 429]
    assert len(g.upstream.asked) == 1


async def test_a_refused_request_spends_nothing(tmp_path: Path) -> None:
    """A payload that does not validate leaves the window as it was."""
    limits = [{"name": "one", "per": "user", "actions": ["submit"], "rate": "1/minute"}]
    with open_gateway(tmp_path, limits=limits) as g:
        async with g.client() as alice:
            refused = await alice.post(SUBMIT, json={"prompt": 7})
            accepted = await alice.post(SUBMIT, json=INPUT)

    assert (refused.status_code, accepted.status_code) == (422, 200)
    assert {tuple(error["loc"]) for error in refused.json()["detail"]} == {("body", "image_url"), ("body", "prompt")}


async def test_refused_payloads_have_a_limit_of_their_own(tmp_path: Path) -> None:
    """After too many refused payloads a caller's next one is refused unparsed; other users' are not."""
    limits = [{"name": "refused", "per": "user", "actions": ["refused"], "rate": "2/minute"}]
    with open_gateway(tmp_path, limits=limits) as g:
        async with g.client() as alice, g.client("bob") as bob:
            answers = [await alice.post(SUBMIT, json={"prompt": 7}) for _ in range(3)]
            after = [await client.post(SUBMIT, json=INPUT) for client in (alice, bob)]

    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert [answer.status_code for answer in after] == [429, 200]


async def test_strangers_and_made_up_ids_get_the_same_bytes(tmp_path: Path) -> None:
    """Foreign, unknown, raw and malformed job ids: one answer, and nothing asked upstream."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice, g.client("bob") as bob:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
            ids = [handle, JOB, "x", f"{JOB}.{'A' * 24}", "%00", "a" * 3000]
            answers = [await bob.get(f"/api/fal/queue/{APP}/requests/{job}/status") for job in ids]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(set(answer.headers) - {"x-fal-request-id"})) for answer in answers}) == 1
    assert len(g.upstream.asked) == 1


@pytest.mark.parametrize(
    "body",
    [{"status": "IN_QUEUE"}, {"request_id": "../../evil"}, {"request_id": 7}, []],
    ids=["none", "evil", "int", "list"],
)
async def test_an_accepted_submit_without_a_usable_job_is_unknown(tmp_path: Path, body: object) -> None:
    """fal accepted it, so no client may be made to send it again."""
    with open_gateway(tmp_path, reply(body)) as g:
        async with g.client() as alice:
            answer = await alice.post(SUBMIT, json=INPUT)

    assert (answer.status_code, answer.headers["x-fal-request-timeout-type"]) == (504, "user")


@pytest.mark.parametrize(
    ("step", "status", "outcome"),
    [
        (ConnectFailed("refused"), 503, "not-sent"),
        (ExchangeBroken("reset", sent=True), 504, "unknown"),
        (reply({"detail": "no"}, 422), 422, "refused"),
        (reply(QUEUED), 200, "accepted"),
    ],
    ids=["not-sent", "unknown", "refused", "accepted"],
)
async def test_the_outcome_is_in_the_journal(
    tmp_path: Path, step: UpstreamResponse | Exception, status: int, outcome: str
) -> None:
    """One line a request, with what became of the money and without the prompt."""
    with open_gateway(tmp_path, step) as g:
        async with g.client() as alice:
            answer = await alice.post(SUBMIT, json={**INPUT, "prompt": "a secret wish"})
        [line] = g.lines()

    assert (answer.status_code, line["status"], line["outcome"]) == (status, status, outcome)
    assert (line["action"], line["endpoint"]) == ("submit", ENDPOINT)
    assert "secret wish" not in json.dumps(line)


async def test_a_flood_of_bad_sessions_is_stopped_before_any_crypto(tmp_path: Path) -> None:
    """After thirty bad sessions in a minute no new one from that address is verified; known ones go on."""
    with open_gateway(tmp_path) as g:
        async with g.client(None) as nobody, g.client() as alice:
            known = await alice.post(SUBMIT, json=INPUT)
            bad = {"authorization": f"Bearer {token()[:-4]}AAAA"}
            answers = [(await nobody.post(SUBMIT, json=INPUT, headers=bad)).status_code for _ in range(32)]
            still_known = await alice.post(SUBMIT, json=INPUT)

    assert answers == [401] * 30 + [429] * 2
    assert (known.status_code, still_known.status_code) == (200, 200)


async def test_a_scope_can_be_asked_for(tmp_path: Path) -> None:
    """An endpoint with a scope is closed to sessions without it."""
    with open_gateway(tmp_path, endpoints=[{"id": ENDPOINT, "scope": "images"}]) as g:
        async with g.client() as alice, g.client(None) as scoped:
            refused = await alice.post(SUBMIT, json=INPUT)
            granted = await scoped.post(
                SUBMIT, json=INPUT, headers={"authorization": f"Key {token('alice', scopes=['images'])}"}
            )

    assert (refused.status_code, refused.json()["error_type"]) == (403, "insufficient_scope")
    assert granted.status_code == 200


async def test_a_submit_is_finished_although_the_caller_left(tmp_path: Path) -> None:
    """A caller who leaves does not end our upstream call: only fal can cancel a job."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slowly() -> UpstreamResponse:
        asked.set()
        await asyncio.sleep(0.2)
        answered.set()
        return reply(QUEUED)

    with open_gateway(tmp_path, slowly) as g:
        left = asyncio.Event()
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            if not asked.is_set():
                return {"type": "http.request", "body": json.dumps(INPUT).encode(), "more_body": False}
            left.set()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await g.application.public(_scope("POST", SUBMIT), receive, send)  # type: ignore[arg-type]

    assert answered.is_set()
    assert sent[0]["status"] == 200


async def test_a_poll_is_dropped_when_the_caller_leaves(tmp_path: Path) -> None:
    """The upstream exchange is cancelled, nothing is answered, and the journal says 499."""
    cancelled = asyncio.Event()

    async def forever() -> UpstreamResponse:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return reply({})

    with open_gateway(tmp_path, reply(QUEUED), forever) as g:
        async with g.client() as alice:
            handle = (await alice.post(SUBMIT, json=INPUT)).json()["request_id"]
        sent: list[dict[str, object]] = []

        messages = [{"type": "http.disconnect"}, {"type": "http.request"}]

        async def receive() -> dict[str, object]:
            return dict(messages.pop() if len(messages) > 1 else messages[0])

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = _scope("GET", f"/api/fal/queue/{APP}/requests/{handle}/status")
        await asyncio.wait_for(g.application.public(scope, receive, send), 5)  # type: ignore[arg-type]
        lines = g.lines()

    assert cancelled.is_set()
    assert sent == []
    assert lines[-1]["status"] == 499


def _scope(method: str, path: str) -> dict[str, object]:
    return {
        "type": "http",
        "method": method,
        "http_version": "1.1",
        "raw_path": path.encode(),
        "path": path,
        "query_string": b"",
        "client": ("192.0.2.1", 5000),
        "headers": [
            (b"host", b"gate.example.com"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer " + token().encode()),
        ],
    }


@pytest.mark.parametrize("exposed", [True, False])
async def test_prices_are_exposed_where_that_is_configured(tmp_path: Path, exposed: bool) -> None:
    """A submit has the reserved price, and a result fal's billable units; both are readable by pages."""
    priced = {"endpoints": [{"id": ENDPOINT, "price": "0.25"}], "server": {"cors_origins": ["https://a.example.com"]}}
    budgets = [{"name": "day", "per": "user", "window": "day", "limit": 10}]
    script = (reply(QUEUED), reply({"images": []}, 200, (b"x-fal-billable-units", b"1.5")))
    sections = {**priced, "budgets": budgets, "ledger": {"expose_price": exposed}}
    sections["server"] = {"public_origin": ORIGIN, **priced["server"]}  # type: ignore[dict-item]
    with open_gateway(tmp_path, *script, **sections) as g:
        async with g.client() as alice:
            queued = await alice.post(SUBMIT, json=INPUT, headers={"origin": "https://a.example.com"})
            result = await alice.get(f"/api/fal/queue/{APP}/requests/{queued.json()['request_id']}")

    fields = (queued.headers.get("x-price"), result.headers.get("x-fal-billable-units"))
    assert fields == (("0.25", "1.5") if exposed else (None, None))
    assert "x-price" in queued.headers["access-control-expose-headers"]
