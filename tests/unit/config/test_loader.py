from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from proxy.config.document import Document
from proxy.config.loader import Config, load, read, secret
from proxy.errors import ConfigError
from proxy.fal_api.operations import Action

ROOT = Path(__file__).parents[3]
SMALL = {
    "server": {"public_origin": "https://app.example.com"},
    "sessions": [{"issuer": "i", "audience": "a", "algorithm": "HS256", "secret_env": "S"}],
    "endpoints": [{"id": "fal-ai/hyper-sdxl/image-to-image"}],
}


def read_small(**changes: object) -> Config:
    return read({**SMALL, **changes}, {}, base=Path())


def keys(config: Config) -> list[str]:
    return [problem.key for problem in config.problems]


def test_a_small_configuration_has_safe_defaults() -> None:
    """Defaults are closed: no CORS, no trusted proxy, five actions, limits on."""
    config = read_small()

    assert config.problems == ()
    assert config.server.prefix == "/api/fal"
    assert (config.server.cors_origins, config.server.trusted_proxies, config.server.host) == ((), (), "127.0.0.1")
    offered = {Action.SUBMIT, Action.STATUS, Action.STATUS_STREAM, Action.RESULT, Action.CANCEL}
    assert set(config.endpoints[0].actions) == offered
    assert config.fal.queue_origin == "https://queue.fal.run"
    assert {limit.name for limit in config.limits} >= {"submit-user", "poll-user", "cancel-user"}


MISTAKES: dict[str, tuple[dict[str, object], str]] = {
    "unknown-section": ({"serverr": {}}, "serverr"),
    "missing-origin": ({"server": {}}, "server.public_origin"),
    "unknown-key": ({"server": {"public_origin": "https://a.test", "prot": 1}}, "server.prot"),
    "origin-with-path": ({"server": {"public_origin": "https://a.test/x"}}, "server.public_origin"),
    "http-upstream": ({"fal": {"queue_origin": "http://queue.fal.run"}}, "fal.queue_origin"),
    "star-origin": ({"server": {"public_origin": "https://a.test", "cors_origins": ["*"]}}, "server.cors_origins[0]"),
    "bad-network": (
        {"server": {"public_origin": "https://a.test", "trusted_proxies": ["10.0.0.1/8x"]}},
        "server.trusted_proxies[0]",
    ),
    "hsts-without-tls": ({"server": {"public_origin": "http://127.0.0.1", "hsts_seconds": 60}}, "server.hsts_seconds"),
    "cookie-name": ({"cookie": {"name": "session"}}, "cookie.name"),
    "cookie-prefix-in-lower-case": ({"cookie": {"name": "__host-session"}}, "cookie.name"),
    "cookie-name-not-meant": ({"cookie": {"name": "session", "allow_insecure_name": False}}, "cookie.name"),
    "cookie-name-with-a-blank": ({"cookie": {"name": "__Host-a b"}}, "cookie.name"),
    "cookie-name-with-a-value": ({"cookie": {"name": "__Host-a=b"}}, "cookie.name"),
    "cookie-without-name": ({"cookie": {}}, "cookie.name"),
    "cookie-origin": ({"cookie": {"name": "__Host-a", "origins": ["https://a.test/"]}}, "cookie.origins[0]"),
    "cookie-null-origin": ({"cookie": {"name": "__Host-a", "origins": ["null"]}}, "cookie.origins[0]"),
    "bad-prefix": ({"server": {"public_origin": "https://a.test", "prefix": "api"}}, "server.prefix"),
    "port": ({"admin": {"port": 70000}}, "admin.port"),
    "algorithm": (
        {"sessions": [{"issuer": "i", "audience": "a", "algorithm": "none"}]},
        "sessions[0].algorithm",
    ),
    "leeway": (
        {"sessions": [{"issuer": "i", "audience": "a", "algorithm": "HS256", "leeway_seconds": 900}]},
        "sessions[0].leeway_seconds",
    ),
    "endpoint-id": ({"endpoints": [{"id": "fal-ai"}]}, "endpoints[0].id"),
    "action": ({"endpoints": [{"id": "a/b", "actions": ["submitt"]}]}, "endpoints[0].actions[0]"),
    "streams": ({"streams": {"heartbeat_seconds": 6}}, "streams.heartbeat_seconds"),
    "second-endpoint": ({"endpoints": [{"id": "a/b"}, {"id": "a/b", "cap": {"n": "x"}}]}, "endpoints[1].cap.n"),
    "not-a-list": ({"endpoints": {"id": "a/b"}}, "endpoints"),
    "rate": (
        {"limits": [{"name": "x", "per": "user", "actions": ["submit"], "rate": "often"}]},
        "limits[0].rate",
    ),
    "limit-name": (
        {"limits": [{"name": "X y", "per": "user", "actions": ["submit"], "rate": "1/minute"}]},
        "limits[0].name",
    ),
}


@pytest.mark.parametrize(("changes", "key"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_at_its_key(changes: dict[str, object], key: str) -> None:
    """Each mistake is reported at its place in the file."""
    assert key in keys(read_small(**changes))


def test_every_mistake_is_found_in_one_pass() -> None:
    """An error in one section hides none in another."""
    config = read_small(
        server={"prot": 1},
        fal={"queue_origin": "ftp://x"},
        endpoints=[{"id": "a"}, {"id": "a/b", "forbidd": []}],
        limits=[{"name": "x", "per": "moon", "actions": ["submit"], "rate": "1/minute"}],
    )

    assert keys(config) == [
        "server.public_origin",
        "server.prot",
        "fal.queue_origin",
        "endpoints[0].id",
        "endpoints[1].forbidd",
        "limits[0].per",
    ]


def test_a_file_that_is_no_toml_is_one_problem(tmp_path: Path) -> None:
    """The message has the file and the place in it."""
    file = tmp_path / "config.toml"
    file.write_text("[server\n")

    with pytest.raises(ConfigError, match=r"config\.toml: .*line 1"):
        load(file, {})
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load(tmp_path / "missing.toml", {})


def test_a_file_is_read(tmp_path: Path) -> None:
    """Relative paths of the file are relative to it."""
    file = tmp_path / "config.toml"
    file.write_text('[server]\npublic_origin = "https://app.example.com"\n')

    config = load(file, {"A": "b"})

    assert (config.base, config.environ) == (tmp_path, {"A": "b"})


def test_a_secret_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    """NAME or NAME_FILE; the file's last line end is not part of it."""
    (tmp_path / "key").write_text("from-file\n")

    assert secret(read(SMALL, {"K": "from-env"}, base=tmp_path), "K") == "from-env"
    assert secret(read(SMALL, {"K_FILE": "key"}, base=tmp_path), "K") == "from-file"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "has no K"),
        ({"K": ""}, "has no K"),
        ({"K": "a", "K_FILE": "b"}, "both"),
        ({"K_FILE": "no"}, "cannot be read"),
    ],
)
def test_a_missing_secret_is_an_error_without_its_value(environ: dict[str, str], words: str, tmp_path: Path) -> None:
    """Neither absence nor ambiguity passes."""
    with pytest.raises(ValueError, match=words):
        secret(read(SMALL, environ, base=tmp_path), "K")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("config.schema.json", "schema"),
        ("configuration.md", "reference"),
        ("cli.md", "commands"),
        ("api-reference.md", "api"),
    ],
)
def test_the_documents_match_the_models(name: str, write: str) -> None:
    """The command `make docs` was run after the last change of a section."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)

    assert (ROOT / "docs" / name).read_text() == getattr(generate, write)()


def test_a_cookie_is_configured_or_none_counts() -> None:
    """Without a table no cookie counts, and an insecure name must be allowed."""
    loopback = read_small(cookie={"name": "session", "allow_insecure_name": True})

    assert read_small().cookie is None
    assert read_small(cookie={"name": "__Host-session"}).problems == ()
    assert (loopback.problems, loopback.cookie is not None) == ((), True)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://App.Example.com:443", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(written: str, expected: str) -> None:
    """An origin is lower case and without the scheme's own port, as a browser sends it."""
    config = read_small(server={"public_origin": written, "cors_origins": [written]})

    assert (config.server.public_origin, config.server.cors_origins) == (expected, (expected,))


def test_every_key_is_described() -> None:
    """Each key of each section has a description of its own, in the models and so in the JSON Schema."""
    schema = Document.model_json_schema()
    missing = [
        f"{model}.{key}"
        for model, described in schema["$defs"].items()
        for key, field in described.get("properties", {}).items()
        if not field.get("description", "").endswith(".")
    ]

    assert missing == []


def test_variables_of_the_environment_stand_in_strings() -> None:
    """A reference is replaced in any string, also for a number. An unset one is one problem, not two."""
    server = {"public_origin": "https://${HOST}", "port": "${GATEWAY_PORT:-8081}"}
    config = read({**SMALL, "server": server}, {"HOST": "app.example.com"}, base=Path())
    unset = read({**SMALL, "server": server}, {}, base=Path())

    assert (config.server.public_origin, config.server.port) == ("https://app.example.com", 8081)
    assert keys(unset) == ["server.public_origin"]


def test_the_port_falls_back_to_the_environment() -> None:
    """The variable PORT is used where the file has no port, and a bad one is a problem of that key."""

    def port(environ: dict[str, str], **more: object) -> Config:
        return read({**SMALL, "server": {"public_origin": "https://app.example.com", **more}}, environ, base=Path())

    assert port({"PORT": "3000"}).server.port == 3000
    assert port({"PORT": "3000"}, port=4000).server.port == 4000
    assert port({}).server.port == 8080
    assert keys(port({"PORT": "http"})) == ["server.port"]


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    """A key given to `load` replaces the file's, and the rest of the section stays."""
    file = tmp_path / "config.toml"
    file.write_text('[server]\npublic_origin = "https://app.example.com"\nport = 1\n')

    server = load(file, {}, {"server": {"port": 2}}).server

    assert (server.public_origin, server.port) == ("https://app.example.com", 2)


def test_a_table_in_error_is_still_read() -> None:
    """The valid keys of a table in error are checked further, a misspelt one under its right name."""
    config = read_small(endpoints=[{"id": "a/b", "forbidd": ["x"], "price": []}, {"id": "a"}])

    assert [(e.id, e.forbid, e.price, e.doubtful) for e in config.endpoints] == [
        ("a/b", ("x",), None, frozenset({"forbidd", "forbid", "price"}))
    ]
    assert config.incomplete == {"endpoints"}
