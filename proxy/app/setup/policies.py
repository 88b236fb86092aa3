"""Payload policies of the listed endpoints, from their tables and schema files."""

from __future__ import annotations

from pathlib import Path

from proxy.app.setup.rest_actions import build_file_rules
from proxy.config.loader import Config
from proxy.config.sections.endpoints import Endpoint
from proxy.payload.job_options import JobOptions
from proxy.payload.policy import EndpointPolicy
from proxy.payload.rules import PayloadRules
from proxy.payload.schema_import.lookup import load_endpoint_schema
from proxy.payload.validation.schema_file import UNTYPED, Schema


def build_policy(config: Config, endpoint: Endpoint, rules: PayloadRules | None = None) -> EndpointPolicy:
    """Returns the policy of *endpoint*; *rules* replace those of its table.

    Raises ConfigError with every problem of its schema file and rules, ValueError for keys that contradict each other.
    """
    return EndpointPolicy(
        endpoint.id,
        load_schema(config, endpoint),
        payload_rules(endpoint) if rules is None else rules,
        build_file_rules(config, endpoint.files),
        unknown_fields=endpoint.unknown_fields,
        coerce=endpoint.coerce,
        max_elements=endpoint.max_elements,
        job_options=JobOptions(endpoint.store_io, endpoint.output_lifetime_seconds, endpoint.fallback, endpoint.tags),
    )


def load_schema(config: Config, endpoint: Endpoint) -> Schema:
    """Returns the schema of *endpoint*.

    Raises as `load_endpoint_schema`, and ValueError for contradicting keys.
    """
    if endpoint.schema_name == "any":
        if endpoint.schema_file is not None:
            raise ValueError('schema = "any" and schema_file exclude each other')
        return UNTYPED
    file = None if endpoint.schema_file is None else config.base / endpoint.schema_file
    return load_endpoint_schema(endpoint.id, file=file, folder=schema_folder(config))


def schema_folder(config: Config) -> Path | None:
    """Returns the folder of `[schemas] dir`, None where there is none."""
    return None if config.schemas.dir is None else config.base / config.schemas.dir


def payload_rules(endpoint: Endpoint) -> PayloadRules:
    """Returns the rules of single fields in the table of *endpoint*."""
    cap = {name: limit for name, limit in endpoint.cap.items() if isinstance(limit, int | float)}
    return PayloadRules(endpoint.force, endpoint.default, cap, frozenset(endpoint.forbid))
