"""The command `health`."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from proxy.cli.options import CONFIG, load_config

# A listener on all addresses is reached on loopback.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 a comparison, not a listener


@click.command()
@CONFIG
@click.option("--host", help="Address of the gateway, in place of server.host.")
@click.option("--port", type=int, help="Port of the gateway, in place of server.port.")
@click.option("--ready", is_flag=True, help="Ask /readyz: may it get traffic? The default is /healthz: is it alive?")
@click.option("--timeout", default=2.0, show_default=True, help="Seconds to wait for the answer.")
def health(config: Path, host: str | None, port: int | None, ready: bool, timeout: float) -> None:
    """Checks a running gateway, for containers: status 0 where it answers well, 1 otherwise."""
    if host is None or port is None:
        server = load_config(config).server
        host, port = host or server.host, port or server.port
    path = "/readyz" if ready else "/healthz"
    try:
        status, body = _get(_LOOPBACK.get(host, host), port, path, timeout)
    except (OSError, ValueError, IndexError) as error:
        raise click.ClickException(f"{host}:{port}{path}: {error}") from error
    if status != 200:
        raise click.ClickException(f"{host}:{port}{path}: {status} {body}")
    click.echo(f"{host}:{port}{path}: good")


def _get(host: str, port: int, path: str, timeout: float) -> tuple[int, str]:
    """Sends one request. By hand: http.client imports ssl and email, which take longer than all the rest."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(request.encode("ascii"))
        with connection.makefile("rb") as answer:
            head, _, body = answer.read(65536).partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body[:4096].decode("utf-8", "replace")
