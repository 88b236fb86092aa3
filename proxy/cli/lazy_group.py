"""A click group that imports a subcommand when it runs, so that `--help` stays cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import click
from click.exceptions import NoSuchCommand

from proxy.errors import ConfigError, FalProxyError

DISTRIBUTION = "fal-auth-proxy"


@dataclass(frozen=True)
class Command:
    """A subcommand of the group.

    *target* is `module:attribute`, *help* its line in the list, *extra* the extra that it needs.
    """

    target: str
    help: str
    extra: str | None = None

    def load(self) -> click.Command:
        """Imports the command. Raises ClickException where its extra is not installed."""
        module, _, attribute = self.target.partition(":")
        try:
            loaded = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if self.extra is None or (error.name or "").startswith("proxy"):
                raise
            raise click.ClickException(
                f"{error}; install it with: pip install '{DISTRIBUTION}[{self.extra}]'"
            ) from error
        if not isinstance(loaded, click.Command):
            raise TypeError(f"{self.target} is no click command")
        return loaded


class LazyGroup(click.Group):
    """A group whose commands are imported on use.

    Expected errors end it with a line a problem and status 1.
    """

    lazy_commands: Mapping[str, Command] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the table."""
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command *cmd_name*.

        Returns None for an unknown name: click's message then has near names.
        """
        command = self.lazy_commands.get(cmd_name)
        return None if command is None else command.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolves as click does, with the near names of commands that are not imported yet."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise NoSuchCommand(args[0], possibilities=self.lazy_commands, ctx=ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.lazy_commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Runs a command.

        Defects keep their traceback; errors of the gateway and of the system are one line each.
        """
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            lines = [*(f"{problem.key}: {problem.message}" for problem in error.problems)]
            lines.append(f"{len(lines)} problem(s)")
        except (FalProxyError, ValueError, OSError) as error:
            lines = [str(error)]
        click.echo("\n".join(lines), err=True)
        raise click.exceptions.Exit(1)
