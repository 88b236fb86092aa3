"""Front proxies as processes of their own: nginx and HAProxy before a gateway."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.gateway_process import program, until

# What a distribution's nginx.conf brings, with every path in a folder of the test's own.
_NGINX = """
daemon off;
worker_processes 1;
pid {home}/pid;
{user}
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
    types {{ text/html html; text/css css; text/javascript js; }}
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    include {home}/app.conf;
}}
"""
_NGINX_SITE = """
upstream gateway {{ {servers} keepalive 32; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://gateway;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_read_timeout {timeout}s;
        proxy_next_upstream off;
        client_max_body_size 10m;
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server {timeout}s
    option forwardfor
    retries 0
frontend app
    bind 127.0.0.1:{port}
    default_backend gateway
backend gateway
    {servers}
"""

Address = tuple[str, int]


def free_port() -> int:
    """Returns a port that was free a moment ago: these programs take no socket that is open already."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def nginx_with(home: Path, site: str, port: int) -> Iterator[Address]:
    """Runs nginx with the server blocks of *site*, and yields its address once it listens."""
    (home / "app.conf").write_text(site, encoding="utf-8")
    user = "user root;" if os.geteuid() == 0 else ""  # the folder is readable for its owner alone
    (home / "nginx.conf").write_text(_NGINX.format(home=home, user=user), encoding="utf-8")
    command = [program("nginx"), "-p", str(home), "-e", f"{home}/error.log", "-c", f"{home}/nginx.conf"]
    with running(command, port):
        yield "127.0.0.1", port


@contextmanager
def nginx(home: Path, gateways: Sequence[Address], *, timeout: float, port: int) -> Iterator[Address]:
    """Runs nginx before *gateways*; it gives up after *timeout* seconds without an answer."""
    servers = " ".join(f"server {host}:{number};" for host, number in gateways)
    with nginx_with(home, _NGINX_SITE.format(servers=servers, port=port, timeout=timeout), port) as address:
        yield address


@contextmanager
def haproxy(home: Path, gateways: Sequence[Address], *, timeout: float, port: int) -> Iterator[Address]:
    """Runs HAProxy before *gateways*; it gives up after *timeout* seconds without an answer."""
    servers = "\n    ".join(f"server s{index} {host}:{number}" for index, (host, number) in enumerate(gateways))
    (home / "haproxy.cfg").write_text(_HAPROXY.format(servers=servers, port=port, timeout=timeout), encoding="utf-8")
    with running([program("haproxy"), "-q", "-db", "-f", f"{home}/haproxy.cfg"], port):
        yield "127.0.0.1", port


@contextmanager
def running(
    command: Sequence[str], port: int, *, log: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs *command* from when *port* takes connections to the end. Its output goes to *log*."""
    with ExitStack() as stack:
        output = None if log is None else stack.enter_context(log.open("ab"))
        process = stack.enter_context(
            subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(environ or {})})
        )
        stack.callback(_end, process)
        until(lambda: process.poll() is not None or listens(port))
        assert process.poll() is None, f"{command[0]} did not start: {log and log.read_text()[-2000:]}"
        yield


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:  # some wait for connections that a test has left open
        process.kill()


def listens(port: int) -> bool:
    """Returns True where a program accepts connections on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
