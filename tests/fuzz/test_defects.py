"""Controls of the fuzz targets: each one notices a defect in what it checks, by its seeds."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from random import Random

import h11
import jwt
import pytest
from fuzz.mutation import mutants
from fuzz.table import TARGETS
from fuzz.target import Target
from fuzz.targets import session_tokens

from proxy.auth.sessions import issuer, jws
from proxy.expressions.tokens import Rewritten, Token
from proxy.fal_api import operations, webhook_url
from proxy.http.client.response_parser import ResponseParser
from proxy.http.server import connection, overload
from proxy.payload import policy
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.input_files import Inputs

MOST_CHANGES = 2000

Patch = pytest.MonkeyPatch


def read_short_content(patch: Patch) -> None:
    """Under overload a request is answered before all of its content has come."""
    patch.setattr(overload, "_content_length", lambda head: 3 if b"content-length: 3" in head else 0)
    patch.setattr(overload.Overload, "refusal", lambda self, data, tasks: b"x" if b"\r\n\r\n" in data else None)


def change_values(patch: Patch) -> None:
    """Values of header fields are not those that were sent."""
    checked = connection.HttpConnection.on_header

    def on_header(self: connection.HttpConnection, name: bytes, value: bytes) -> None:
        checked(self, name, value.replace(b"a", b"b"))

    patch.setattr(connection.HttpConnection, "on_header", on_header)


def lose_content(patch: Patch) -> None:
    """The first byte of each read of content is lost."""
    on_body = ResponseParser.on_body
    patch.setattr(ResponseParser, "on_body", lambda self, content: on_body(self, content[1:]))


def keep_ended_connections(patch: Patch) -> None:
    """A connection that ends is used again."""
    ended = ResponseParser.on_message_complete

    def on_message_complete(self: ResponseParser) -> None:
        ended(self)
        self.keep_alive = True

    patch.setattr(ResponseParser, "on_message_complete", on_message_complete)


def accept_spellings(patch: Patch) -> None:
    """Base64 that is not canonical is decoded."""
    patch.setattr(jws, "decode_base64url", lambda text: urlsafe_b64decode(text + b"=="))


def forget_time(patch: Patch) -> None:
    """The times of a token are not checked."""
    patch.setattr(issuer.Issuer, "check_time", lambda self, times, now: None)


def refuse_plans(patch: Patch) -> None:
    """A genuine token is refused for a claim that decides nothing."""
    checked = issuer.Issuer.check_required

    def check_required(self: issuer.Issuer, claims: Mapping[str, object]) -> None:
        if "plan" in claims:
            raise jws.malformed("a plan")
        checked(self, claims)  # type: ignore[arg-type]

    patch.setattr(issuer.Issuer, "check_required", check_required)


def accept_percent(patch: Patch) -> None:
    """A path of the queue may have any characters."""
    loose = re.compile(rb"/(?P<endpoint>[^/?#]+/[^?#]+?)(?:/requests/(?P<job>[^/]*)(?P<rest>/status)?)?/?")
    patch.setattr(operations, "_PATHS", {**operations._PATHS, operations.Surface.QUEUE: loose})


def accept_hosts(patch: Patch) -> None:
    """A webhook may go to a host that ends like a listed one."""

    class Hosts(frozenset[str]):
        def __contains__(self, host: object) -> bool:
            return str(host).endswith("example.com")

    rebuilt = webhook_url.rebuild_webhook_url
    patch.setattr(webhook_url, "rebuild_webhook_url", lambda value, hosts: rebuilt(value, Hosts(hosts)))


def accept_urls(patch: Patch) -> None:
    """A file may be anywhere."""
    patch.setattr(HostAllowlist, "problem", lambda self, url: None)
    patch.setattr(Inputs, "violations", lambda self, payload: [])


def forget_rules(patch: Patch) -> None:
    """The operator's rules are not applied."""
    patch.setattr(policy.EndpointPolicy, "_apply_rules", lambda self, value: [])


def misread_numbers(patch: Patch) -> None:
    """A hexadecimal number is read as another one."""
    rewrite = Rewritten._rewrite

    def rewritten(self: Rewritten, index: int, token: Token) -> str:
        return "16.0" if token.text.startswith("0x") else rewrite(self, index, token)

    patch.setattr(Rewritten, "_rewrite", rewritten)


DEFECTS: tuple[tuple[str, Callable[[Patch], None]], ...] = (
    ("request_parser", read_short_content),
    ("request_parser", change_values),
    ("response_parser", lose_content),
    ("response_parser", keep_ended_connections),
    ("session_tokens", accept_spellings),
    ("session_tokens", forget_time),
    ("session_tokens", refuse_plans),
    ("operations", accept_percent),
    ("operations", accept_hosts),
    ("payload_rules", accept_urls),
    ("payload_rules", forget_rules),
    ("expressions", misread_numbers),
)


@pytest.fixture(autouse=True)
def caches() -> Iterator[None]:
    """Empties what remembers outcomes, so that none of a defect is left for other tests."""
    yield
    operations._remembered.cache_clear()
    jws._cached_header.cache_clear()
    session_tokens._VERIFIER._sessions.clear()


def run_all(target: Target, inputs: Iterable[bytes]) -> None:
    for data in inputs:
        target.run(data)


@pytest.mark.parametrize(("name", "defect"), DEFECTS, ids=lambda part: getattr(part, "__name__", part))
def test_a_defect_is_noticed(name: str, defect: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """With the defect an input fails; without it none does, as the other tests of this folder show."""
    target = TARGETS[name]
    seeds = list(target.seeds())
    changed = islice(mutants(seeds, target.words, target.max_length, Random(2)), MOST_CHANGES)
    defect(monkeypatch)

    # The second readers have errors of their own.
    with pytest.raises((AssertionError, ValueError, KeyError, h11.RemoteProtocolError, jwt.InvalidTokenError)):
        run_all(target, [*seeds, *changed])
