"""Effective configuration for the operator page: each key with its value, secrets masked. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel

from proxy.config.document import Document
from proxy.config.loader import Config, secret
from proxy.config.value_types import Section
from proxy.strict_json import Json

MASK = "••••"
MIN_SECRET = 4  # characters; a shorter text would occur in unrelated values
_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|DSN|REDIS_URL")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def effective_configuration(config: Config, fal_secrets: Iterable[str] = ()) -> list[Json]:
    """Returns one entry a table: its place in the file, and its keys with their values.

    A key with its default value is marked. Secrets are not part of a configuration. A text of the file may be made from
    the environment, though: each value of a secret variable in it is masked. So is the user of a URL.

    *fal_secrets* are masked wherever they come from.
    """
    secrets = sorted(_secrets(config) | set(fal_secrets), key=len, reverse=True)
    return [
        {
            "table": place,
            "keys": [
                {
                    "key": name,
                    "value": _masked(getattr(section, name), secrets),
                    "default": name not in section.model_fields_set,
                }
                for name in type(section).model_fields
            ],
        }
        for place, section in _tables(config)
    ]


def _tables(config: Config) -> Iterator[tuple[str, Section]]:
    for name in Document.model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            yield f"[{name}]", value
        elif isinstance(value, tuple):
            yield from ((f"[[{name}]]", section) for section in value)


def _masked(value: object, secrets: Iterable[str]) -> Json:
    match value:
        case str():
            text = _USER_INFO.sub(MASK, value)
            for one in secrets:
                text = text.replace(one, MASK)
            return text
        case None | bool() | int() | float():
            return value
        case BaseModel():
            return {name: _masked(getattr(value, name), secrets) for name in type(value).model_fields}
        case Mapping():
            return {str(name): _masked(inner, secrets) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner, secrets) for inner in value]
        case set() | frozenset():
            return sorted((_masked(inner, secrets) for inner in value), key=str)
        case _:
            return _masked(str(value), secrets)


def _secrets(config: Config) -> set[str]:
    """Returns the values of variables with secrets: those that the file names, and those with such a name."""
    names = {str(value) for name, value in _strings(config) if name.endswith("_env")}
    names |= {name.removesuffix("_FILE") for name in config.environ if _SECRET_NAME.search(name)}
    found: set[str] = set()
    for name in names:
        value = _value(config, name)
        found |= {value, *value.split(","), *value.split(":")[-1:]}
    return {one.strip() for one in found if len(one.strip()) >= MIN_SECRET}


def _value(config: Config, name: str) -> str:
    try:
        return secret(config, name)
    except ValueError:
        return config.environ.get(name, "")


def _strings(config: Config) -> Iterator[tuple[str, object]]:
    for _, section in _tables(config):
        yield from ((name, getattr(section, name)) for name in type(section).model_fields)
