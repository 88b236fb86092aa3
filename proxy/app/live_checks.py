"""Checks of services that a configuration names: fal, identity providers, store, ledger folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from uuid import uuid4

import httpx2

from proxy.app.setup.billing.ledgers import MEMORY
from proxy.app.setup.components import Components
from proxy.app.setup.upstream.clients import build_clients
from proxy.app.setup.upstream.relay import build_upstream
from proxy.auth.keys.remote_keys import RemoteKeys
from proxy.billing.ledger.sqlite_ledger import SqliteLedger
from proxy.errors import Problem, StoreAway, TransportError
from proxy.fal_api.endpoint_ids import app_id
from proxy.fal_api.operations import Surface
from proxy.http.client.messages import FieldLines, UpstreamRequest
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.upstream.account.fal_key import FalKey
from proxy.upstream.account.refusal import account_refusal
from proxy.upstream.relay import Relay, UpstreamClient

_TIMEOUT = 10.0  # seconds for one answer of fal
_MAX_BODY = 64 * 1024  # bytes of it
_ANY_APP = "fal-ai/flux"  # for the status of a made-up job, where no endpoint is listed


async def check_live(components: Components) -> list[Problem]:
    """Returns the problems of all services at once. Costs nothing at fal: no job is started."""
    checks: list[Awaitable[list[Problem]]] = [_check_fal_keys(components), _check_store(components)]
    checks += [_check_keys(keys) for keys in components.sessions.remote_keys]
    clients = build_clients(components)
    origins = {Surface.RUN: "fal.run_origin", Surface.STORAGE: "fal.rest_origin"}
    checks += [_check_origin(key, clients[surface]) for surface, key in origins.items()]
    try:
        found = await asyncio.gather(*checks)
    finally:
        for client in clients.values():
            await client.aclose()
    return [*(problem for problems in found for problem in problems), *_check_folder(components)]


async def _check_fal_keys(components: Components) -> list[Problem]:
    """Reads the status of a made-up job with each key. fal answers 404 where it accepts the key."""
    app = next((app_id(listing.endpoint) for listing in components.listings if "/" in listing.endpoint), _ANY_APP)
    ledger = SqliteLedger(MEMORY)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    log = JsonLogWriter(nowhere)
    upstream = build_upstream(components, ledger, Telemetry(log), log)
    try:
        found = [await _check_fal_key(upstream.relay, app, key) for key in components.fal_keys]
    finally:
        await upstream.aclose()
        await ledger.aclose()
        log.close()
        os.close(nowhere)
    return list(dict.fromkeys(problem for problem in found if problem is not None))


async def _check_fal_key(relay: Relay, app: str, key: FalKey) -> Problem | None:
    try:
        response = await relay.fetch(relay.status_request(app, str(uuid4()), key.alias))
    except TransportError as error:
        return Problem("fal.queue_origin", f"does not answer: {error}")
    refusal = account_refusal(response.status, response.body)
    if refusal is not None or response.status in (401, 403):
        return Problem(
            f"FAL_KEYS ({key.alias})" if key.alias else "FAL_KEY", f"fal refuses it: {refusal or response.status}"
        )
    return None if response.status < 500 else Problem("fal.queue_origin", f"answers {response.status}")


async def _check_origin(key: str, client: UpstreamClient) -> list[Problem]:
    """Connects without the key. Any answer shows that the origin is there."""
    request = UpstreamRequest(b"GET", b"/", FieldLines(()), b"")
    try:
        await client.fetch(request, timeout=_TIMEOUT, max_body=_MAX_BODY)
    except TransportError as error:
        if not error.received:
            return [Problem(key, f"does not answer: {error}")]
    return []


async def _check_keys(keys: RemoteKeys) -> list[Problem]:
    try:
        await keys.source.fetch()
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return [Problem("sessions", f"the keys at {keys.source.name} cannot be fetched: {reason}")]
    return []


async def _check_store(components: Components) -> list[Problem]:
    if components.store is None:
        return []
    try:
        await components.store.ping()
    except StoreAway as error:
        return [Problem("store.url_env", f"the store does not answer: {error}")]
    finally:
        await components.store.aclose()
    return []


def _check_folder(components: Components) -> list[Problem]:
    """Checks the folder alone: a running gateway has the file locked."""
    section = components.config.ledger
    if section.kind != "sqlite" or section.path == MEMORY:
        return []
    folder = (components.config.base / section.path).parent
    if not folder.is_dir():
        return [Problem("ledger.path", f"the folder {folder} does not exist")]
    return [] if os.access(folder, os.W_OK) else [Problem("ledger.path", f"the folder {folder} is not writable")]
