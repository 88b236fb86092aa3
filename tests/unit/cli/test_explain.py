"""The command `explain`: each check of a token, without the token."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result
from support.in_process_gateway import AUDIENCE, ENDPOINT, ENVIRON, ISSUER, SESSION_SECRET

from proxy.cli.main import main
from proxy.strict_json import Json

CONFIG = f"""
[server]
public_origin = "https://gate.example.com"

[[sessions]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["HS256"]
secret_env = "SESSION_SECRET"
require = {{ "org.plan" = ["pro"] }}

[[endpoints]]
id = "{ENDPOINT}"
scope = "images"
allow = "claims.org.plan == 'pro' && 'beta' in claims.roles"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a required claim and a rule."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    return file


def token(**changes: Json) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600}
    claims |= {"org": {"plan": "pro"}, "roles": ["beta"], "scope": "images", **changes}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, SESSION_SECRET)


def explain(config: Path, text: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["explain", str(config), *options], input=text, env=ENVIRON)


def states(result: Result) -> dict[str, str]:
    """Returns the result of each check by its name."""
    rows = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    return {row[1]: row[0] for row in rows}


def test_a_good_token(config: Path) -> None:
    """Every check passes, each with the claim it looked at, and the token is not in the output."""
    good = token()
    result = explain(config, f"Bearer {good}\n", "--endpoint", ENDPOINT)

    assert result.exit_code == 0, result.output
    assert set(states(result).values()) == {"ok"}
    assert list(states(result)) == [
        *("form", "issuer", "type", "signature", "time", "audience", "require", "subject", "scope", "allow"),
    ]
    assert "org.plan = 'pro'" in result.stdout
    assert "sub = 'alice'" in result.stdout
    for part in good.split("."):
        assert part not in result.output


REFUSED: dict[str, tuple[dict[str, Json], str, str]] = {
    "expired": ({"exp": 1_000_000_000}, "time", "the token has expired"),
    "audience": ({"aud": "other"}, "audience", "aud = 'other'"),
    "no-audience": ({"aud": None}, "audience", "aud = missing"),
    "required": ({"org": {"plan": "free"}}, "require", "org.plan = 'free'"),
    "subject": ({"sub": ""}, "subject", "sub = ''"),
}


@pytest.mark.parametrize(("changes", "check", "words"), REFUSED.values(), ids=REFUSED)
def test_a_bad_one(config: Path, changes: dict[str, Json], check: str, words: str) -> None:
    """The check that refuses is marked, those after it are skipped, and the status is 1."""
    result = explain(config, token(**changes))
    names = list(states(result))

    assert result.exit_code == 1
    assert states(result)[check] == "refused"
    assert {states(result)[name] for name in names[names.index(check) + 1 :]} <= {"skipped"}
    assert words in result.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has not three segments"),
        ("a.b.c", "not canonical base64url"),
        ("gho_16C7e42F292c6912E7710c838347Ae178B4a", "opaque, not a JWT"),
        ("a.b.c.d.e", "encrypted (JWE)"),
        (jwt.encode({"iss": "https://other.example"}, "x" * 32), "iss is not a configured issuer"),
        (jwt.encode({"iss": ISSUER}, "x" * 32), "the signature does not verify"),
    ],
)
def test_what_is_no_token_here(config: Path, text: str, words: str) -> None:
    """A token that can never work here says why."""
    result = explain(config, text)

    assert result.exit_code == 1
    assert words in result.stdout


def test_rules_of_an_endpoint(config: Path) -> None:
    """Scope and rule of the endpoint are checks as well."""
    no_beta = explain(config, token(roles=[]), "--endpoint", ENDPOINT)
    no_scope = explain(config, token(scope=""), "--endpoint", ENDPOINT)
    unlisted = explain(config, token(), "--endpoint", "fal-ai/other")

    assert states(no_beta)["allow"] == "refused"
    assert states(no_scope)["scope"] == "refused"
    assert states(unlisted)["endpoint"] == "refused"
    assert "claims.org.plan == 'pro'" in no_beta.stdout


def test_claims_cannot_write_on_the_terminal(config: Path) -> None:
    """Control characters of a claim are escaped, and long ones are cut."""
    result = explain(config, token(aud="\x1b[2J" + "x" * 500))

    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 250


PAYLOAD_RULES = """
force = { num_images = 1 }
cap = { prompt = 10 }
forbid = ["sync_mode"]
price = "2 * input.num_images"
"""


def explain_payload(config: Path, payload: str) -> Result:
    (config.parent / "input.json").write_text(payload)
    config.write_text(CONFIG + PAYLOAD_RULES)
    file = str(config.parent / "input.json")
    options = ["--endpoint", ENDPOINT, "--no-token", "--payload", file]
    return CliRunner().invoke(main, ["explain", str(config), *options], env=ENVIRON)


def test_a_good_payload(config: Path) -> None:
    """Each rule of the endpoint, the schema and the price are checks."""
    result = explain_payload(config, '{"image_url": "https://example.com/a.png", "prompt": "a cat", "num_images": 4}')

    assert result.exit_code == 0, result.output
    assert list(states(result)) == ["json", "force", "cap", "forbid", "schema", "price"]
    assert "num_images = 1, given: 4" in result.stdout
    assert "2 units" in result.stdout


@pytest.mark.parametrize(
    ("payload", "check", "words"),
    [
        ("{", "json", "Malformed JSON"),
        ('{"image_url": "https://example.com/a.png", "prompt": "a cat in the hat"}', "cap", "prompt at most 10"),
        ('{"image_url": "https://example.com/a.png", "prompt": "a", "sync_mode": true}', "forbid", "sync_mode"),
        ('{"prompt": "a"}', "schema", "image_url"),
        ('{"image_url": "file:///etc/passwd", "prompt": "a"}', "schema", "image_url"),
    ],
)
def test_a_bad_payload(config: Path, payload: str, check: str, words: str) -> None:
    """The rule that refuses is marked, with the field it is about."""
    result = explain_payload(config, payload)
    line = next(line for line in result.stdout.splitlines() if line.startswith("refused") and f" {check} " in line)

    assert result.exit_code == 1
    assert words in line


def test_a_payload_takes_an_endpoint(config: Path) -> None:
    """A payload is checked for one listed endpoint."""
    (config.parent / "input.json").write_text("{}")
    file = str(config.parent / "input.json")

    assert "--payload takes --endpoint" in explain(config, "", "--payload", file).output
    assert "is not listed" in explain(config, "", "--payload", file, "--endpoint", "fal-ai/x", "--no-token").output
