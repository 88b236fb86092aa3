"""Tests of the [webhooks] section: its checks, and a submit's webhook in each mode."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
from support.hostile_webhooks import ROWS
from support.in_process_gateway import ENDPOINT, ENVIRON, INPUT, ORIGIN, document, open_gateway
from support.webhooks import OLD_SECRET, SECRET, WEBHOOK_ENVIRON

from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.errors import ConfigError

OURS: dict[str, object] = {"mode": "gateway", "url": "https://app.example.com/hooks"}
ALLOW: dict[str, object] = {"mode": "allow", "hosts": ["app.example.com"]}
TARGET = "https://queue.fal.run"


def problems(section: dict[str, object], environ: dict[str, str] = WEBHOOK_ENVIRON) -> list[str]:
    try:
        build_components(read(document(webhooks=section), environ, base=Path()))
    except ConfigError as error:
        return [problem.key for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"mode": "refuse"},
        ALLOW,
        OURS,
        {**OURS, "url": "http://127.0.0.1:9000/x"},
        {**OURS, "fal_user_id": "auth0|abc"},
        {**OURS, "tries": 1, "try_seconds": 12.0},
    ],
)
def test_good_sections(section: dict[str, object]) -> None:
    """Each mode with what it needs."""
    assert problems(section) == []


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ({"mode": "on"}, ["webhooks.mode"]),
        ({"modes": "gateway"}, ["webhooks.modes"]),
        ({"mode": "allow"}, ["webhooks.hosts"]),
        ({"mode": "allow", "hosts": ["*"]}, ["webhooks.hosts[0]"]),
        ({"mode": "allow", "hosts": ["127.0.0.1"]}, ["webhooks.hosts[0]"]),
        ({"hosts": ["app.example.com"]}, ["webhooks.hosts"]),
        ({**ALLOW, "url": "https://app.example.com"}, ["webhooks.url"]),
        ({"url": "https://app.example.com"}, ["webhooks.url"]),
        ({"mode": "gateway"}, ["webhooks.url"]),
        ({**OURS, "hosts": ["app.example.com"]}, ["webhooks.hosts"]),
        ({**OURS, "url": "http://app.example.com/x"}, ["webhooks.url"]),
        ({**OURS, "url": "https://u@app.example.com/x"}, ["webhooks.url"]),
        ({**OURS, "tries": 5, "try_seconds": 4.0}, ["webhooks.try_seconds"]),
        ({**OURS, "ca_file": "nowhere.pem"}, ["webhooks.ca_file"]),
        ({**OURS, "fal_user_id": ["a", "b c"]}, ["webhooks.fal_user_id[1]"]),
        ({**OURS, "secrets_env": "NOT_SET"}, ["webhooks.secrets_env"]),
        (
            {"mode": "gateway", "ca_file": "x", "secrets_env": "NO"},
            ["webhooks.url", "webhooks.secrets_env", "webhooks.ca_file"],
        ),
    ],
)
def test_every_problem_is_named(section: dict[str, object], keys: list[str]) -> None:
    """All at once, at the key where it is."""
    assert problems(section) == keys


def test_secrets_of_the_app_rotate_and_are_checked() -> None:
    """Several are good; one bad one is not, and is not quoted."""
    several = {**ENVIRON, "FAL_PROXY_WEBHOOK_SECRETS": f"{SECRET},{OLD_SECRET}"}
    bad = {**ENVIRON, "FAL_PROXY_WEBHOOK_SECRETS": f"{SECRET},hunter2"}

    assert problems(OURS, several) == []
    assert problems(OURS, bad) == ["webhooks.secrets_env"]


def test_a_missing_handle_secret_is_one_problem() -> None:
    """Callbacks are sealed with it too; it is missed once."""
    without = {name: value for name, value in WEBHOOK_ENVIRON.items() if name != "FAL_PROXY_HANDLE_SECRETS"}

    assert problems(OURS, without) == ["handles.secrets_env"]


async def submitted(tmp_path: Path, query: str, webhooks: dict[str, object], *, by_header: bool) -> tuple[int, str]:
    """Status, and the query fal got or the error type."""
    with open_gateway(tmp_path, webhooks=webhooks) as it:
        async with it.client() as client:
            if by_header:
                target = f"{TARGET}/{ENDPOINT}?{query}"
                answer = await client.post("/api/fal/proxy", json=INPUT, headers={"x-fal-target-url": target})
            else:
                answer = await client.post(f"/api/fal/queue/{ENDPOINT}?{query}", json=INPUT)
        if not it.upstream.asked:
            return answer.status_code, str(answer.json()["error_type"])
        (asked,) = it.upstream.asked
        return answer.status_code, asked.path.partition(b"?")[2].decode("ascii")


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "path"])
async def test_by_default_a_webhook_is_refused(tmp_path: Path, by_header: bool) -> None:
    """A webhook is refused with 400, before any call of fal."""
    result = await submitted(tmp_path, "fal_webhook=https%3A%2F%2Fapp.example.com%2F", {}, by_header=by_header)

    assert result == (400, "webhook_refused")


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "path"])
async def test_an_allowed_webhook_is_sent_as_it_was_read(tmp_path: Path, by_header: bool) -> None:
    """An allowed webhook is encoded again, beside the other parameters."""
    query = "fal_webhook=https://app.example.com/hook%3fjob%3d1&fal_max_queue_length=3"
    result = await submitted(tmp_path, query, ALLOW, by_header=by_header)

    assert result == (200, "fal_webhook=https%3A%2F%2Fapp.example.com%2Fhook%3Fjob%3D1&fal_max_queue_length=3")


async def test_two_webhooks_are_refused(tmp_path: Path) -> None:
    """Two allowed ones too: fal might take the other."""
    query = "fal_webhook=https%3A%2F%2Fapp.example.com%2F&fal_webhook=https%3A%2F%2Fapp.example.com%2F"

    assert await submitted(tmp_path, query, ALLOW, by_header=False) == (400, "bad_query")


@pytest.mark.parametrize("row", ROWS[::4], ids=[name for name, _ in ROWS[::4]])
async def test_a_hostile_webhook_reaches_nobody(tmp_path: Path, row: tuple[str, bytes]) -> None:
    """Through the whole gateway: 400, and nothing is sent."""
    with open_gateway(tmp_path, webhooks=ALLOW) as it:
        async with it.client() as client:
            target = f"{TARGET}/{ENDPOINT}?fal_webhook=".encode() + row[1]
            answer = await client.post("/api/fal/proxy", json=INPUT, headers=[(b"x-fal-target-url", target)])

    assert (answer.status_code, it.upstream.asked) in [(400, []), (412, [])]


@pytest.mark.parametrize("action", ["status", "result", "cancel", "run"])
async def test_only_a_submit_takes_a_webhook(tmp_path: Path, action: str) -> None:
    """Elsewhere the parameter is refused, on an allowed host too."""
    method, path = {
        "status": ("GET", f"queue/{ENDPOINT}/requests/x/status"),
        "result": ("GET", f"queue/{ENDPOINT}/requests/x"),
        "cancel": ("PUT", f"queue/{ENDPOINT}/requests/x/cancel"),
        "run": ("POST", f"run/{ENDPOINT}"),
    }[action]
    with open_gateway(tmp_path, webhooks=ALLOW) as it:
        async with it.client() as client:
            answer = await client.request(method, f"/api/fal/{path}?fal_webhook=https%3A%2F%2Fapp.example.com%2F")

    assert (answer.status_code, answer.json()["error_type"], it.upstream.asked) == (400, "webhook_refused", [])


@pytest.mark.parametrize("mode", [{}, ALLOW])
async def test_without_ours_nobody_answers_callbacks(tmp_path: Path, mode: dict[str, object]) -> None:
    """The route does not exist, which only a caller with a session learns."""
    with open_gateway(tmp_path, webhooks=mode) as it:
        async with it.client(None) as nobody, it.client() as alice:
            answers = [await client.post("/api/fal/webhooks/fal/abc", json={}) for client in (nobody, alice)]

    assert [answer.status_code for answer in answers] == [401, 404]


async def test_ours_is_a_url_of_this_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each submit gets one of its own, which shows nothing of the caller; their own parameters stay."""
    monkeypatch.setitem(ENVIRON, "FAL_PROXY_WEBHOOK_SECRETS", SECRET)
    urls = []
    for _ in range(2):
        status, query = await submitted(tmp_path, "fal_max_queue_length=3", OURS, by_header=False)
        result = parse_qs(query, strict_parsing=True)
        urls += result["fal_webhook"]
        assert (status, result["fal_max_queue_length"]) == (200, ["3"])

    assert all(url.startswith(f"{ORIGIN}/api/fal/webhooks/fal/") for url in urls)
    assert len(set(urls)) == 2
    assert not [url for url in urls if "alice" in unquote(url)]
