"""Writer of config.schema.json and of the pages that follow from the code."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import click

from proxy.app.api_description.document import openapi_document
from proxy.app.setup.components import build_components
from proxy.cli.main import COMMANDS
from proxy.config.document import Document
from proxy.config.loader import read
from proxy.config.units import format_amount, format_number
from proxy.payload.policy import Policy

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tools"))
from openapi_page import OpenApiPage  # noqa: E402 - a script has its own folder alone on the path

INTRODUCTION = """# Configuration

<!-- Written by docs/generate.py (`make docs`) from proxy/config/sections. -->

The gateway reads one TOML file: the `CONFIG` argument of a command, else `$FAL_PROXY_CONFIG`, else
`./fal-proxy.toml`. `fal-proxy check` reports every problem of the file at once, each with its key. An unknown key is an
error. Relative paths are relative to the file. [config.schema.json](config.schema.json) is a JSON Schema of the file,
for editors.

`fal-proxy serve --host HOST --port PORT --workers N` override the file. Where `server.port` is left out, the
environment variable `PORT` is used.

## Environment

`${NAME}` in any string is replaced by the environment variable `NAME`, and `${NAME:-text}` by `text` where the variable
is unset or empty. Write `$${` for a literal `${`. A number may be given this way too: `port = "${GATEWAY_PORT:-8080}"`.

Variables that the environment does not have are read from the file `.env` beside the configuration, if there is one.
Its lines are `NAME=value`, with or without quotes. `fal-proxy init` writes one for development.

Secrets come from the environment only, each as `NAME` or as `NAME_FILE` (the path of a file that holds it):

| variable | what |
|---|---|
| `FAL_KEY` | your fal key, `id:secret` |
| `FAL_KEYS` | several fal keys, one a line: `[alias=]id:secret[;weight]` |
| the name in `sessions.secret_env` | the HS256 secret of your login service, 32 bytes or more |
| `FAL_PROXY_HANDLE_SECRETS` | secrets of job handles, separated by commas, 32 bytes or more each: the first signs |
| `FAL_PROXY_WEBHOOK_SECRETS` | `whsec_...` secrets, separated by commas, where `webhooks.mode` is "gateway": all sign |
| the name in `store.url_env`, by default `FAL_PROXY_REDIS_URL` | URL of Redis, where `store.kind` is "redis" |

Several fal keys, and how to replace a key or a secret without a failed request: [runbook](runbook.md).

## Redis or Valkey

Redis 7 or newer, or Valkey. `ledger.kind = "redis"` keeps the ledger in the store of `[store]`, so it needs
`store.kind = "redis"` too.

| deployment | URL |
|---|---|
| one server | `redis://`, `rediss://` (TLS) or `unix://` |
| Sentinel | `redis+sentinel://host:port,host:port/service/db`; the user needs the ROLE command |
| Cluster | `redis+cluster://host:port,host:port`; all keys are in one slot, since a step counts several of them |

`rediss+sentinel` and `rediss+cluster` use TLS. A server with another `maxmemory-policy` than `noeviction` is refused
at the start, because it may drop what was spent (`ledger.allow_eviction`). Set `appendonly yes`, else a restart of
the server loses what was spent since its last snapshot. Replication is asynchronous, so a failover may lose the last
writes; `min-replicas-to-write 1` makes that rarer.

A store that comes back empty is noticed within a second: `ledger.on_data_loss` sets the effect. A call has
`ledger.timeout_seconds` from its sending to its reply, 1 second by default, so a store with a latency of 500 ms
works. After 2 seconds without any reply calls fail at once until the server replies again. `on_store_error` sets the
effect on a limit.

The ledger's keys end by themselves, except lifetime budgets, credits, blocks, the epoch and the schema version. Ended
jobs stay for at most 7 days, the newest 1,000 of each caller. A store that 0.1.0 wrote is converted at the first start;
its old keys stay for 7 days under `{ledger}:v1:`. Stop all gateways of the old version before.

`maxmemory` bounds the store: a full server takes no new call, and every end of one. 50,000 open jobs take about 62
MB.
"""

COMMANDS_INTRODUCTION = """# Commands

<!-- Written by docs/generate.py (`make docs`) from proxy/cli. -->

`CONFIG` is a TOML file: the argument, else `$FAL_PROXY_CONFIG`, else `./fal-proxy.toml`. A command that fails ends with
status 1 and a line for each problem on standard error; a wrong use of a command ends with status 2.

Shell completion: `eval "$(_FAL_PROXY_COMPLETE=bash_source fal-proxy)"`, or `zsh_source`, `fish_source`.
"""
API_INTRODUCTION = """# API reference

<!-- Written by docs/generate.py (`make docs`) from the gateway's own OpenAPI document. -->

This is `GET /api/fal/openapi.json` of a gateway that lists `fal-ai/flux/dev` with all actions, uploads, realtime tokens
and guest sessions. Your gateway has the same document for your endpoints, with the schemas that callers meet. Paths are
relative to `https://app.example.com/api/fal`. Each operation needs a session token: `Authorization: Bearer <token>`,
`Authorization: Key <token>`, or the cookie. [HTTP API](http-api.md) has header mode, jobs and quotes in words, and
[errors](errors.md) every `error_type` with what to show your user.
"""
_SECRET = "9fK2-vQ7x_Lm4Zt8Rw1Yb6Nc3Hd5Js0Pg"  # noqa: S105 - signs nothing
_SECRETS = {
    "FAL_KEY": "example-id:example-secret",
    "SESSION_SECRET": _SECRET,
    "FAL_PROXY_HANDLE_SECRETS": _SECRET[::-1],
}
_EXAMPLE: dict[str, object] = {
    "server": {"public_origin": "https://app.example.com"},
    "sessions": [
        {
            "issuer": "https://app.example.com",
            "audience": "fal-proxy",
            "algorithms": ["HS256"],
            "secret_env": "SESSION_SECRET",
        }
    ],
    "endpoints": [
        {
            "id": "fal-ai/flux/dev",
            "actions": ["submit", "status", "status-stream", "result", "cancel", "run", "run-stream"],
            "price": 1,
        }
    ],
    "uploads": {},
    "realtime": {"apps": ["fal-ai/flux/dev/realtime"]},
}
NOTES = {
    "endpoints": """\
[Models](models.md) describes schemas, unknown fields, files and the options of a job; [prices](pricing.md) the language
of `price`.

Every text of the payload, at any depth and in any field, is checked as a file where it begins like a URL. In a field
for files each text is checked: its name ends in `url`, `urls`, `uri` or `uris`, its schema has `"format": "uri"` or
`x-fal-file-input`, or `files.fields` lists it. fal reads the file, never the gateway: the host name is checked as
text and is not resolved, so a public name with a private address is left to fal. These are always refused, also where
`hosts` is `*`:

- schemes other than https, ports and user names;
- IP addresses in any spelling, and names without a dot or with one at the end;
- names in other characters than ASCII (write them `xn--…`);
- `localhost`, names of private networks (`.local`, `.internal`, `.lan`, …), reserved domains (`.test`, `.example`, …);
- names that resolve to any address (`nip.io`, `rbndr.us`, …).

A data URI must be `data:<media type>;base64,…`. Parameters of the media type and usual aliases are understood.""",
    "uploads": """\
The gateway forwards a file name as `<name>.<extension>`. It keeps letters, digits, spaces and `()-` of the name and
replaces other characters by an underscore. The extension is that of the content type. A path, control characters and
marks of writing direction are refused. Of the caller's `x-fal-object-lifecycle` only
`{"expiration_duration_seconds": n}` is accepted; an `initial_acl` is refused with 400.

The gateway sees the announcement of a file, not the file. The PUT goes to fal's presigned URL, which accepts any bytes
of any size for about two minutes. Uploads are counted (the `upload-user` limit, a budget that names "uploads"), their
bytes are not. Anyone who has the file's URL can read it until its lifetime ends. A failed
announcement is refunded.

Clients that send no `storage_type` (Swift, Dart) may be sent to `storage.googleapis.com`. List it in `hosts` to serve
them, but note that the buckets of all Google Cloud customers are on that host.""",
    "realtime": """\
### What a realtime token gives away

A token is a credential for fal that your user has, and realtime connections go from the user to fal directly. During
its lifetime (`max_seconds`, from its creation at fal) the gateway controls nothing of its use:

- No schema, no rules and no file hosts: the app runs any input, as often as it is sent.
- No price and no budget beyond the flat `price` of the token, no limit and no slot in flight. fal bills your account
  for all runs, and only the account's concurrency slows them down.
- No end: it cannot be revoked, neither when the session ends nor when the user is blocked.
- No log and no handle: its jobs are not in your log and belong to no user.
- Anyone who gets the token can use it, from anywhere.

The older token API, which the stock JavaScript client uses by default, names an app by its alias alone. Such a token
may open apps of that alias of other owners too. Keep `apps` short, `max_seconds` low, the `token-user` limit and a
budget on "realtime", and set a `scope`. fal decides whether an open connection outlives its token.""",
}


def schema() -> str:
    """Returns the JSON Schema of the file."""
    return json.dumps(Document.model_json_schema(), indent=2) + "\n"


def reference() -> str:
    """Returns the page configuration.md."""
    document = Document.model_json_schema()
    parts = [INTRODUCTION]
    for name, section in document["properties"].items():
        model, repeated = _model(section)
        described = document["$defs"][model]
        parts += [f"## {f'[[{name}]]' if repeated else f'[{name}]'}\n", *_table(described)]
        for key, field in described["properties"].items():
            inner = document["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
            if "properties" in inner:
                parts += ["", f"### {key}, in {f'[[{name}]]' if repeated else f'[{name}]'}\n", *_table(inner)]
        if name in NOTES:
            parts += ["", NOTES[name]]
        if repeated and section.get("default"):
            parts += ["", "Default, where the file has none:", "", "```toml"]
            parts += [*_defaults(name, section["default"]), "```"]
        parts.append("")
    return "\n".join(parts)


def commands() -> str:
    """Returns the page cli.md."""
    parts = [COMMANDS_INTRODUCTION]
    for name in COMMANDS:
        parts += [*_command(f"fal-proxy {name}", COMMANDS[name].load())]
    return "\n".join(parts)


def api() -> str:
    """Returns the page api-reference.md: a gateway with one endpoint and all that may be enabled."""
    components = build_components(read(_EXAMPLE, _SECRETS, base=HERE))
    policy = Policy(components.policies)
    document = openapi_document(
        components.listings, policy, public_url="https://app.example.com/api/fal", cookie="__Host-session", guests=True
    )
    return OpenApiPage(document).text(API_INTRODUCTION)


def _command(name: str, command: click.Command) -> list[str]:
    parts = [f"## {name}\n", inspect.cleandoc(command.help or "") + "\n"]
    usage = " ".join(piece for piece in command.collect_usage_pieces(click.Context(command)))
    parts += ["```", f"{name} {usage}", "```", ""]
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        parts += ["| option | meaning |", "|---|---|", *(_option(option) for option in options), ""]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            parts += _command(f"{name} {inner.name}", inner)
    return parts


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command(None)))}"
    default = "" if option.is_flag or not option.show_default else f" Default: {option.default}."
    multiple = " May be repeated." if option.multiple else ""
    text = f"{(option.help or '').rstrip('.')}.{default}{multiple}".replace("|", "\\|")
    return f"| `{', '.join(option.opts)}{value.replace('|', ' or ')}` | {text} |"


def _table(described: dict[str, Any]) -> list[str]:
    required = set(described.get("required", ()))
    return [
        described["description"] + "\n",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{key}` | {_kind(key, field)} | {'required' if key in required else _default(key, field)} "
            f"| {field['description']} |"
            for key, field in described["properties"].items()
        ),
    ]


def _model(section: dict[str, Any]) -> tuple[str, bool]:
    """Returns the model's name, and True for a repeated table. An optional table is its model or null."""
    repeated = section.get("type") == "array"
    reference = section["items"]["$ref"] if repeated else section.get("anyOf", [section])[0]["$ref"]
    return reference.rpartition("/")[2], repeated


def _kind(key: str, field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f'"{value}"' for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_kind(key, branch) for branch in field["anyOf"] if branch.get("type") != "null")
    if "$ref" in field:
        return "table"
    if field.get("type") == "array":
        return f"list of {_kind(key, field['items'])}s"
    if field.get("type") == "object":
        return "table"
    bounds = [f"{words} {_bound(key, field[word])}" for word, words in _BOUNDS.items() if word in field]
    return ", ".join([_unit(key, field), *bounds])


def _bound(key: str, number: float) -> str:
    return format_amount(key, number) if number else "0"


def _unit(key: str, field: dict[str, Any]) -> str:
    if field.get("type") in ("integer", "number"):
        return next((unit for ending, unit in _UNITS.items() if key.endswith(ending)), field["type"])
    return str(field.get("type", "value"))


_UNITS = {"_bytes": "bytes", "_seconds": "seconds"}
_BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}


def _default(key: str, field: dict[str, Any]) -> str:
    if "$ref" in field and isinstance(field.get("default"), dict):
        return "as below"
    value = field.get("default")
    if value is None:
        return "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        words = format_amount(key, value)
        hidden = words.partition(" ")[0] != format_number(value)
        return f"`{value:.15g}` ({words})" if hidden else f"`{value:.15g}`"
    return f"`{json.dumps(value)}`"


def _defaults(name: str, items: list[dict[str, Any]]) -> list[str]:
    lines = []
    for item in items:
        lines += [f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in item.items() if _is_set(value)), ""]
    return lines[:-1]


def _is_set(value: object) -> bool:
    return value not in (None, [], {})


if __name__ == "__main__":
    (HERE / "config.schema.json").write_text(schema(), encoding="utf-8")
    (HERE / "configuration.md").write_text(reference(), encoding="utf-8")
    (HERE / "cli.md").write_text(commands(), encoding="utf-8")
    (HERE / "api-reference.md").write_text(api(), encoding="utf-8")
