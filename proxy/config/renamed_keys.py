"""Keys and values of older files, with their successors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy.errors import Problem


@dataclass(frozen=True)
class Successor:
    """The new name of a key.

    With *convert* the old key is accepted, with a warning; without, it is an error.
    """

    key: str
    convert: Callable[[object], object] | None = None


RENAMED_KEYS: Mapping[str, Mapping[str, Successor]] = {
    "limits": {"when_away": Successor("on_store_error")},
    "budgets": {"when_away": Successor("on_store_error")},
    "in_flight": {"when_away": Successor("on_store_error")},
    "cookie": {"insecure_name": Successor("allow_insecure_name")},
    "uploads": {"lifetime": Successor("lifetime_mode")},
}
# Section, key and old value, with the new value.
RENAMED_VALUES: Mapping[tuple[str, str, object], object] = {("webhooks", "mode", "ours"): "gateway"}


def rename(
    section: str, table: Mapping[str, object], location: str, *, problems: list[Problem], warnings: list[Problem]
) -> dict[str, object]:
    """Returns *table* with new names for old ones, so that the rest of it can be checked.

    Adds each old name to *problems*, or to *warnings* where it is accepted.
    """
    renamed: dict[str, object] = {}
    for key, value in table.items():
        new_value = RENAMED_VALUES.get((section, key, value)) if isinstance(value, str) else None
        successor = RENAMED_KEYS.get(section, {}).get(key)
        if new_value is not None:
            problems.append(Problem(f"{location}.{key}", f'the value "{value}" is now "{new_value}"'))
            renamed[key] = new_value
        elif successor is None:
            renamed[key] = value
        elif successor.key in table:
            problems.append(Problem(f"{location}.{key}", f'is the old name of "{successor.key}", which is given too'))
        else:
            old_name = Problem(f"{location}.{key}", f'is now "{successor.key}"')
            (problems if successor.convert is None else warnings).append(old_name)
            renamed[successor.key] = value if successor.convert is None else successor.convert(value)
    return renamed
