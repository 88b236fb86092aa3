"""Keys of fal, read from FAL_KEY and FAL_KEYS."""

from __future__ import annotations

import re
from collections.abc import Iterable

from proxy.auth.job_handles import ALIAS
from proxy.config.loader import Config, secret
from proxy.errors import Problem
from proxy.upstream.account.fal_key import DEFAULT, MAX_WEIGHT, FalKey

MAX_KEYS = 16  # each one is searched for in every answer
FIRST, MORE = "FAL_KEY", "FAL_KEYS"
# Characters of a header field, and long enough to be searched for in responses. fal's own form is `id:secret`.
_KEY = re.compile(r"[!-~]{8,512}")
_LINE = re.compile(rf"(?:(?P<alias>{ALIAS})=)?(?P<key>[!-~]{{8,512}}?)(?:;(?P<weight>[0-9]{{1,3}}))?", re.ASCII)


def build_fal_keys(config: Config, problems: list[Problem]) -> tuple[FalKey, ...]:
    """Returns the keys, the one without an alias first. Adds to *problems*, without the text of a key."""
    names = [name for name in (FIRST, MORE) if name in config.environ or f"{name}_FILE" in config.environ]
    keys: list[FalKey] = []
    for name in names or [FIRST]:
        try:
            text = secret(config, name)
            keys += [_first(text)] if name == FIRST else _listed(text)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
            return ()
    found = _problems(keys)
    problems.extend(Problem(MORE, text) for text in found)
    return () if found else tuple(sorted(keys, key=lambda key: key.alias != ""))


def _first(text: str) -> FalKey:
    if _KEY.fullmatch(text) is None:
        raise ValueError("not a fal key (id:secret)")
    return FalKey(text)


def _listed(text: str) -> Iterable[FalKey]:
    """Returns the keys of a list. Raises ValueError with the number of a line that is none."""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        parts = _LINE.fullmatch(content)
        weight = 1 if parts is None or parts["weight"] is None else int(parts["weight"])
        if parts is None or weight > MAX_WEIGHT:
            raise ValueError(f"line {number} is not [alias=]id:secret[;weight], a weight from 0 to {MAX_WEIGHT}")
        if parts["alias"] == DEFAULT:
            raise ValueError(f"line {number}: {DEFAULT} is the name of the key without an alias")
        yield FalKey(parts["key"], parts["alias"] or "", weight)


def _problems(keys: list[FalKey]) -> list[str]:
    aliases, texts = [key.alias for key in keys], [key.text for key in keys]
    found = [
        f"two keys have the alias {alias}" if alias else f"a key without an alias, and there is another one ({FIRST})"
        for alias in sorted({alias for alias in aliases if aliases.count(alias) > 1})
    ]
    if len(set(texts)) < len(texts):
        found.append("one key is there twice")
    if len(keys) > MAX_KEYS:
        found.append(f"at most {MAX_KEYS} keys")
    if not any(key.weight for key in keys):
        found.append("one key at least needs a weight above 0, for new jobs")
    return found
