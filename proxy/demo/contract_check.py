"""Contract check: one job at fal with the operator's key, compared with the same in a sandbox."""

from __future__ import annotations

import ssl
from base64 import b64encode
from io import BytesIO

import httpx2
from PIL import Image

from proxy.app.api_description.examples import input_example
from proxy.app.setup.components import Components
from proxy.demo.contract_calls import Answer, ContractCalls
from proxy.demo.contract_shapes import differences
from proxy.demo.demo import sandbox
from proxy.errors import ConfigError, Problem
from proxy.payload.policy import EndpointPolicy
from proxy.sandbox.settings import SandboxSettings
from proxy.strict_json import Json

_KEY = "sandbox:contract-check-0000"
_SIDE = 256  # pixels of the picture in an input
_CALL_SECONDS = 60.0


async def check_contract(components: Components, endpoint: str | None, payload: Json) -> list[Problem]:
    """Runs one job of *endpoint* at fal, which fal bills, and one in a sandbox. Returns their differences.

    *endpoint* is the first listed one where it is None; a *payload* of None is made from its schema. Raises ConfigError
    for an endpoint that is not listed, and for one whose input cannot be made.
    """
    policy = _policy(components, endpoint)
    if payload is None:
        payload = _input(policy)
    fal = components.config.fal
    tls = ssl.create_default_context(cafile=None if fal.ca_file is None else components.config.base / fal.ca_file)
    async with httpx2.AsyncClient(timeout=_CALL_SECONDS, verify=tls, follow_redirects=False) as http:
        calls = ContractCalls(http, fal.queue_origin, fal.rest_origin, components.fal_keys[0].text)
        problems = await _run(calls, policy.endpoint, payload)
    expected = await _sandbox_answers(components, policy.endpoint, payload)
    return [*problems, *differences(calls.answers, expected)]


async def _run(calls: ContractCalls, endpoint: str, payload: Json) -> list[Problem]:
    try:
        await calls.run(endpoint, payload)
    except (httpx2.HTTPError, TimeoutError) as error:
        after = calls.answers[-1].step if calls.answers else "the start"
        return [Problem("fal", f"the calls broke after {after}: {str(error) or type(error).__name__}")]
    return []


async def _sandbox_answers(components: Components, endpoint: str, payload: Json) -> list[Answer]:
    folder = components.config.schemas.dir
    schemas = None if folder is None else components.config.base / folder
    settings = SandboxSettings(keys=frozenset({_KEY}), schemas=schemas, queue_seconds=0.3, run_seconds=0.3)
    async with sandbox(settings) as origins, httpx2.AsyncClient(timeout=_CALL_SECONDS, trust_env=False) as http:
        calls = ContractCalls(http, origins.queue, origins.rest, _KEY)
        await calls.run(endpoint, payload)
    return calls.answers


def _policy(components: Components, endpoint: str | None) -> EndpointPolicy:
    for policy in components.policies:
        if endpoint in (None, policy.endpoint):
            return policy
    raise ConfigError([Problem("endpoints", "none is listed" if endpoint is None else f"{endpoint} is not listed")])


def _input(policy: EndpointPolicy) -> Json:
    example = input_example(policy.effective)
    if not isinstance(example, dict):
        raise ConfigError([Problem(policy.endpoint, "no input can be made from its schema: give one with --input")])
    return {name: _with_picture(value) for name, value in example.items()}


def _with_picture(value: Json) -> Json:
    """Returns a small picture in place of an address that may lead nowhere."""
    if isinstance(value, list):
        return [_with_picture(item) for item in value]
    return _picture() if isinstance(value, str) and value.startswith("http") else value


def _picture() -> str:
    buffer = BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((_SIDE, _SIDE)).save(buffer, "PNG")
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode('ascii')}"
