from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from support.in_process_gateway import ENDPOINT, INPUT, QUEUED, open_gateway, reply
from support.random_payloads import random_payload

import proxy.payload
from proxy.demo.demo import PRICES

QUOTE, SUBMIT = f"/api/fal/quote/{ENDPOINT}", f"/api/fal/queue/{ENDPOINT}"
PRICED = {"id": ENDPOINT, "price": "double(input.num_images) * 1.5 + 0.25"}
SCHEMAS = Path(proxy.payload.__file__).parent / "schemas"
INPUTS = {endpoint: json.loads((SCHEMAS / f"{endpoint}.json").read_text()) for endpoint in PRICES}
BUDGETS = [
    {"name": "daily", "per": "user", "window": "day", "limit": 1000},
    {"name": "tiny", "per": "user", "window": "day", "limit": 4, "mode": "observe"},
]


async def test_a_quote_equals_what_the_submit_reserves(tmp_path: Path) -> None:
    """Random payloads have a submit's price to the millionth; a quote refuses alike, without reserving."""
    dice, priced = Random(7), Counter[str]()
    endpoints = [{"id": endpoint, "price": price} for endpoint, price in PRICES.items()]
    budgets = [{**BUDGETS[0], "limit": 1_000_000}]
    with open_gateway(tmp_path, endpoints=endpoints, budgets=budgets, limits=[]) as g:
        async with g.client() as alice:

            async def reserved() -> tuple[float, float]:
                budget = (await alice.get("/api/fal/usage")).json()["budgets"][0]
                return budget["reserved"], budget["left"]

            for number in range(20 * len(PRICES)):
                endpoint = list(PRICES)[number % len(PRICES)]
                g.upstream.script[:] = [reply({**QUEUED, "request_id": f"job-{number}"})]
                payload = random_payload(INPUTS[endpoint], dice)
                answer = await alice.post(f"/api/fal/quote/{endpoint}", json=payload)
                before, left_before = await reserved()
                submit = await alice.post(f"/api/fal/queue/{endpoint}", json=payload)
                after, left = await reserved()
                assert submit.status_code == answer.status_code, submit.text
                if submit.status_code == 422:
                    assert (submit.json(), after) == (answer.json(), before)
                    continue
                quote = answer.json()
                priced[endpoint] += 1

                assert round(after - before, 6) == quote["price"]
                assert quote["budgets"] == [{"name": "daily", "left": left_before, "after": left}]
                assert (quote["endpoint"], quote["would_be_admitted"], quote["reason"]) == (endpoint, True, None)

    assert priced.total() >= 100
    assert priced.keys() == PRICES.keys()


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
