from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from support.in_process_gateway import ENDPOINT, INPUT, QUEUED, open_gateway, reply

QUOTE, SUBMIT = f"/api/fal/quote/{ENDPOINT}", f"/api/fal/queue/{ENDPOINT}"
PRICED = {"id": ENDPOINT, "price": "double(input.num_images) * 1.5 + 0.25"}
BUDGETS = [
    {"name": "daily", "per": "user", "window": "day", "limit": 1000},
    {"name": "tiny", "per": "user", "window": "day", "limit": 4, "mode": "observe"},
]


async def test_a_quote_equals_what_the_submit_reserves(tmp_path: Path) -> None:
    """Over random payloads, to the millionth; and it reserves nothing itself."""
    random = Random(7)
    with open_gateway(tmp_path, reply(QUEUED), endpoints=[PRICED], budgets=BUDGETS[:1], limits=[]) as g:
        async with g.client() as alice:
            for number in range(50):
                g.upstream.script[:] = [reply({**QUEUED, "request_id": f"job-{number}"})]
                payload = {**INPUT, "num_images": random.randint(1, 8), "seed": random.randint(0, 9)}
                quote = (await alice.post(QUOTE, json=payload)).json()
                before = (await alice.get("/api/fal/usage")).json()["budgets"][0]
                assert (await alice.post(SUBMIT, json=payload)).status_code == 200
                after = (await alice.get("/api/fal/usage")).json()["budgets"][0]

                assert round(after["reserved"] - before["reserved"], 6) == quote["price"]
                assert quote["budgets"] == [{"name": "daily", "left": before["left"], "after": after["left"]}]
                assert (quote["endpoint"], quote["would_be_admitted"], quote["reason"]) == (ENDPOINT, True, None)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"budgets": [{**BUDGETS[0], "limit": 1}]}, "budget_exceeded"),
        ({"budgets": [{**BUDGETS[0], "limit": 1, "mode": "observe"}]}, None),
        ({"in_flight": [{"name": "jobs", "per": "user", "limit": 1}]}, "too_many_jobs"),
    ],
    ids=["budget", "observed", "slots"],
)
async def test_a_quote_tells_why_a_submit_would_be_refused(
    tmp_path: Path, sections: dict[str, object], reason: str | None
) -> None:
    """By the type of the error that it would get."""
    with open_gateway(tmp_path, endpoints=[PRICED], limits=[], **sections) as g:
        async with g.client() as alice:
            await alice.post(SUBMIT, json={**INPUT, "num_images": 1})
            quote = (await alice.post(QUOTE, json={**INPUT, "num_images": 8})).json()

    assert (quote["price"], quote["would_be_admitted"], quote["reason"]) == (12.25, reason is None, reason)


async def test_a_quote_is_refused_as_the_submit_would_be(tmp_path: Path) -> None:
    """A bad payload, an endpoint that is not listed, another method, a query and a missing session."""
    with open_gateway(tmp_path) as g:
        async with g.client() as alice, g.client(None) as nobody:
            answers = [
                await alice.post(QUOTE, json={"prompt": 7}),
                await alice.post("/api/fal/quote/other/app", json=INPUT),
                await alice.get(QUOTE),
                await alice.post(f"{QUOTE}?x=1", json=INPUT),
                await nobody.post(QUOTE, json=INPUT),
            ]

    assert [answer.status_code for answer in answers] == [422, 403, 405, 400, 401]
    assert g.upstream.asked == []
