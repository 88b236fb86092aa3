"""The commands `schema import`, `schema pull`, `schema diff` and `schema list`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from proxy.app.setup.policies import schema_folder
from proxy.cli.models.schema_download import BASE_URL, download
from proxy.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG, load_config
from proxy.config.loader import Config
from proxy.errors import ConfigError, SchemaError
from proxy.fal_api.endpoint_ids import endpoint_id
from proxy.payload.schema_import.diff import schema_differences
from proxy.payload.schema_import.importer import ImportedSchema, import_schemas
from proxy.payload.schema_import.lookup import (
    endpoint_by_file_name,
    find_schema_file,
    known_endpoints,
    load_endpoint_schema,
    schema_file_name,
)
from proxy.payload.validation.schema_file import SHIPPED, check_schema
from proxy.strict_json import dump

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    default=DEFAULT_CONFIG,
    show_default=True,
    help="File whose [schemas] dir is used.",
)
TO = click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder of schema files.")
URL = click.option("--base-url", default=BASE_URL, show_default=True, help="Where fal publishes its documents.")


@click.group()
def schema() -> None:
    """Input schemas of models: import, fetch, compare and list them."""


@schema.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@TO
@CONFIG
@click.option("--endpoint", help="Id of the endpoint, for one FILE that does not name it.")
@click.pass_context
def import_files(
    ctx: click.Context, files: tuple[Path, ...], folder: Path | None, config: Path, endpoint: str | None
) -> None:
    """Converts documents of fal to schema files.

    FILE is an OpenAPI document, {"metadata", "openapi"}, a page of fal's models API, or a JSON Schema with `$defs`.
    """
    writer = _Writer(_target(folder, config))
    for path in files:
        writer.add(str(path), path.read_bytes(), endpoint or endpoint_by_file_name(path.name))
    writer.write()
    ctx.exit(writer.status)


@schema.command()
@click.argument("endpoints", nargs=-1, required=True)
@TO
@CONFIG
@URL
@click.pass_context
def pull(ctx: click.Context, endpoints: tuple[str, ...], folder: Path | None, config: Path, base_url: str) -> None:
    """Fetches the public documents of ENDPOINTS from fal and imports them. No key is sent."""
    writer = _Writer(_target(folder, config))
    for endpoint, raw in download(endpoints, base_url):
        writer.add(endpoint, raw, endpoint, is_id=True)
    writer.write()
    ctx.exit(writer.status)


@schema.command()
@click.argument("sources", nargs=-1)
@TO
@CONFIG
@URL
@click.pass_context
def diff(ctx: click.Context, sources: tuple[str, ...], folder: Path | None, config: Path, base_url: str) -> None:
    """Compares the schemas in use with newer documents; exits with 1 where they differ.

    A SOURCE is a file, or the id of an endpoint that is fetched from fal. Without one, every schema of the folder is.
    """
    loaded = _optional_config(config)
    used = folder or (None if loaded is None else schema_folder(loaded))
    names = sources or tuple(name for name, path in known_endpoints(used).items() if SHIPPED not in path.parents)
    if not names:
        raise click.UsageError("give a file or an endpoint, or a folder with --to")
    changed = False
    for imported in _newer(names, base_url):
        for line in _differences(imported, used, loaded):
            changed = True
            click.echo(f"{imported.endpoint}: {line}")
    if not changed:
        click.echo("no difference")
    ctx.exit(int(changed))


@schema.command("list")
@TO
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.pass_context
def list_known(ctx: click.Context, folder: Path | None, config: Path, *, as_json: bool) -> None:
    """Lists the endpoints with a schema: those of the folder and those that are shipped."""
    loaded = _optional_config(config)
    used = folder or (None if loaded is None else schema_folder(loaded))
    rows = [_row(endpoint, path, used) for endpoint, path in known_endpoints(used).items()]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        width = max((len(str(row["endpoint"])) for row in rows), default=0)
        for row in rows:
            text = row["problem"] or f"{row['fields']} fields, {'output' if row['output'] else 'no output'}"
            click.echo(f"{row['endpoint']:<{width}}  {row['source']:<8}  {text}")
    ctx.exit(int(any(row["problem"] for row in rows)))


class _Writer:
    """Schemas of one command, written together. *status* is the exit code."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schemas: dict[str, ImportedSchema] = {}
        self._failed = False

    def add(self, source: str, raw: bytes, endpoint: str, *, is_id: bool = False) -> None:
        """Imports *raw*. *endpoint*: the id where the document has none; with *is_id*, in any case."""
        try:
            imported, problems = import_schemas(raw)
        except SchemaError as error:
            self._failed = True
            click.echo(f"{source}: {error}", err=True)
            return
        for problem in problems:
            click.echo(f"{source}: {problem}", err=True)
        for item in imported:
            name = endpoint if is_id or item.endpoint is None else item.endpoint
            if not _is_endpoint(name):
                self._failed = True
                click.echo(f"{source}: does not name its endpoint; give it with --endpoint", err=True)
                continue
            if name in self._schemas:
                click.echo(f"warning: {source}: a second document for {name}, which replaces the first", err=True)
            self._schemas[name] = item

    def write(self) -> None:
        """Writes the files, each replaced as a whole, and reports them with their warnings."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, item in self._schemas.items():
            path = self._folder / schema_file_name(name)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(item.document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(path)
            click.echo(f"{name}: {len(item.fields)} fields -> {path}")
            for warning in item.warnings:
                click.echo(f"warning: {name}: {warning}", err=True)
        click.echo(f"{len(self._schemas)} schema(s) in {self._folder}")

    @property
    def status(self) -> int:
        """1 where a file could not be read at all, or nothing was written."""
        return int(self._failed or not self._schemas)


def _is_endpoint(text: str) -> bool:
    try:
        endpoint_id(text)
    except ValueError:
        return False
    return True


def _newer(names: Iterable[str], base_url: str) -> Iterator[ImportedSchema]:
    files = [Path(name) for name in names if Path(name).is_file()]
    fetched = download([name for name in names if not Path(name).is_file()], base_url)
    for endpoint, raw in [*((endpoint_by_file_name(p.name), p.read_bytes()) for p in files), *fetched]:
        try:
            imported, problems = import_schemas(raw)
        except SchemaError as error:
            raise click.ClickException(f"{endpoint}: {error}") from error
        for problem in problems:
            click.echo(problem, err=True)
        yield from (
            item if item.endpoint else ImportedSchema(endpoint, item.document, item.warnings) for item in imported
        )


def _differences(imported: ImportedSchema, folder: Path | None, config: Config | None) -> list[str]:
    endpoint = imported.endpoint or ""
    path = find_schema_file(endpoint, folder)
    if path is None:
        return ["has no schema here yet"]
    listed = [] if config is None else [e for e in config.endpoints if e.id == endpoint]
    priced = {name for e in listed for name in imported.fields if name in str(e.price)}
    newer = check_schema(endpoint, dump(imported.document))
    return schema_differences(load_endpoint_schema(endpoint, file=path), newer, priced)


def _row(endpoint: str, path: Path, folder: Path | None) -> dict[str, str | int | bool | None]:
    source = "shipped" if SHIPPED in path.parents else "folder"
    row: dict[str, str | int | bool | None] = {"endpoint": endpoint, "source": source, "path": str(path)}
    try:
        known = load_endpoint_schema(endpoint, file=path, folder=folder)
    except ConfigError as error:
        return {**row, "fields": 0, "output": False, "problem": str(error.problems[0])}
    return {**row, "fields": len(known.fields()), "output": known.output is not None, "problem": None}


def _target(folder: Path | None, config: Path) -> Path:
    loaded = None if folder is not None else _optional_config(config)
    target = folder or (None if loaded is None else schema_folder(loaded))
    if target is None:
        raise click.UsageError(f"give a folder with --to DIR, or set dir in [schemas] of {config}")
    return target


def _optional_config(path: Path) -> Config | None:
    """Returns the configuration, None where the file does not exist: the commands work without one."""
    return load_config(path) if path.is_file() else None
