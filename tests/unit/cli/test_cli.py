from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.identities import Identifier
from support.in_process_gateway import APP, AUDIENCE, ENDPOINT, ENVIRON, ISSUER, JOB

from proxy import __version__
from proxy.app.setup.components import build_components
from proxy.auth.caller import caller_key
from proxy.auth.job_handles import JobHandles
from proxy.cli.main import main
from proxy.config.loader import load

GOOD = f"""
[server]
public_origin = "https://gate.example.com"

[[sessions]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithm = "HS256"
secret_env = "SESSION_SECRET"

[[endpoints]]
id = "{ENDPOINT}"
"""

FIVE_MISTAKES = """
[server]
public_origin = "https://gate.example.com/path"
prot = 8080

[[sessions]]
issuer = "i"
audience = "a"
algorithm = "HS256"
secret_env = "WEAK"

[[endpoints]]
id = "fal-ai/hyper-sdxl/image-to-image"
cap = { num_imagez = 4 }

[[limits]]
name = "submits"
per = "user"
actions = ["submit"]
rate = "often"
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A configuration file with nothing wrong in it."""
    file = tmp_path / "config.toml"
    file.write_text(GOOD)
    return file


def fal_proxy(*args: str | Path, **environ: str) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], env={**ENVIRON, **environ})


def test_check_praises_a_good_file(good: Path) -> None:
    """Status 0 and what was found."""
    result = fal_proxy("check", good)

    assert (result.exit_code, result.stdout) == (0, f"{good}: good; 1 endpoint(s), 1 issuer(s)\n")


def test_check_names_all_five_mistakes(tmp_path: Path) -> None:
    """Each with the key it is at, in one run, and status 1."""
    file = tmp_path / "config.toml"
    file.write_text(FIVE_MISTAKES)
    result = fal_proxy("check", file, WEAK="secret")
    reported = [line.split(": ")[0] for line in result.stderr.splitlines()]

    assert result.exit_code == 1
    assert reported == [
        "server.public_origin",
        "server.prot",
        "limits[0].rate",
        "sessions[0].secret_env",
        "endpoints[0]",
        "5 problem(s)",
    ]
    assert "num_imagez" in result.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_nothing_starts_on_a_bad_file(tmp_path: Path, command: str) -> None:
    """The command `serve` validates as `check` does before it listens."""
    result = fal_proxy(command, tmp_path / "missing.toml")

    assert result.exit_code == 1
    assert "missing.toml" in result.stderr


def test_a_minted_token_is_a_session(good: Path) -> None:
    """The printed token is accepted, with the subject and the scopes of the options."""
    result = fal_proxy("token", good, "--subject", "alice", "--scope", "images", "--lifetime", "60")
    parts = build_components(load(good, ENVIRON))
    caller = Identifier(parts.issuers, clock=time.time).identify(
        [(b"authorization", b"Bearer " + result.stdout.strip().encode())]
    )

    assert (caller.issuer, caller.subject, caller.scopes) == (ISSUER, "alice", frozenset({"images"}))


def test_a_token_needs_a_session_section(good: Path) -> None:
    """An index beyond the file's sessions is a problem at that key."""
    result = fal_proxy("token", good, "--subject", "alice", "--session", "3")

    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "sessions[3]: there is none")


def test_a_handle_shows_what_is_inside(good: Path) -> None:
    """The upstream id for anyone; whose it is, with the configuration."""
    key = caller_key(ISSUER, "alice")
    handle = JobHandles([ENVIRON["FAL_PROXY_HANDLE_SECRETS"].encode()]).sign(JOB, owner=key, app=APP)
    whose: list[str | Path] = ["--config", good, "--issuer", ISSUER, "--app", APP, "--subject"]

    assert json.loads(fal_proxy("handle", handle).stdout) == {"upstream_id": JOB}
    assert json.loads(fal_proxy("handle", handle, *whose, "alice").stdout)["owner"] == "this caller"
    assert "another caller" in json.loads(fal_proxy("handle", handle, *whose, "bob").stdout)["owner"]


def test_a_handle_that_is_none_is_an_error(good: Path) -> None:
    """A raw id is an error, and --config without an owner is a usage error."""
    assert fal_proxy("handle", JOB).exit_code == 1
    assert fal_proxy("handle", f"{JOB}.{'A' * 24}", "--config", good).exit_code == 2


def test_the_version_is_the_packages() -> None:
    """The option --version prints the package's version."""
    assert __version__ in fal_proxy("--version").stdout


def test_the_configuration_file_may_be_left_out(good: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without CONFIG the variable FAL_PROXY_CONFIG names the file, else it is ./fal-proxy.toml."""
    by_variable = fal_proxy("check", FAL_PROXY_CONFIG=str(good))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "fal-proxy.toml").write_text(GOOD)
    monkeypatch.chdir(folder)

    assert by_variable.stdout.startswith(f"{good}: good")
    assert fal_proxy("check").stdout.startswith("fal-proxy.toml: good")


def test_check_reports_all_stages_at_once(tmp_path: Path) -> None:
    """A rule in error hides no wrong price, and a session in error adds no false problem."""
    file = tmp_path / "config.toml"
    file.write_text(
        f"""
[server]
public_origin = "https://gate.example.com"

[[sessions]]
issuer = "i"
audience = "a"
algorithm = "HS265"
secret_env = "SESSION_SECRET"

[[endpoints]]
id = "{ENDPOINT}"
cap = {{ num_imges = 4 }}
price = "input.num_imags * 2.0"

[[budgets]]
name = "day"
per = "user"
window = "day"
limit = 5
endpoints = ["fal-ai/hyper-sdxl/image-to-imag"]
"""
    )
    lines = fal_proxy("check", file).stderr.splitlines()

    assert [line.split(": ")[0] for line in lines] == [
        "sessions[0].algorithm",
        "endpoints[0]",
        "budgets[0]",
        "endpoints[0].price",
        "4 problem(s)",
    ]
    assert 'did you mean "HS256"?' in lines[0]
    assert f'did you mean "{ENDPOINT}"?' in lines[2]


def test_options_of_serve_win_over_the_file(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options --host and --port are validated as the keys that they replace."""
    result = fal_proxy("serve", good, "--port", "70000")

    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "server.port: must be at most 65535")


def test_a_port_in_use_is_named_with_its_key(good: Path) -> None:
    """The start ends with one line that has the key and the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = fal_proxy("serve", good, "--port", str(port))

    assert result.exit_code == 1
    assert result.stderr == f"server.port: another program listens on 127.0.0.1:{port}; stop it, or give another port\n"


def test_a_job_is_for_a_live_check(good: Path) -> None:
    """The option --submit alone is a wrong use, and starts no job."""
    result = fal_proxy("check", good, "--submit")

    assert result.exit_code == 2
    assert "--submit needs --live" in result.stderr
