"""The command `price`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import click

from proxy.app.setup.policies import build_policy
from proxy.billing.ledger.money import MICRO
from proxy.billing.pricing import Price
from proxy.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG, load_config
from proxy.config.loader import Config
from proxy.config.sections.endpoints import Endpoint
from proxy.errors import BadRequest, ConfigError, FieldError, Problem, ValidationFailed
from proxy.near_names import did_you_mean
from proxy.payload.policy import EndpointPolicy
from proxy.strict_json import Json, parse


@click.command()
@click.argument("endpoint")
@click.argument("input_file", metavar="[INPUT.JSON]", type=click.File("rb"), required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    default=DEFAULT_CONFIG,
    show_default=True,
    help="File that lists the endpoint.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_context
def price(ctx: click.Context, endpoint: str, input_file: IO[bytes] | None, config: Path, *, as_json: bool) -> None:
    """Shows the price of a request to ENDPOINT with the input in INPUT.JSON (`-` reads it from stdin).

    Fields that are left out have the defaults of the schema. Faults that a submit would be answered 422 for are
    reported, but for missing fields; then the command exits with 1.
    """
    loaded = load_config(config)
    section = _listed(loaded, endpoint)
    policy = build_policy(loaded, section)
    if section.price is None:
        raise ConfigError([Problem(f"{section.location}.price", "there is none")])
    evaluated = Price(section.price, policy.effective)
    value, faults = _read_input(policy, b"{}" if input_file is None else input_file.read())
    for fault in faults:
        click.echo(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", err=True)
    try:
        units = evaluated.evaluate(value) / MICRO
    except ValidationFailed as error:
        raise click.ClickException(error.detail[0]["msg"]) from error
    if as_json:
        click.echo(json.dumps({"endpoint": endpoint, "price": units, "expression": section.price}))
    else:
        click.echo(f"{units:g}")
    ctx.exit(int(bool(faults)))


def _read_input(policy: EndpointPolicy, raw: bytes) -> tuple[dict[str, Json], list[FieldError]]:
    """Returns the input that would be sent, and its faults but missing fields. Raises ClickException."""
    try:
        return policy.admit(raw).value, []
    except BadRequest as error:
        raise click.ClickException(str(error.detail)) from error
    except ValidationFailed as error:
        faults = [fault for fault in error.detail if fault["type"] != "missing"]
    value = parse(raw)
    return (value if isinstance(value, dict) else {}), faults


def _listed(config: Config, endpoint: str) -> Endpoint:
    listed = {section.id: section for section in config.endpoints}
    if endpoint not in listed:
        if config.problems:
            raise ConfigError(config.problems)
        raise click.ClickException(f"{endpoint} is not listed{did_you_mean(endpoint, listed)}")
    return listed[endpoint]
