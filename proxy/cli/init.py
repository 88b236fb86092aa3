"""The command `init`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from proxy.cli.options import CONFIG
from proxy.config.env_file import NAME as ENV_FILE
from proxy.config.env_file import read_env_file

SANDBOX_PORT = 9000  # the default of `fal-proxy sandbox`; run and rest have the next two
IGNORE_FILE = ".gitignore"

_SERVER = """\
[server]
public_origin = "{origin}"  # origin of your app, as browsers see it: that of the front proxy or of the dev server
"""
_SANDBOX = f"""
[fal]                                       # the local fal: start it with `fal-proxy sandbox`
queue_origin = "http://127.0.0.1:{SANDBOX_PORT}"
run_origin = "http://127.0.0.1:{SANDBOX_PORT + 1}"
rest_origin = "http://127.0.0.1:{SANDBOX_PORT + 2}"

[playground]                                # a page to try the gateway with, at /
enabled = true
sandbox = true
picture_hosts = ["http://127.0.0.1:{SANDBOX_PORT + 2}"]
upload_hosts = ["http://127.0.0.1:{SANDBOX_PORT + 2}"]
"""
_REST = """
[[sessions]]                                # issuer of your users' session tokens
issuer = "{origin}"
audience = "fal-proxy"
algorithms = ["HS256"]
secret_env = "SESSION_SECRET"

[[endpoints]]                               # endpoints that are not listed are refused
id = "fal-ai/hyper-sdxl/image-to-image"
cap = {{ num_images = 4 }}
files = {{ hosts = ["*", "uploads"] }}
price = 1                                   # units of a job; an expression takes the extra [expressions]

[uploads]

[[budgets]]
name = "daily"
per = "user"
window = "day"
limit = 200.0

[[in_flight]]
name = "jobs"
per = "user"
limit = 4

[ledger]
path = "ledger.db"                          # ":memory:" forgets what was spent when the process ends
"""
_ENVIRONMENT = """\
# Secrets for development, read by fal-proxy from beside its configuration. Keep this file out of version control.
# Variables of the environment win over it; in production set them there, or as NAME_FILE.
FAL_KEY={fal_key}
SESSION_SECRET={session_secret}
FAL_PROXY_HANDLE_SECRETS={handle_secret}
"""


@click.command()
@CONFIG
@click.option("--sandbox", is_flag=True, help="For `fal-proxy sandbox`: works without a key of fal.")
@click.option("--secrets-only", is_flag=True, help="Writes .env alone, beside a CONFIG that exists.")
def init(config: Path, sandbox: bool, secrets_only: bool) -> None:
    """Writes a CONFIG to start from, and development secrets to .env beside it.

    Existing files are never overwritten. A second CONFIG uses the .env that is there.
    """
    environment = config.parent / ENV_FILE
    is_kept = environment.exists() and not secrets_only
    for path in [environment] if secrets_only else [config]:
        if path.exists():
            raise click.ClickException(f"{path} exists already; it was not changed")
    lacking = _lacking(environment) if is_kept else ""
    origin = "http://127.0.0.1:8080" if sandbox else "https://app.example.com"
    document = _SERVER + (_SANDBOX if sandbox else "") + _REST
    values = {
        "fal_key": f"sandbox:{secrets.token_hex(16)}" if sandbox else "",
        "session_secret": secrets.token_urlsafe(48),
        "handle_secret": secrets.token_urlsafe(48),
    }
    if not is_kept:
        _write(environment, _ENVIRONMENT.format(**values), mode=0o600)
    if not secrets_only:
        _write(config, document.format(origin=origin), mode=0o644)
    _ignore(config.parent / IGNORE_FILE)
    if is_kept:
        click.echo(f"wrote {config}; {environment} exists already and was not changed{lacking}")
    else:
        written = f"{environment}" if secrets_only else f"{config} and {environment}"
        click.echo(f"wrote {written} (secrets; ignored by git)")
    click.echo(_next_steps(sandbox))


def _write(path: Path, text: str, *, mode: int) -> None:
    """Writes a new file. Raises FileExistsError where there is one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _lacking(environment: Path) -> str:
    """Returns the names that a new file has and *environment* has not, to be put behind a message."""
    given = read_env_file(environment.parent)
    names = [line.partition("=")[0] for line in _ENVIRONMENT.splitlines() if "=" in line]
    missing = [name for name in names if name not in given]
    return f"; it lacks {', '.join(missing)}" if missing else ""


def _ignore(path: Path) -> None:
    """Adds `.env` and the ledger's files to the rules of git, where they are not there yet."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [rule for rule in (ENV_FILE, "ledger.db*") if rule not in lines]
    if missing:
        path.write_text("\n".join([*lines, *missing, ""]), encoding="utf-8")


def _next_steps(sandbox: bool) -> str:
    if sandbox:
        return "next: fal-proxy check, then fal-proxy sandbox in one terminal and fal-proxy serve in another"
    return "next: set server.public_origin and sessions, put your key into .env (FAL_KEY), then fal-proxy check"
