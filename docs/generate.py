"""Writes config.schema.json and configuration.md from the models that read the file, so that they cannot differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy.sections import Document

HERE = Path(__file__).parent
INTRODUCTION = """# Configuration

<!-- Written by docs/generate.py (`make docs`) from proxy/sections.py. -->

One TOML file, given to `fal-proxy serve`, `check`, `token`, `usage` and `handle`. `fal-proxy check FILE` reports every
problem at once, each with the key it is at. An unknown key is an error. Relative paths are relative to the file. A JSON
Schema of it is in [config.schema.json](config.schema.json).

Secrets come from the environment, each as `NAME` or as `NAME_FILE` (a path):

| variable | what |
|---|---|
| `FAL_KEY` | your fal key, `id:secret` |
| as in `sessions.secret_env` | the HS256 secret of your login service, 32 bytes or more |
| `FAL_PROXY_HANDLE_SECRETS` | comma-separated secrets of job handles, 32 bytes or more: the first seals, all open |
| `FAL_PROXY_WEBHOOK_SECRETS` | comma-separated `whsec_...` secrets, where `webhooks.mode` is "ours": all sign |
| `FAL_PROXY_REDIS_URL` | `redis://`, `rediss://` or `unix://`, where `store.kind` or `ledger.kind` is "redis" |

To rotate the handle secret put the new one in front; drop the old one when its jobs are no longer read.

## Redis or Valkey

Redis 7 or newer, or Valkey. One server: `redis://`, `rediss://`, `unix://`. The master that Sentinels name:
`redis+sentinel://host:port,host:port/service/db`; its user needs the ROLE command. A Cluster:
`redis+cluster://host:port,host:port`; all keys are in one slot, since a step counts a user and everybody at once.
`rediss+sentinel` and `rediss+cluster` speak TLS. Set `maxmemory-policy noeviction` and `appendonly yes`: what the
server forgets, budgets forget. Replication is asynchronous, so a failover may forget the last writes;
`min-replicas-to-write 1` narrows that. Each call has 100 ms in all; `when_away` says what a limit does without one.
"""


def schema() -> str:
    return json.dumps(Document.model_json_schema(), indent=2) + "\n"


def reference() -> str:
    document = Document.model_json_schema()
    parts = [INTRODUCTION]
    for name, section in document["properties"].items():
        model, repeated = _model(section)
        described = document["$defs"][model]
        parts += [f"## {f'[[{name}]]' if repeated else f'[{name}]'}\n", described["description"] + "\n"]
        required = set(described.get("required", ()))
        parts += ["| key | value | default |", "|---|---|---|"]
        parts += [
            f"| `{key}` | {_kind(field)} | {'required' if key in required else _default(field)} |"
            for key, field in described["properties"].items()
        ]
        if repeated and section.get("default"):
            parts += ["", "Default, where none is written:", "", "```toml", *_defaults(name, section["default"]), "```"]
        parts.append("")
    return "\n".join(parts)


def _model(section: dict[str, Any]) -> tuple[str, bool]:
    repeated = section.get("type") == "array"
    reference = section["items"]["$ref"] if repeated else section["$ref"]
    return reference.rpartition("/")[2], repeated


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f'"{value}"' for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_kind(branch) for branch in field["anyOf"] if branch.get("type") != "null")
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2].lower()
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    if field.get("type") == "object":
        return "table"
    bounds = [f"{words} {field[word]:g}" for word, words in _BOUNDS.items() if word in field]
    return ", ".join([field.get("type", "value"), *bounds])


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def _default(field: dict[str, Any]) -> str:
    return "none" if field.get("default") is None else f"`{json.dumps(field['default'])}`"


def _defaults(name: str, items: list[dict[str, Any]]) -> list[str]:
    lines = []
    for item in items:
        lines += [f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in item.items()), ""]
    return lines[:-1]


if __name__ == "__main__":
    (HERE / "config.schema.json").write_text(schema(), encoding="utf-8")
    (HERE / "configuration.md").write_text(reference(), encoding="utf-8")
