"""Components of a configuration. Each is built on its own, so that all mistakes are reported."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from proxy.app.setup.billing.allowances import (
    build_budget,
    build_in_flight_limit,
    build_rate_rule,
    build_settlement_policy,
)
from proxy.app.setup.billing.privacy import build_store_keys
from proxy.app.setup.policies import build_policy
from proxy.app.setup.rest_actions import RestActions, build_rest_actions
from proxy.app.setup.sessions import SessionBuilder, SessionComponents, build_origins, build_session_cookie
from proxy.app.setup.tracing import check_tracing
from proxy.app.setup.upstream.fal_keys import build_fal_keys
from proxy.app.setup.webhook_settings import WebhookSettings, build_webhook_settings
from proxy.auth.authorization import Listing
from proxy.auth.claim_rule import ClaimRule
from proxy.auth.job_handles import JobHandles
from proxy.auth.sessions.issuer import Issuer
from proxy.auth.sessions.session_cookie import SessionCookie
from proxy.billing.budgets import Budget, InFlightLimit
from proxy.billing.pricing import Price
from proxy.billing.settlement_policy import SettlementPolicy
from proxy.billing.store_keys import StoreKeys
from proxy.config.loader import Config, secret
from proxy.config.sections.endpoints import Endpoint
from proxy.errors import ConfigError, Problem
from proxy.fal_api.operations import WITHOUT_ENDPOINT
from proxy.gateway.repeats.call_identity import IdempotencySettings
from proxy.http.client.tls import tls_context
from proxy.http.origin import Origin
from proxy.payload.policy import EndpointPolicy
from proxy.payload.rules import PayloadRules
from proxy.ratelimit.rate_limiter import RateRule
from proxy.storage.redis_client import RedisStore
from proxy.strict_json import Json
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.fal_key import secrets as fal_secrets
from proxy.upstream.account.state import PAUSE
from proxy.webhooks.callback_seal import CallbackCipher

T = TypeVar("T")
STORE_TIMEOUT = 1.0  # seconds

# Characters of a header field.
_ADMIN_TOKEN = re.compile(r"[!-~]{32,512}")


@dataclass(frozen=True)
class Components:
    """All checked components of the application. Its secrets are not in its repr."""

    config: Config
    fal_keys: tuple[FalKey, ...]
    handles: JobHandles
    sessions: SessionComponents
    cookie: SessionCookie | None
    origins: frozenset[bytes]
    listings: tuple[Listing, ...]
    policies: tuple[EndpointPolicy, ...]
    rules: tuple[RateRule, ...]
    store: RedisStore | None
    tls: ssl.SSLContext | None
    budgets: tuple[Budget, ...]
    in_flight: tuple[InFlightLimit, ...]
    prices: Mapping[str, Price]
    settlement_policy: SettlementPolicy
    idempotency: IdempotencySettings
    store_keys: StoreKeys = field(repr=False)
    rest_actions: RestActions
    webhooks: WebhookSettings | None
    admin_token: str | None = field(repr=False, default=None)
    probe_interval: float = PAUSE  # seconds between two probes of a refused key

    @property
    def fal_secrets(self) -> tuple[str, ...]:
        """All that no response and no log may hold: each fal key, and its secret half."""
        return fal_secrets(self.fal_keys)

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """One issuer a [[sessions]] table."""
        return self.sessions.issuers


def build_components(config: Config) -> Components:
    """Builds all components.

    Raises ConfigError with all problems of the file, its environment and its files.
    """
    builder = ComponentBuilder(config)
    fal_keys = builder.fal_keys()
    handles = builder.handles(fal_keys)
    rules, store, tls = builder.rules(), builder.store(), builder.tls()
    sessions, listings, policies = builder.sessions(), builder.listings(), builder.policies()
    rest_actions = build_rest_actions(config)
    budgets, in_flight, prices = builder.budgets(rest_actions), builder.in_flight(), builder.prices(policies)
    builder.check_durations()
    builder.check_tracing()
    settlement_policy = builder.settlement_policy()
    store_keys = builder.store_keys()
    webhooks = builder.webhooks()
    admin_token = builder.admin_token()
    problems = [*config.problems, *(p for p in builder.problems if not config.is_consequence(p))]
    if problems or handles is None or store_keys is None or settlement_policy is None:
        raise ConfigError(problems)
    return Components(
        config=config,
        fal_keys=fal_keys,
        handles=handles,
        sessions=sessions,
        cookie=build_session_cookie(config),
        origins=build_origins(config),
        listings=(*listings, *rest_actions.listings),
        policies=tuple(policies),
        rules=tuple(rules),
        store=store,
        tls=tls,
        budgets=tuple(budgets),
        in_flight=tuple(in_flight),
        prices={**prices, **rest_actions.prices},
        settlement_policy=settlement_policy,
        store_keys=store_keys,
        idempotency=_idempotency_settings(config),
        rest_actions=rest_actions,
        webhooks=webhooks,
        admin_token=admin_token,
    )


class ComponentBuilder:
    """Builder of single components.

    A failure is added to *problems* under its key, and the next one is tried.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.problems: list[Problem] = []

    def fal_keys(self) -> tuple[FalKey, ...]:
        return build_fal_keys(self._config, self.problems)

    def handles(self, keys: Iterable[FalKey]) -> JobHandles | None:
        aliases = [key.alias for key in keys]
        return self._try_build("handles.secrets_env", lambda: JobHandles(self._handle_secrets(), aliases))

    def store_keys(self) -> StoreKeys | None:
        return self._try_build("privacy.secret_env", lambda: build_store_keys(self._config))

    def sessions(self) -> SessionComponents:
        """Returns the issuers of session tokens, their keys, and guests."""
        return SessionBuilder(self._config).build(self.problems)

    def listings(self) -> Iterable[Listing]:
        seen: set[str] = set()
        for endpoint in self._config.endpoints:
            if endpoint.id in seen:
                self.problems.append(Problem(f"{endpoint.location}.id", f"{endpoint.id} is listed twice"))
            seen.add(endpoint.id)
        return [
            Listing(e.id, frozenset(e.actions), e.scope, self._claim_rule(f"{e.location}.allow", e.allow))
            for e in self._config.endpoints
        ]

    def _claim_rule(self, location: str, expression: str | None) -> ClaimRule | None:
        return None if expression is None else self._try_build(location, partial(ClaimRule, expression))

    def policies(self) -> Iterable[EndpointPolicy]:
        made = [
            self._try_build(endpoint.location, partial(build_policy, self._config, endpoint))
            for endpoint in self._config.endpoints
        ]
        return [policy for policy in made if policy is not None]

    def rules(self) -> Iterable[RateRule]:
        listed = self._listed() | frozenset(WITHOUT_ENDPOINT.values())
        made = [
            self._try_build(limit.location, partial(build_rate_rule, limit, listed)) for limit in self._config.limits
        ]
        rules = [rule for rule in made if rule is not None]
        names = [rule.name for rule in rules]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.problems.append(Problem("limits", f"two have the name {name}"))
        return rules

    def store(self) -> RedisStore | None:
        store = self._config.store
        if store.kind == "memory":
            return None
        return self._try_build(
            "store.url_env",
            lambda: RedisStore(
                secret(self._config, store.url_env),
                timeout=self._config.ledger.timeout_seconds or STORE_TIMEOUT,
                prefix=store.prefix,
            ),
        )

    def budgets(self, rest_actions: RestActions) -> Iterable[Budget]:
        listed = self._listed() | rest_actions.prices.keys()
        made = [
            self._try_build(section.location, partial(build_budget, section, listed))
            for section in self._config.budgets
        ]
        return [budget for budget in made if budget is not None]

    def in_flight(self) -> Iterable[InFlightLimit]:
        listed = self._listed()
        made = [
            self._try_build(section.location, partial(build_in_flight_limit, section, listed))
            for section in self._config.in_flight
        ]
        return [rule for rule in made if rule is not None]

    def prices(self, policies: Iterable[EndpointPolicy]) -> dict[str, Price]:
        """Returns the price of each endpoint that has one. An endpoint that a budget covers must have one."""
        effective = {policy.endpoint: policy.effective for policy in policies}
        prices: dict[str, Price] = {}
        for endpoint in self._config.endpoints:
            key = f"{endpoint.location}.price"
            if endpoint.price is None:
                covering = [b.name for b in self._config.budgets if not b.endpoints or endpoint.id in b.endpoints]
                if covering:
                    self.problems.append(
                        Problem(key, f"the budget {covering[0]} covers this endpoint, so it needs one")
                    )
            elif (schema := effective.get(endpoint.id) or self._schema(endpoint)) is not None:
                price = self._try_build(key, partial(Price, endpoint.price, schema))
                if price is not None:
                    prices[endpoint.id] = price
        return prices

    def settlement_policy(self) -> SettlementPolicy | None:
        config = self._config
        return self._try_build("endpoints", lambda: build_settlement_policy(config.ledger, config.endpoints))

    def check_durations(self) -> None:
        """Checks that reservations outlive the longest call, and that a Redis ledger has a store."""
        ledger, (call, seconds) = self._config.ledger, self._config.longest_call
        if ledger.kind == "redis" and self._config.store.kind != "redis":
            self.problems.append(Problem("ledger.kind", "redis is the one in [store], so store.kind must be redis too"))
        durations = {"ledger.reservation_seconds": ledger.reservation_seconds}
        durations |= {f"{section.location}.lease_seconds": section.lease_seconds for section in self._config.in_flight}
        for key, duration in durations.items():
            if duration <= seconds:
                self.problems.append(Problem(key, f"must be more than {call}, which is {seconds:g}"))

    def check_tracing(self) -> None:
        """Checks that the package of traces is installed where they are on."""
        self._try_build("tracing.enabled", lambda: check_tracing(self._config))

    def tls(self) -> ssl.SSLContext | None:
        fal = self._config.fal
        origins = (fal.queue_origin, fal.backup_queue_origin or fal.queue_origin, fal.run_origin, fal.rest_origin)
        if all(Origin.parse(origin).scheme == "http" for origin in origins):
            return None
        file = None if fal.ca_file is None else str(self._config.base / fal.ca_file)
        return self._try_build("fal.ca_file", lambda: tls_context(file))

    def webhooks(self) -> WebhookSettings | None:
        """Returns the settings of webhooks. A missing secret of handles is reported by `handles`."""
        with suppress(ValueError):
            return build_webhook_settings(self._config, CallbackCipher(self._handle_secrets()), self.problems)
        return None

    def admin_token(self) -> str | None:
        name = self._config.admin.token_env
        return None if name is None else self._try_build("admin.token_env", lambda: _admin_token(self._config, name))

    def _handle_secrets(self) -> list[bytes]:
        return [part.encode() for part in secret(self._config, self._config.handles.secrets_env).split(",")]

    def _listed(self) -> frozenset[str]:
        return frozenset(endpoint.id for endpoint in self._config.endpoints)

    def _try_build(self, key: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (ValueError, OSError) as error:
            self.problems.append(Problem(key, str(error)))
        except ConfigError as error:
            self.problems.extend(Problem(f"{key}: {problem.key}", problem.message) for problem in error.problems)
        return None

    def _schema(self, endpoint: Endpoint) -> Mapping[str, Json] | None:
        """Returns the schema without the operator's rules, to check a price where the rules are wrong."""
        with suppress(ConfigError, ValueError):
            return build_policy(self._config, endpoint, PayloadRules()).effective
        return None


def _admin_token(config: Config, name: str) -> str:
    token = secret(config, name)
    if _ADMIN_TOKEN.fullmatch(token) is None:
        raise ValueError(f"{name} must have 32 to 512 visible ASCII characters")
    return token


def _idempotency_settings(config: Config) -> IdempotencySettings:
    fal, ledger = config.fal, config.ledger
    return IdempotencySettings(
        ttl=ledger.idempotency_seconds,
        hold=2 * fal.submit_seconds,
        run_hold=fal.run_seconds + fal.submit_seconds,
        wait=fal.submit_seconds,
        run_wait=fal.run_seconds,
        rejoin=ledger.rejoin_seconds,
        max_answer=ledger.max_stored_answer_bytes,
    )
