"""Front proxies of `deploy/` in their shipped configurations, with places and certificates replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from support.front_proxies import Address, nginx_with, running
from support.gateway_process import program, until

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGE = DEPLOY / "nginx/html"


@dataclass(frozen=True)
class Places:
    """Places of one run: where the front listens, and what is behind it.

    *certificate* is a PEM file with its key; without it the front speaks plain HTTP, for tests that send raw bytes.
    *page* is the folder of the app's built files, for nginx.
    """

    home: Path
    port: int
    gateways: tuple[Address, Address]
    app: Address
    certificate: Path | None = None
    page: Path = PAGE

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port


StartFront = Callable[[Places], AbstractContextManager[Address]]


def places(
    home: Path, port: int, gateways: Sequence[Address], *, app: Address | None = None, certificate: Path | None = None
) -> Places:
    """Returns the places of one run; one gateway takes both places of the shipped configuration."""
    return Places(home, port, (gateways[0], gateways[-1]), app or gateways[0], certificate)


def _filled(path: Path, replaced: Mapping[str, str]) -> str:
    """Returns the text of *path*, in which each key of *replaced* must be exactly once."""
    text = path.read_text(encoding="utf-8")
    for shipped, here in replaced.items():
        assert text.count(shipped) == 1, (path.name, shipped)
        text = text.replace(shipped, here)
    return text


def _backends(at: Places) -> dict[str, str]:
    shipped = ("127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:3000")
    return {old: f"{host}:{port}" for old, (host, port) in zip(shipped, (*at.gateways, at.app), strict=True)}


@contextmanager
def nginx(at: Places) -> Iterator[Address]:
    with nginx_with(at.home, nginx_site(at), at.port) as address:
        yield address


def limited_site(at: Places, limit: int) -> str:
    """Returns `nginx_site` with its lines about overload turned on, for *limit* requests at once."""
    site = re.sub(r"^( *)#(?! )", r"\1", nginx_site(at), flags=re.MULTILINE)
    site, count = re.subn(r"limit_conn (fal_proxy|fal_proxy_address) \d+;", rf"limit_conn \1 {limit};", site)
    assert count == 2
    return site


def nginx_site(at: Places) -> str:
    """Returns the shipped app.conf with the places of a run."""
    live = "/etc/letsencrypt/live/app.example.com"
    listen = f"listen 127.0.0.1:{at.port}"
    certificate = {
        "listen 443 ssl http2;": f"{listen} ssl http2;",
        f"{live}/fullchain.pem": f"{at.certificate}",
        f"{live}/privkey.pem": f"{at.certificate}",
    }
    plain = {
        "listen 443 ssl http2;": f"{listen};",
        f"ssl_certificate {live}/fullchain.pem;": "",
        f"ssl_certificate_key {live}/privkey.pem;": "",
        "ssl_protocols TLSv1.2 TLSv1.3;": "",
    }
    places = {"listen 80;": f"listen unix:{at.home}/plain;", "root /usr/share/nginx/html;": f"root {at.page};"}
    return _filled(DEPLOY / "nginx/app.conf", {**_backends(at), **places, **(certificate if at.certificate else plain)})


@contextmanager
def caddy(at: Places) -> Iterator[Address]:
    host = f"https://localhost:{at.port}" if at.certificate else f"http://:{at.port}"  # the latter for any Host
    tls = f"\ttls {at.certificate} {at.certificate}\n" if at.certificate else ""
    replaced = {
        "{\n\tservers {": "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n\tauto_https disable_redirects\n\tservers {",
        "{$SITE:app.example.com} {\n": f"{host} {{\n{tls}",
        "root * /srv/app": f"root * {PAGE}",
    }
    (at.home / "Caddyfile").write_text(_filled(DEPLOY / "caddy/Caddyfile", {**_backends(at), **replaced}))
    command = [program("caddy"), "run", "--config", f"{at.home}/Caddyfile", "--adapter", "caddyfile"]
    environ = {"HOME": str(at.home), "XDG_DATA_HOME": str(at.home), "XDG_CONFIG_HOME": str(at.home)}
    with running(command, at.port, log=at.home / "caddy.log", environ=environ):
        yield at.address


@contextmanager
def haproxy(at: Places) -> Iterator[Address]:
    shipped = "bind :443 ssl crt /etc/haproxy/app.example.com.pem alpn h2,http/1.1"
    tls = f" ssl crt {at.certificate} alpn h2,http/1.1" if at.certificate else ""
    replaced = {shipped: f"bind 127.0.0.1:{at.port}{tls}", "bind :80": f"bind unix@{at.home}/plain"}
    conf = _filled(DEPLOY / "haproxy/haproxy.cfg", {**_backends(at), **replaced})
    (at.home / "haproxy.cfg").write_text(conf, encoding="utf-8")
    command = [program("haproxy"), "-db", "-f", f"{at.home}/haproxy.cfg"]
    with running(command, at.port, log=at.home / "haproxy.log"):
        yield at.address


@contextmanager
def traefik(at: Places) -> Iterator[Address]:
    routes = at.home / "routes.toml"
    static = {
        'address = ":80"': 'address = "127.0.0.1:0"',
        'graceTimeOut = "130s"': 'graceTimeOut = "1s"',
        'address = ":443"': f'address = "127.0.0.1:{at.port}"',
        'storage = "/var/lib/traefik/acme.json"': f'storage = "{at.home}/acme.json"',
        'filename = "/etc/traefik/routes.toml"': f'filename = "{routes}"',
    }
    (at.home / "traefik.toml").write_text(_filled(DEPLOY / "traefik/traefik.toml", static))
    text = _filled(DEPLOY / "traefik/routes.toml", _backends(at))
    assert text.count("Host(`app.example.com`)") == text.count('certResolver = "letsencrypt"') == 2
    text = text.replace("Host(`app.example.com`)", "PathPrefix(`/`)")
    for router in ("gateway", "app"):
        text = text.replace(f'[http.routers.{router}.tls]\ncertResolver = "letsencrypt"', _tls(at, router))
    if at.certificate:
        text += f'\n[[tls.certificates]]\ncertFile = "{at.certificate}"\nkeyFile = "{at.certificate}"\n'
    routes.write_text(text, encoding="utf-8")
    with running([program("traefik"), f"--configFile={at.home}/traefik.toml"], at.port, log=at.home / "traefik.log"):
        until(lambda: _has_routes(at))  # it listens before it has read them
        yield at.address


def _has_routes(at: Places) -> bool:
    """Returns whether the gateway behind it refuses a call without a session."""
    url = f"http{'s' if at.certificate else ''}://127.0.0.1:{at.port}/api/fal/usage"
    try:
        return httpx2.get(url, verify=False, trust_env=False).status_code == 401
    except httpx2.TransportError:
        return False


def _tls(at: Places, router: str) -> str:
    return f"[http.routers.{router}.tls]" if at.certificate else ""


FRONTS: Mapping[str, StartFront] = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy, "traefik": traefik}
