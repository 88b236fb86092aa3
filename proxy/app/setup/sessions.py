"""Issuers of session tokens and their keys, built from [[sessions]] and [cookie] of a configuration."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from proxy.app.setup.key_reports import KeyReports
from proxy.app.setup.upstream.fal_keys import build_fal_keys
from proxy.auth.keys.algorithms import HMAC
from proxy.auth.keys.fetch import check_key_url
from proxy.auth.keys.hmac_secret import hmac_key
from proxy.auth.keys.key_cache import FileKeyCache, KeyCache, MemoryKeyCache, RedisKeyCache
from proxy.auth.keys.key_document import parse_key_document
from proxy.auth.keys.key_file import KeyFile
from proxy.auth.keys.key_source import KeySource, StaticKeys
from proxy.auth.keys.remote_keys import JwksSource, RemoteKeys
from proxy.auth.revocation.revocation_store import FileRevocations, MemoryRevocations, RedisRevocations, RevocationStore
from proxy.auth.sessions.claims import Requirement, Scalar
from proxy.auth.sessions.guest_sessions import GUEST_ISSUER, GuestSessions, guest_issuer, guest_keys
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.presets import KEY_SOURCES
from proxy.auth.sessions.session_cookie import SessionCookie
from proxy.auth.token_verifier import TokenVerifier
from proxy.config.loader import Config, secret
from proxy.config.sections.guests import GuestsSection
from proxy.config.sections.sessions import Session
from proxy.errors import Problem
from proxy.fal_api.operations import Action
from proxy.http.client.tls import tls_context
from proxy.storage.redis_client import RedisStore
from proxy.upstream.account.fal_key import secrets as fal_secrets

MEMORY = ":memory:"
MEMORY_CACHE = MemoryKeyCache()  # of the process, so that a reload finds the sets of the configuration before it


@dataclass(frozen=True)
class SessionComponents:
    """Issuers in the order of their tables, and the remote key sets among their keys."""

    issuers: tuple[Issuer, ...]
    remote_keys: tuple[RemoteKeys, ...]
    guests: GuestSessions | None
    reports: KeyReports = field(repr=False)


class SessionBuilder:
    """Builds the issuers of a configuration; tables with one JWK Set share it.

    *store* caches the last good sets.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._remote: dict[tuple[str | None, str, tuple[str, ...]], RemoteKeys] = {}
        self._reports = KeyReports()

    def build(self, problems: list[Problem]) -> SessionComponents:
        """Returns the issuers that can be built; appends to *problems* what is wrong with the others."""
        issuers: list[Issuer] = []
        for session in self._config.sessions:
            _try(problems, _location(session), partial(self._add, issuers, session))
        guests = self._guests(issuers, problems)
        _try(problems, "sessions", lambda: TokenVerifier(issuers, clock=time.time))
        if not issuers and not self._config.sessions and "sessions" not in self._config.incomplete:
            problems.append(Problem("sessions", "none is configured, so that every call would be refused"))
        return SessionComponents(tuple(issuers), tuple(self._remote.values()), guests, self._reports)

    def _guests(self, issuers: list[Issuer], problems: list[Problem]) -> GuestSessions | None:
        """Returns the maker of guest sessions where they are on, and adds the issuer of their tokens."""
        section = self._config.guests
        if any(issuer.issuer == GUEST_ISSUER for issuer in issuers):
            problems.append(Problem("sessions", f"the issuer {GUEST_ISSUER} is reserved for guest sessions"))
        if not section.enabled:
            return None
        if (uncovered := _without_global_budget(self._config)) is not None:
            message = f'a [[budgets]] table with per = "global" must cover {uncovered}: guests cost nothing to make'
            problems.append(Problem("guests.enabled", message))
        if not any(limit.per == "address" and Action.SESSION in limit.actions for limit in self._config.limits):
            message = 'a [[limits]] table with per = "address" and actions = ["session"] is needed'
            problems.append(Problem("guests.enabled", message))
        built: list[GuestSessions] = []
        _try(problems, "guests", lambda: built.append(self._guest_sessions(section, issuers)))
        return built[0] if built else None

    def _guest_sessions(self, section: GuestsSection, issuers: list[Issuer]) -> GuestSessions:
        secrets = [part.encode() for part in secret(self._config, self._config.handles.secrets_env).split(",")]
        keys = guest_keys(secrets)
        proof = None
        if section.proof_env is not None:
            proof = hmac_key(secret(self._config, section.proof_env).encode(), forbidden=_other_secrets(self._config))
        issuers.append(guest_issuer(keys, section.lifetime_seconds))
        return GuestSessions(
            keys,
            lifetime=section.lifetime_seconds,
            claims=section.claims,
            clock=time.time,
            proof_secret=proof.material if proof is not None and isinstance(proof.material, bytes) else None,
        )

    def _add(self, issuers: list[Issuer], session: Session) -> None:
        issuers.append(self.issuer(session))

    def issuer(self, session: Session) -> Issuer:
        """Returns the issuer of one table. Raises ValueError."""
        types = tuple(kind.lower().removeprefix("application/") for kind in session.types)
        return Issuer(
            issuer=session.issuer,
            audience=session.audience,
            keys=self._key_source(session),
            leeway=session.leeway_seconds,
            max_lifetime=session.max_lifetime_seconds,
            types=(*types, None),
            require=tuple(_requirement(path, value) for path, value in session.require.items()),
            forbid=tuple(_requirement(path, value) for path, value in session.forbid.items()),
            subject_claim=session.subject_claim,
            scope_claim=session.scope_claim,
            header=None if session.header is None else session.header.encode("ascii"),
        )

    def _key_source(self, session: Session) -> KeySource:
        given = [name for name in KEY_SOURCES if getattr(session, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(KEY_SOURCES)} is needed{_listed(given)}")
        algorithms = session.accepted_algorithms
        if (HMAC in algorithms) != (session.secret_env is not None) or (HMAC in algorithms and len(algorithms) > 1):
            raise ValueError(f"{HMAC} takes secret_env and no other algorithm; a public key takes the others")
        if session.secret_env is not None:
            return self._secrets(session.secret_env, session.kid)
        parse = partial(parse_key_document, algorithms=algorithms, kid=session.kid)
        file = session.public_key_file or session.jwks_file
        if file is not None:
            return KeyFile(self._config.base / file, parse, clock=time.monotonic, report=self._reports.write)
        return self._remote_keys(session, algorithms)

    def _secrets(self, name: str, kid: str | None) -> StaticKeys:
        forbidden = _other_secrets(self._config)
        texts = [text.strip() for text in secret(self._config, name).split(",")]
        return StaticKeys(tuple(hmac_key(text.encode(), kid, forbidden=forbidden) for text in texts))

    def _remote_keys(self, session: Session, algorithms: tuple[str, ...]) -> RemoteKeys:
        if session.discovery and "{" in session.issuer:
            raise ValueError("an issuer with a claim in braces takes jwks_url")
        source = JwksSource(url=session.jwks_url, issuer=session.issuer, tls=tls_context())
        check_key_url(source.name)
        key = (session.jwks_url, "" if session.jwks_url else session.issuer, algorithms)
        if key not in self._remote:
            self._remote[key] = RemoteKeys(
                source,
                partial(parse_key_document, algorithms=algorithms),
                clock=time.monotonic,
                now=time.time,
                report=self._reports.write,
            )
        return self._remote[key]


def build_revocation_store(config: Config, store: RedisStore | None) -> RevocationStore:
    """Returns the place of revocations: the store, else a file beside the ledger, else this process."""
    if store is not None:
        return RedisRevocations(store)
    if config.ledger.path == MEMORY:
        return MemoryRevocations()
    path = config.base / config.ledger.path
    return FileRevocations(path.with_name(f"{path.name}.revoked"))


def build_key_cache(config: Config, store: RedisStore | None) -> KeyCache:
    """Returns the cache of the last good key sets: store, files beside the ledger, or this process."""
    if store is not None:
        return RedisKeyCache(store)
    return MEMORY_CACHE if config.ledger.path == MEMORY else FileKeyCache(config.base / config.ledger.path)


def _without_global_budget(config: Config) -> str | None:
    """Returns an endpoint without an enforced budget over all callers, None where each has one."""
    budgets = [b for b in config.budgets if b.per == "global" and b.mode == "enforce"]
    covered = {endpoint for budget in budgets for endpoint in budget.endpoints}
    if any(not budget.endpoints for budget in budgets):
        return None
    return next((endpoint.id for endpoint in config.endpoints if endpoint.id not in covered), None)


def build_origins(config: Config) -> frozenset[bytes]:
    """Returns the origins of the service itself, as browsers write them."""
    more = () if config.cookie is None else config.cookie.origins
    return frozenset(origin.encode("ascii") for origin in (config.server.public_origin, *more))


def build_session_cookie(config: Config) -> SessionCookie | None:
    """Returns the session cookie, None where none is configured."""
    if config.cookie is None:
        return None
    return SessionCookie(config.cookie.name.encode("ascii"), build_origins(config))


def _location(session: Session) -> str:
    """Returns the key that a problem of this table is about."""
    given = [name for name in KEY_SOURCES if getattr(session, name)]
    return f"{session.location}.{given[0]}" if len(given) == 1 else session.location


def _listed(names: Sequence[str]) -> str:
    return f", not {' and '.join(names)}" if names else ""


def _requirement(path: str, value: object) -> Requirement:
    allowed = value if isinstance(value, list) else [value]
    return Requirement(path, tuple(item for item in allowed if isinstance(item, Scalar)))


def _other_secrets(config: Config) -> list[bytes]:
    """Returns the secrets of other purposes, as far as they are set."""
    secrets = [part.encode() for part in fal_secrets(build_fal_keys(config, []))]
    with suppress(ValueError):
        secrets += [part.encode() for part in secret(config, config.handles.secrets_env).split(",") if part]
    return secrets


def _try(problems: list[Problem], key: str, build: Callable[[], object]) -> None:
    try:
        build()
    except ValueError as error:
        problems.append(Problem(key, str(error)))
