from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.in_process_gateway import (
    ENDPOINT,
    FAL_KEY,
    INPUT,
    ORIGIN,
    QUEUED,
    LocalGateway,
    Step,
    document,
    open_gateway,
    reply,
    small_components,
    token,
)

from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.errors import ConfigError, ConnectFailed, DeadlineExceeded, ExchangeBroken

APP = "fal-ai/fast-lcm"
INITIATE, MULTIPART = "/api/fal/storage/upload/initiate", "/api/fal/storage/upload/initiate-multipart"
MINT, MINT_NEW = "/api/fal/tokens/", "/api/fal/tokens/realtime"
PNG = {"content_type": "image/png", "file_name": "cat.png"}
SLOT = {"upload_url": "https://v3.fal.media/up?sig=1", "file_url": "https://v3.fal.media/files/b/x/cat.png"}
WANTED = {"allowed_apps": [f"{APP}/realtime"], "duration": 60}
TOKEN = {"token": "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"}
BUDGETS = [
    {"name": "all", "per": "user", "window": "day", "limit": 10},
    {"name": "files", "per": "user", "window": "day", "limit": 4, "endpoints": ["uploads"]},
    {"name": "talk", "per": "user", "window": "day", "limit": 9, "endpoints": ["realtime"]},
]
OPEN: dict[str, object] = {
    "uploads": {"price": 2},
    "realtime": {"apps": [APP], "price": 3},
    "endpoints": [{"id": ENDPOINT, "price": "1"}],
    "budgets": BUDGETS,
}


async def spent(g: LocalGateway, budget: str) -> tuple[float, float]:
    """Returns the used and the reserved units of *budget*."""
    async with g.client() as alice:
        usage: dict[str, Any] = (await alice.get("/api/fal/usage")).json()
    (line,) = [line for line in usage["budgets"] if line["name"] == budget]
    return line["used"], line["reserved"]


async def test_an_upload_goes_to_fal_as_understood(tmp_path: Path) -> None:
    """Both modes, both names of the host, both kinds: our headers, our body, our query, our path."""
    lifecycle = {"x-fal-object-lifecycle": '{"expiration_duration_seconds": 99999999}', "cookie": "a=b"}
    targets = [
        "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3",
        "https://rest.alpha.fal.ai/storage/upload/initiate",
        "https://rest.fal.ai/storage/upload/initiate-multipart?storage_type=gcs",
    ]
    with open_gateway(tmp_path, reply(SLOT), uploads={"lifetime_seconds": 3600}) as g:
        async with g.client() as alice:
            answers = [await alice.post(INITIATE, json=PNG, headers=lifecycle), await alice.post(MULTIPART, json=PNG)]
            answers += [
                await alice.post("/api/fal/proxy", json=PNG, headers={"x-fal-target-url": target}) for target in targets
            ]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, SLOT)] * 5
    assert [asked.path.decode() for asked in g.upstream.asked] == [
        "/storage/upload/initiate",
        "/storage/upload/initiate-multipart",
        "/storage/upload/initiate?storage_type=fal-cdn-v3",
        "/storage/upload/initiate",
        "/storage/upload/initiate-multipart?storage_type=gcs",
    ]
    for asked in g.upstream.asked:
        fields = dict(asked.headers)
        assert fields.pop(b"user-agent").startswith(b"fal-auth-proxy/")
        assert fields == {
            b"authorization": b"Key " + FAL_KEY.encode(),
            b"accept": b"application/json",
            b"accept-encoding": b"identity",
            b"content-type": b"application/json",
            b"x-fal-object-lifecycle": b'{"expiration_duration_seconds":3600}',
        }
        assert (asked.method, json.loads(asked.body)) == (b"POST", PNG)


async def test_a_token_request_goes_to_fal_as_understood(tmp_path: Path) -> None:
    """Both mints, in both modes; the answer keeps its shape, and no log line has the token."""
    older = {"allowed_apps": ["fast-lcm"], "token_expiration": 9999}
    target = {"x-fal-target-url": "https://rest.fal.ai/tokens/"}
    with open_gateway(
        tmp_path,
        reply(TOKEN["token"]),
        reply(TOKEN["token"]),
        reply(TOKEN),
        realtime={"apps": [APP]},
    ) as g:
        async with g.client() as alice:
            answers = [
                await alice.post(MINT, json=older),
                await alice.post("/api/fal/proxy", json=older, headers=target),
                await alice.post(MINT_NEW, json=WANTED),
            ]
        lines = g.lines()

    assert [answer.json() for answer in answers] == [TOKEN["token"], TOKEN["token"], TOKEN]
    assert [(asked.path, json.loads(asked.body)) for asked in g.upstream.asked] == [
        (b"/tokens/", {"allowed_apps": ["fast-lcm"], "token_expiration": 120}),
        (b"/tokens/", {"allowed_apps": ["fast-lcm"], "token_expiration": 120}),
        (b"/tokens/realtime", WANTED),
    ]
    assert [(line["action"], line["endpoint"], line["status"]) for line in lines] == [("token", "realtime", 200)] * 3
    assert TOKEN["token"] not in g.log.read_text()


@pytest.mark.parametrize("route", [INITIATE, MULTIPART, MINT, MINT_NEW])
async def test_both_are_closed_by_default(tmp_path: Path, route: str) -> None:
    """Without their tables: 401 without a session, 403 with one, and nothing asked of fal."""
    with open_gateway(tmp_path) as g:
        async with g.client(None) as nobody, g.client() as alice:
            answers = [await nobody.post(route, json=PNG), await alice.post(route, json=PNG)]

    assert [answer.status_code for answer in answers] == [401, 403]
    assert answers[1].json()["error_type"] == "action_not_listed"
    assert g.upstream.asked == []


async def test_a_scope_may_be_asked_for(tmp_path: Path) -> None:
    """Each of the two has a scope of its own."""
    sections: dict[str, object] = {"uploads": {"scope": "files"}, "realtime": {"apps": [APP], "scope": "talk"}}
    with open_gateway(tmp_path, reply(SLOT), **sections) as g:
        async with g.client(None) as client:
            statuses = [
                (await client.post(INITIATE, json=PNG, headers={"authorization": f"Bearer {token(scopes=scopes)}"}))
                for scopes in ([], ["talk"], ["files"])
            ]
            talk = await client.post(
                MINT_NEW, json=WANTED, headers={"authorization": f"Bearer {token(scopes=['files'])}"}
            )

    assert [answer.status_code for answer in statuses] == [403, 403, 200]
    assert (talk.status_code, talk.json()["error_type"]) == (403, "insufficient_scope")


async def test_they_have_limits_of_their_own(tmp_path: Path) -> None:
    """By default thirty uploads and ten tokens a minute; submits are counted apart."""
    sections: dict[str, object] = {"uploads": {}, "realtime": {"apps": [APP]}}
    with open_gateway(tmp_path, reply(SLOT), **sections) as g:
        async with g.client() as alice:
            uploads = [await alice.post(INITIATE, json=PNG) for _ in range(31)]
            g.upstream.script[:] = [reply(TOKEN)]
            tokens = [await alice.post(MINT_NEW, json=WANTED) for _ in range(11)]
            g.upstream.script[:] = [reply(QUEUED)]
            submit = await alice.post(f"/api/fal/queue/{ENDPOINT}", json=INPUT)

    assert [answer.status_code for answer in uploads] == [200] * 30 + [429]
    assert [answer.status_code for answer in tokens] == [200] * 10 + [429]
    assert uploads[0].headers["ratelimit-policy"] == '"upload-user";q=30;w=60'
    assert "retry-after" in tokens[-1].headers
    assert submit.status_code == 200


async def test_a_budget_that_names_them_pays_their_price(tmp_path: Path) -> None:
    """At once, for good, and no other budget; spent means 402 and nothing asked of fal."""
    with open_gateway(tmp_path, reply(SLOT), **OPEN) as g:
        async with g.client() as alice:
            statuses = [(await alice.post(INITIATE, json=PNG)).status_code for _ in range(3)]
            g.upstream.script[:] = [reply(TOKEN)]
            statuses.append((await alice.post(MINT_NEW, json=WANTED)).status_code)
        assert [await spent(g, name) for name in ("all", "files", "talk")] == [(0, 0), (4, 0), (3, 0)]

    assert statuses == [200, 200, 402, 200]
    assert len(g.upstream.asked) == 3


async def test_their_price_is_flat_however_jobs_are_settled(tmp_path: Path) -> None:
    """Settling by fal's billable units waits for a result, and these have none."""
    with open_gateway(tmp_path, reply(SLOT), **OPEN, ledger={"settle_by": "billable"}) as g:
        async with g.client() as alice:
            await alice.post(INITIATE, json=PNG)
        assert await spent(g, "files") == (2, 0)


FAILURES: list[tuple[str, Step, int]] = [
    ("refused connection", ConnectFailed("refused"), 503),
    ("reset", ExchangeBroken("reset", sent=True), 502),
    ("too slow", DeadlineExceeded("late", sent=True), 502),
    ("500", reply({"detail": "no"}, 500), 502),
    ("503", reply({"detail": "no"}, 503), 502),
    ("404", reply({"detail": "no"}, 404), 502),
    ("our key", reply({"detail": "User is locked. Reason: Exhausted balance."}, 403), 503),
    ("redirect", reply({}, 307, (b"location", b"https://evil.com/")), 502),
    ("busy", reply({"detail": "slow down"}, 429), 429),
    ("refused", reply({"detail": [{"loc": ["body", "file_name"], "msg": "no", "type": "x"}]}, 422), 422),
    ("conflict", reply({"detail": "no"}, 409), 400),
    ("not json", reply("x", 200, (b"content-type", b"text/html")), 502),
    ("elsewhere", reply({**SLOT, "upload_url": "https://evil.com/"}), 502),
    ("key in it", reply({**SLOT, "note": FAL_KEY}), 502),
    ("nothing", reply({}), 502),
]


@pytest.mark.parametrize(("step", "status"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
async def test_what_fails_is_paid_back(tmp_path: Path, step: Step, status: int) -> None:
    """A failure refunds the price, since no job can run, and the client may retry."""
    with open_gateway(tmp_path, step, **OPEN) as g:
        async with g.client() as alice:
            answer = await alice.post(INITIATE, json=PNG)
        assert await spent(g, "files") == (0, 0)

    assert answer.status_code == status
    assert "x-fal-request-timeout-type" not in answer.headers
    assert len(g.upstream.asked) == 1
    assert "balance" not in answer.text + str(answer.headers)
    for secret in (FAL_KEY, "evil.com"):
        assert secret not in answer.text + str(answer.headers) + g.log.read_text()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b'{"content_type":"image/png"}', "headers": {"content-type": "text/plain"}}, 415),
        ({"json": {**PNG, "extra": 1}}, 422),
        ({"json": {**PNG, "file_name": "a" * 20_000}}, 413),
        ({"json": PNG, "headers": {"x-fal-object-lifecycle": '{"initial_acl":{}}'}}, 400),
        ({"content": b""}, 422),
    ],
)
async def test_bad_input_spends_nothing(tmp_path: Path, options: dict[str, Any], status: int) -> None:
    """A refused upload costs nothing: no window, no budget, no call of fal."""
    one = [{"name": "one", "per": "user", "actions": ["upload"], "rate": "1/minute"}]
    with open_gateway(tmp_path, reply(SLOT), **OPEN, limits=one) as g:
        async with g.client() as alice:
            refused: httpx2.Response = await alice.post(INITIATE, **options)
            accepted = await alice.post(INITIATE, json=PNG)

    assert (refused.status_code, accepted.status_code) == (status, 200)
    assert len(g.upstream.asked) == 1


def problems(**sections: object) -> dict[str, str]:
    environ = {"FAL_KEY": FAL_KEY, "SESSION_SECRET": "s" * 40, "FAL_PROXY_HANDLE_SECRETS": "h" * 40}
    with pytest.raises(ConfigError) as refused:
        build_components(read(document(**sections), environ, base=Path()))
    return {problem.key: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("sections", "key", "words"),
    [
        ({"uploads": {"content_types": ["image/x-made-up"]}}, "uploads.content_types[0]", "not one of image/jpeg"),
        ({"uploads": {"content_types": []}}, "uploads.content_types", "at least one item"),
        ({"uploads": {"hosts": ["*"]}}, "uploads.hosts[0]", "checked against the listed hosts"),
        ({"uploads": {"hosts": ["localhost"]}}, "uploads.hosts[0]", "public host name"),
        ({"uploads": {"lifetime_seconds": 0}}, "uploads.lifetime_seconds", "at least 1"),
        ({"uploads": {"lifetime_mode": "never"}}, "uploads.lifetime_mode", "cap"),
        ({"uploads": {"enabled": True}}, "uploads.enabled", "unknown key"),
        ({"realtime": {}}, "realtime.apps", "required"),
        ({"realtime": {"apps": []}}, "realtime.apps", "at least one item"),
        ({"realtime": {"apps": ["fast-lcm"]}}, "realtime.apps[0]", "not an endpoint id"),
        ({"realtime": {"apps": [APP], "max_seconds": 86_400}}, "realtime.max_seconds", "at most 1 hour"),
        (
            {"endpoints": [{"id": ENDPOINT, "actions": ["upload"]}]},
            "endpoints[0].actions[0]",
            "is not an action of an endpoint",
        ),
        (
            {"budgets": [{"name": "x", "per": "user", "window": "day", "limit": 1, "endpoints": ["uploads"]}]},
            "budgets[0]",
            "uploads is not a listed endpoint",
        ),
        (
            {"uploads": {}, "in_flight": [{"name": "x", "per": "user", "limit": 1, "endpoints": ["uploads"]}]},
            "in_flight[0]",
            "uploads is not a listed endpoint",
        ),
        ({"endpoints": [{"id": ENDPOINT, "files": {"hosts": ["10.0.0.1"]}}]}, "endpoints[0].files.hosts[0]", "public"),
        (
            {"endpoints": [{"id": ENDPOINT, "files": {"media_types": ["image/*"]}}]},
            "endpoints[0].files.media_types[0]",
            "not a media type",
        ),
        ({"endpoints": [{"id": ENDPOINT, "files": {"max_size": 1}}]}, "endpoints[0].files.max_size", "unknown key"),
        (
            {"endpoints": [{"id": ENDPOINT, "force": {"image_url": "http://10.0.0.1/a.png"}}]},
            f"endpoints[0]: {ENDPOINT}.files",
            "image_url: Input should be an https URL",
        ),
    ],
)
def test_a_mistake_is_reported_at_its_key(sections: dict[str, object], key: str, words: str) -> None:
    """A table that could not work is an error at its key."""
    assert words in problems(**sections)[key]


def test_a_bare_table_opens_them() -> None:
    """The table [uploads] alone is enough, and each action has a listing."""
    parts = small_components(uploads={}, realtime={"apps": [APP]})

    assert [listing.endpoint for listing in parts.listings] == [ENDPOINT, "uploads", "realtime"]
    assert small_components().rest_actions.issues == {}


async def test_the_description_has_what_is_open(tmp_path: Path) -> None:
    """A client can see from openapi.json whether it may upload."""
    described = []
    for sections in ({}, {"uploads": {}, "realtime": {"apps": [APP]}}):
        with open_gateway(tmp_path, **sections) as g:
            async with g.client() as alice:
                paths = (await alice.get("/api/fal/openapi.json")).json()["paths"]
        described.append([path for path in paths if not path.startswith(("/queue/", "/usage", "/jobs", "/quote/"))])

    assert described == [
        [],
        ["/storage/upload/initiate", "/storage/upload/initiate-multipart", "/tokens/", "/tokens/realtime"],
    ]


async def submitted(g: LocalGateway, **fields: object) -> list[str]:
    """Returns the types of the errors of a submit with *fields*."""
    async with g.client() as alice:
        answer = await alice.post(f"/api/fal/queue/{ENDPOINT}", json={**INPUT, **fields})
    return [] if answer.status_code == 200 else [error["type"] for error in answer.json()["detail"]]


async def test_files_by_default(tmp_path: Path) -> None:
    """Public https URLs and pictures pass, all else is a 422 with the field, before anything is spent."""
    with open_gateway(tmp_path) as g:
        accepted = [
            await submitted(g, image_url=url) for url in ("https://example.com/a.png", "data:image/png;base64,AAAA")
        ]
        asked = len(g.upstream.asked)
        refused = [
            await submitted(g, image_url=url)
            for url in ("http://127.0.0.1:9/files/a.png", "https://[::1]/", "data:text/html;base64,AAAA")
        ]

    assert (accepted, asked) == ([[], []], 2)
    assert refused == [["url_not_accepted"], ["url_not_accepted"], ["media_type_not_accepted"]]
    assert len(g.upstream.asked) == asked


async def test_files_as_configured(tmp_path: Path) -> None:
    """Each endpoint has its own hosts, types and sizes; "uploads" stands for the upload hosts."""
    files = {"hosts": ["uploads", "cdn.example.com"], "media_types": ["audio/mpeg"], "max_bytes": 3}
    sections: dict[str, object] = {
        "endpoints": [{"id": ENDPOINT, "files": files}],
        "uploads": {"hosts": ["up.example.com"]},
        "fal": dict.fromkeys(("queue_origin", "run_origin", "rest_origin"), "http://127.0.0.1:9"),
    }
    with open_gateway(tmp_path, **sections) as g:
        for url in ("https://cdn.example.com/a", "https://up.example.com/a", "http://127.0.0.1:9/files/a"):
            assert await submitted(g, image_url=url) == []
        assert await submitted(g, image_url="data:audio/mpeg;base64,AAAA") == []
        assert await submitted(g, image_url="data:audio/mpeg;base64,AAAAAAAA") == ["file_too_large"]
        for url in ("https://example.com/a", "https://fal.media/a", "http://127.0.0.1:8/files/a"):
            assert await submitted(g, image_url=url) == ["url_not_accepted"]


def test_the_sandbox_is_let_in_only_where_it_is_the_upstream() -> None:
    """With a real (https) REST origin "uploads" never means plain http."""
    files = {"hosts": ["uploads"]}
    https = dict.fromkeys(("queue_origin", "run_origin", "rest_origin"), "https://fal.example.com")
    parts = small_components(endpoints=[{"id": ENDPOINT, "files": files}], fal=https, server={"public_origin": ORIGIN})
    body = json.dumps({**INPUT, "image_url": "http://127.0.0.1:9/files/a"}).encode()

    with pytest.raises(Exception, match="https URL of a public host"):
        parts.policies[0].admit(body)
