"""The command line: the only reader of arguments and of the environment."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from proxy import __version__
from proxy.app.service import run, serve_workers
from proxy.app.service import serve as serve_parts
from proxy.app.setup.components import build_components
from proxy.app.setup.ledgers import build_ledger
from proxy.auth.job_handles import JobHandles, parse_upstream_id
from proxy.auth.caller import caller_key
from proxy.auth.token_minting import mint
from proxy.billing.usage_report import By, summed, table
from proxy.config.loader import load, secret
from proxy.errors import ConfigError, FalProxyError, JobNotFound, Problem
from proxy.strict_json import Json

CONFIG = click.argument("config", type=click.Path(path_type=Path, dir_okay=False))


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> None:
        """Our own errors end the command with a line a problem and status 1; defects keep their traceback."""
        try:
            super().invoke(ctx)
        except ConfigError as error:
            for problem in error.problems:
                click.echo(f"{problem.key}: {problem.message}", err=True)
            click.echo(f"{len(error.problems)} problem(s)", err=True)
        except (FalProxyError, ValueError, OSError) as error:
            click.echo(str(error), err=True)
        else:
            return
        ctx.exit(1)


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="fal-proxy")
def main() -> None:
    """The gate between your users and your fal key."""


@main.command()
@CONFIG
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="More than one needs Redis.")
def serve(config: Path, workers: int) -> None:
    """Run the gateway that CONFIG describes."""
    parts = build_components(load(config, os.environ))
    log = sys.stdout.fileno()
    if workers > 1:
        serve_workers(parts, workers, log=log)
    else:
        run(lambda: serve_parts(parts, log=log))


@main.command()
@CONFIG
def check(config: Path) -> None:
    """Say everything that is wrong with CONFIG and its environment; listen to nothing."""
    parts = build_components(load(config, os.environ))
    click.echo(f"{config}: good; {len(parts.listings)} endpoint(s), {len(parts.issuers)} issuer(s)")


@main.command()
@CONFIG
@click.option("--subject", required=True, help="Whom the token names (sub).")
@click.option("--lifetime", default=3600.0, show_default=True, help="Seconds until it expires.")
@click.option("--scope", "scopes", multiple=True, help="May be given several times.")
@click.option("--private-key", type=click.Path(path_type=Path, exists=True), help="PEM or JWK; not for HS256.")
@click.option("--session", "index", default=0, show_default=True, help="Which of the file's [[sessions]].")
def token(
    config: Path, subject: str, lifetime: float, scopes: tuple[str, ...], private_key: Path | None, index: int
) -> None:
    """Mint a session token for development, as the app's login service would."""
    loaded = load(config, os.environ)
    session = dict(loaded.sessions).get(index)
    if session is None:
        raise ConfigError(loaded.problems or [Problem(f"sessions[{index}]", "there is none")])
    if session.secret_env is not None:
        key = secret(loaded, session.secret_env).encode()
    elif private_key is not None:
        key = private_key.read_bytes()
    else:
        raise click.UsageError(f"{session.algorithm} needs --private-key")
    click.echo(
        mint(
            algorithm=session.algorithm,
            key=key,
            issuer=session.issuer,
            audience=session.audience,
            subject=subject,
            lifetime=lifetime,
            now=time.time(),
            kid=session.kid,
            scopes=scopes,
        )
    )


@main.command()
@click.argument("handle")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Also say whose it is not, or is.")
@click.option("--issuer", help="With --config: the issuer of the presumed owner.")
@click.option("--subject", help="With --config: the subject of the presumed owner.")
@click.option("--app", help="With --config: owner/alias of the endpoint.")
def handle(handle: str, config: Path | None, issuer: str | None, subject: str | None, app: str | None) -> None:
    """Show what is inside a job HANDLE, and with a configuration whether it is a given caller's."""
    told = {"upstream_id": parse_upstream_id(handle)}
    if config is not None:
        if issuer is None or subject is None or app is None:
            raise click.UsageError("--config takes --issuer, --subject and --app")
        told["owner"] = _ownership(
            build_components(load(config, os.environ)).handles, handle, caller_key(issuer, subject), app
        )
    click.echo(json.dumps(told))


def _ownership(handles: JobHandles, handle: str, owner: str, app: str) -> str:
    try:
        handles.verify(handle, owner=owner, app=app)
    except JobNotFound:
        return "somebody else, or another app, or forged"
    return "this caller"


@main.command()
@CONFIG
@click.option("--by", type=click.Choice(["user", "endpoint", "day"]), default="user", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC. Default: the first of this month.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Last day, UTC. Default: today.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def usage(config: Path, by: By, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    """Who spent what: reservations, spending, refunds and unsettled outcomes. Users appear as their digests."""
    parts = build_components(load(config, os.environ))
    today = datetime.now(UTC).date()
    first = since.date() if since else today.replace(day=1)
    rows: list[dict[str, Json]] = []

    async def read() -> None:
        ledger = build_ledger(parts)
        lines = await ledger.report(since=first, until=until.date() if until else today)
        rows.extend(summed(lines, by))
        await ledger.aclose()

    run(read)
    click.echo(json.dumps(rows) if as_json else table(rows))


@main.command()
@click.option("--port", default=8080, show_default=True, help="0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line once ready, for scripts.")
def demo(port: int, as_json: bool) -> None:
    """Run the gateway in front of the embedded sandbox: no key, no configuration."""
    # The sandbox is an extra: a gateway in production has neither Pillow nor this.
    from proxy.demo.demo import demo as run_demo

    run(lambda: run_demo(port=port, as_json=as_json, log=sys.stderr.fileno()))


@main.command()
@click.option("--port", default=9000, show_default=True, help="The queue's; run, rest and control take the next three.")
@click.option("--key", "keys", multiple=True, help="A key to accept, id:secret; without any, every key is good.")
def sandbox(port: int, keys: tuple[str, ...]) -> None:
    """Run the local fal alone, to develop against."""
    from proxy.demo.demo import run_sandbox

    run(lambda: run_sandbox(port=port, keys=frozenset(keys) or None))
