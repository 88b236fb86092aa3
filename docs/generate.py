"""Writes config.schema.json and configuration.md from the models that read the file, so that they cannot differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from proxy.config.document import Document

HERE = Path(__file__).parent
INTRODUCTION = """# Configuration

<!-- Written by docs/generate.py (`make docs`) from proxy/sections.py. -->

One TOML file, given to `fal-proxy serve`, `check`, `token`, `usage` and `handle`. `fal-proxy check FILE` reports every
problem at once, each with the key it is at. An unknown key is an error. It is read at start: a change takes a
restart. A relative path is relative to the file. A
JSON Schema of the file is in [config.schema.json](config.schema.json).

Secrets come from the environment, each as `NAME` or as `NAME_FILE` (a path):

| variable | what |
|---|---|
| `FAL_KEY` | your fal key, `id:secret` |
| as in `sessions.secret_env` | the HS256 secret of your login service, 32 bytes or more |
| `FAL_PROXY_HANDLE_SECRETS` | comma-separated secrets of job handles, 32 bytes or more: the first seals, all open |
| `FAL_PROXY_WEBHOOK_SECRETS` | comma-separated `whsec_...` secrets, where `webhooks.mode` is "ours": all sign |
| as in `store.url_env`, `FAL_PROXY_REDIS_URL` | where Redis is (below), where `store.kind` is "redis" |

To rotate the handle secret put the new one in front; drop the old one when its jobs are no longer read.

## Redis or Valkey

Redis 7 or newer, or Valkey. `ledger.kind = "redis"` keeps the ledger where `[store]` says, so it takes
`store.kind = "redis"` too. One server: `redis://`, `rediss://`, `unix://`. The master that Sentinels name:
`redis+sentinel://host:port,host:port/service/db`; its user needs the ROLE command. A Cluster:
`redis+cluster://host:port,host:port`; all keys are in one slot, since a step counts a user and everybody at once.
`rediss+sentinel` and `rediss+cluster` speak TLS. Set `maxmemory-policy noeviction` and `appendonly yes`: what the
server forgets, budgets forget. Replication is asynchronous, so a failover may forget the last writes;
`min-replicas-to-write 1` narrows that. Each call has 100 ms in all; `when_away` says what a limit does without one.
"""

NOTES = {
    "endpoints": """\
A member of the payload, at any depth, names an input file where its name ends in `url`, `urls`, `uri` or `uris` (in
any case), where its schema says `"format": "uri"`, or where `files.fields` lists it. One that ends in `path` or
`paths` (weights of LoRAs and embeddings: a URL, or a name in a hub) does where its value could be read as a URL.
Lists count item by item; an empty string names nothing. The bytes are read by fal, never by the gateway, so a name is
judged as it stands and not looked up: a public name that leads to a private address is fal's to refuse. Whatever
`hosts` says, these are always refused: any scheme but https, ports, users, IP addresses in every spelling, names
without a dot or with one at the end, names written in other than ASCII (write them `xn--…`), `localhost` and other
names of private networks (`.local`, `.internal`, `.lan`, …), and names that stand for any address (`nip.io`, …). Data
URIs are `data:<media type>;base64,…` and nothing else; `image/jpg` is taken for `image/jpeg`.""",
    "uploads": """\
A file name is taken as `<name>.<extension>`: letters, digits, spaces and `()-` of the name are kept, the rest becomes
an underscore, the extension is one of the content type. A path, control characters and bidi marks are refused. Of the
caller's `x-fal-object-lifecycle` only `{"expiration_duration_seconds": n}` is taken, and written anew; an
`initial_acl` is a 400.

The gateway sees the announcement, not the file: the PUT goes to fal's presigned URL, which takes any bytes of any
size for about two minutes. What an upload costs you is counted (the `upload-user` limit, a budget that names
"uploads"), not weighed. Whoever knows the file's URL can read it until its lifetime ends. An announcement that fails
is paid back.

Clients that name no `storage_type` (Swift, Dart) may be sent to `storage.googleapis.com`; list it in `hosts` if you
serve them, and know that everybody's buckets are on it.""",
    "realtime": """\
### What a realtime token gives away

A token is a credential for fal that your users hold, and realtime connections go from them to fal directly. For its
lifetime (`max_seconds`, from when fal makes it) the gateway decides nothing of what is done with it:

- no schema, no rules and no file hosts: any input the app takes is run, as often as it takes it;
- no price and no budget beyond the flat `price` of the token, no limit and no place in flight: fal bills your account
  for whatever is run, and the account's concurrency is all that slows it down;
- no end: it cannot be taken back, neither when the session ends nor when the user is locked out;
- no log and no handle: jobs under it are not in your journal, and nobody's in particular;
- whoever is given the token can use it, from anywhere.

The older mint, which the stock JavaScript client uses by default, names an app by its alias alone, so such a token
may open apps of that alias of other owners too. Keep `apps` short, `max_seconds` low, the `token-user` limit and a
budget on "realtime", and give it a `scope`. A connection that is open when its token ends may stay open: that is fal's
to decide.""",
}


def schema() -> str:
    return json.dumps(Document.model_json_schema(), indent=2) + "\n"


def reference() -> str:
    document = Document.model_json_schema()
    parts = [INTRODUCTION]
    for name, section in document["properties"].items():
        model, repeated = _model(section)
        described = document["$defs"][model]
        parts += [f"## {f'[[{name}]]' if repeated else f'[{name}]'}\n", *_table(described)]
        for key, field in described["properties"].items():
            inner = document["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
            if "properties" in inner:
                parts += ["", f"### {key}, in [[{name}]]\n", *_table(inner)]
        if name in NOTES:
            parts += ["", NOTES[name]]
        if repeated and section.get("default"):
            parts += ["", "Default, where none is written:", "", "```toml", *_defaults(name, section["default"]), "```"]
        parts.append("")
    return "\n".join(parts)


def _table(described: dict[str, Any]) -> list[str]:
    required = set(described.get("required", ()))
    return [
        described["description"] + "\n",
        "| key | value | default |",
        "|---|---|---|",
        *(
            f"| `{key}` | {_kind(field)} | {'required' if key in required else _default(field)} |"
            for key, field in described["properties"].items()
        ),
    ]


def _model(section: dict[str, Any]) -> tuple[str, bool]:
    """A table that may be left out is its model or null."""
    repeated = section.get("type") == "array"
    reference = section["items"]["$ref"] if repeated else section.get("anyOf", [section])[0]["$ref"]
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
    if "$ref" in field:
        return "as below"
    return "none" if field.get("default") is None else f"`{json.dumps(field['default'])}`"


def _defaults(name: str, items: list[dict[str, Any]]) -> list[str]:
    lines = []
    for item in items:
        lines += [f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in item.items()), ""]
    return lines[:-1]


if __name__ == "__main__":
    (HERE / "config.schema.json").write_text(schema(), encoding="utf-8")
    (HERE / "configuration.md").write_text(reference(), encoding="utf-8")
