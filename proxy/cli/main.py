"""The command `fal-proxy`: the list of its subcommands, each imported when it runs."""

from __future__ import annotations

import click

from proxy import __version__
from proxy.cli.lazy_group import Command, LazyGroup

# One line of help each: the group lists them without an import of the command.
COMMANDS = {
    "demo": Command("proxy.cli.demo:demo", "Runs the gateway in front of the sandbox, without a key.", extra="sandbox"),
    "init": Command("proxy.cli.init:init", "Writes a configuration and development secrets to start from."),
    "serve": Command("proxy.cli.serve:serve", "Runs the gateway that CONFIG describes."),
    "check": Command("proxy.cli.check:check", "Reports every problem of CONFIG and its environment."),
    "health": Command("proxy.cli.health:health", "Checks a running gateway, for containers."),
    "sandbox": Command("proxy.cli.demo:sandbox", "Runs the local fal alone, to develop against.", extra="sandbox"),
    "token": Command("proxy.cli.token:token", "Mints a session token for development."),
    "schema": Command("proxy.cli.models.schema:schema", "Imports, fetches, compares and lists schemas of models."),
    "price": Command("proxy.cli.models.price:price", "Shows the price of a request."),
    "handle": Command("proxy.cli.handle:handle", "Shows the contents of a job handle."),
    "explain": Command("proxy.cli.explain:explain", "Shows each check of a session token, read from standard input."),
    "user": Command("proxy.cli.admin.user:user", "Blocks, admits, resets and forgets a user, and revokes sessions."),
    "job": Command("proxy.cli.admin.job:job", "Shows, refunds or releases one job."),
    "credit": Command("proxy.cli.admin.credit:credit", "Grants and lists units beyond a budget."),
    "caller": Command("proxy.cli.admin.caller:caller", "Shows the key of a user in usage and stores."),
    "ledger": Command("proxy.cli.admin.ledger:ledger", "Checks, backs up and moves the ledger."),
    "usage": Command("proxy.cli.admin.usage:usage", "Reports reservations, spending and refunds."),
}


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="fal-proxy")
def main() -> None:
    """The gateway between your users and your fal key.

    CONFIG is a TOML file; where it is not given, $FAL_PROXY_CONFIG is used, else ./fal-proxy.toml. Variables that the
    environment does not have are read from the file .env beside it.
    """


main.lazy_commands = COMMANDS
