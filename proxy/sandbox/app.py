"""A local fal: three applications for its three hosts over one state, and a control API of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, request_response
from starlette.types import ASGIApp

from proxy.sandbox.accounts import Accounts
from proxy.sandbox.api.queue_api import QueueApi
from proxy.sandbox.api.run_api import RunApi
from proxy.sandbox.api.storage_api import StorageApi
from proxy.sandbox.api.token_api import TokenApi
from proxy.sandbox.asgi import AsgiApp
from proxy.sandbox.control import Control
from proxy.sandbox.fault_injection import FaultInjection
from proxy.sandbox.faults import Action, FaultSet
from proxy.sandbox.files import FileHost
from proxy.sandbox.input_files import InputFiles
from proxy.sandbox.jobs import Job, Queue, QueueSettings
from proxy.sandbox.models.image_to_image import ImageToImage
from proxy.sandbox.models.registry import Model, ModelRegistry, error_outcome
from proxy.sandbox.models.schema_catalog import load_schemas
from proxy.sandbox.models.schema_model import SchemaModel
from proxy.sandbox.request_log import RequestLog
from proxy.sandbox.responses import FalError, error_response, infrastructure_error
from proxy.sandbox.settings import IMAGE_TO_IMAGE, SandboxSettings
from proxy.sandbox.tokens import Tokens
from proxy.sandbox.uploads import Uploads
from proxy.sandbox.webhooks import Retries, Signer, Webhooks
from proxy.sandbox.worker import Worker

BANNER = """\
  ------------------------------------------------------------------
   SANDBOX. This is not fal.ai: no model runs here and nothing is
   billed. Pictures are repainted by Pillow and labelled "sandbox";
   every answer carries `x-sandbox: 1`. Never point real users at it.
  ------------------------------------------------------------------"""

RouteFunction = Callable[[Request], Awaitable[Response]]
# A fault's action, the method, the path below the host, and the route's function.
Row = tuple[Action, str, str, RouteFunction]

# fal docs, common parameters: this header marks a deadline that the caller set.
_START_TIMEOUT = infrastructure_error(
    504,
    "Request timed out before it started",
    error_type="startup_timeout",
    headers={"x-fal-request-timeout-type": "user"},
)

_JOB = "/{endpoint:path}/requests/{request_id}"
_UPLOAD = "/upload/{name}"
# Headers that a page of another origin may read, as fal allows it.
_EXPOSED = [
    "etag",
    "x-fal-billable-units",
    "x-fal-error-type",
    "x-fal-request-id",
    "x-fal-request-timeout-type",
    "x-sandbox",
]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The applications: *queue* for queue.fal.run, *run* for fal.run, *rest* for rest.fal.ai and the CDN.

    Serve them on one event loop, and pass them the server's own `send` (see `connection`).
    *close* ends jobs, streams and deliveries and may be called twice. The queue application's lifespan calls it at its
    end; a server waits for open streams before that, so call it at the stop signal.
    """

    queue: ASGIApp
    run: ASGIApp
    rest: ASGIApp
    control: Control
    close: Callable[[], Awaitable[None]]


def create_sandbox(settings: SandboxSettings) -> Sandbox:
    """Returns a sandbox with empty state."""
    clock, closing = settings.clock, asyncio.Event()
    faults = FaultSet(settings.faults, seed=settings.fault_seed)
    request_log = RequestLog(size=settings.log_entries)
    accounts = Accounts(settings.keys)
    tokens = Tokens(clock=clock)
    files = FileHost(settings.rest_origin, capacity=settings.file_bytes, clock=clock)
    uploads = Uploads(settings.rest_origin, files, seconds=settings.upload_seconds, clock=clock)
    models = _models(settings, files)
    signer = Signer(settings.webhook_seed)
    webhooks = Webhooks(signer, _retries(settings), clock=clock)
    queue = Queue(_queue_settings(settings), timed_out=error_outcome(_START_TIMEOUT), clock=clock)

    def on_end(job: Job) -> None:
        if job.outcome is not None and job.outcome.units is not None:
            request_log.add_units(job.outcome.units)
        webhooks.deliver(job)

    worker = Worker(
        queue, models, faults, run_seconds=settings.run_seconds, closing=closing, clock=clock, on_end=on_end
    )

    async def close() -> None:
        await worker.close()
        await webhooks.close()

    def clear_state() -> None:
        for part in (worker, uploads, files, request_log):
            part.clear()
        faults.replace(())

    def host(surface: str, rows: list[Row], *, close: Callable[[], Awaitable[None]] | None = None) -> ASGIApp:
        return AsgiApp(
            _starlette(rows, faults, closing, close),
            surface=surface,
            request_log=request_log,
            accounts=accounts,
            max_body=settings.max_body,
            clock=clock,
        )

    jobs = QueueApi(settings.queue_origin, accounts, models, queue, worker, request_log, clock, settings.heartbeat)
    runs = RunApi(accounts, tokens, models, queue, worker, request_log, clock, settings.heartbeat)
    return Sandbox(
        queue=host("queue", _queue_rows(jobs), close=close),
        run=host("run", _run_rows(runs)),
        rest=host("rest", _rest_rows(StorageApi(accounts, uploads, files), TokenApi(accounts, tokens), signer)),
        control=Control(request_log, faults, clear_state),
        close=close,
    )


def create_control(sandbox: Sandbox) -> Starlette:
    """Returns the control API: `GET /journal`, `GET /counts`, `GET|PUT|DELETE /faults`, `POST /reset`.

    It checks no credential, so serve it on loopback only.
    """
    control = sandbox.control
    return Starlette(
        routes=[
            Route("/journal", control.read_journal, methods=["GET"]),
            Route("/counts", control.read_counts, methods=["GET"]),
            Route("/faults", control.read_faults, methods=["GET"]),
            Route("/faults", control.put_faults, methods=["PUT"]),
            Route("/faults", control.delete_faults, methods=["DELETE"]),
            Route("/reset", control.reset, methods=["POST"]),
        ]
    )


def _queue_rows(api: QueueApi) -> list[Row]:
    return [
        ("status-stream", "GET", f"{_JOB}/status/stream", api.stream),
        ("status", "GET", f"{_JOB}/status", api.status),
        ("result", "GET", f"{_JOB}/response", api.result),
        ("result", "GET", _JOB, api.result),
        ("cancel", "PUT", f"{_JOB}/cancel", api.cancel),
        ("submit", "POST", "/{endpoint:path}", api.submit),
    ]


def _run_rows(api: RunApi) -> list[Row]:
    return [
        ("run-stream", "POST", "/{endpoint:path}/stream", api.stream),
        ("run", "POST", "/{endpoint:path}", api.call),
    ]


def _rest_rows(storage: StorageApi, tokens: TokenApi, signer: Signer) -> list[Row]:
    async def jwks(request: Request) -> Response:
        return JSONResponse(signer.jwks())

    return [
        ("upload", "POST", "/storage/upload/initiate", storage.initiate),
        ("upload", "POST", "/storage/upload/initiate-multipart", storage.initiate),
        ("put", "PUT", _UPLOAD, storage.put),
        ("put", "PUT", f"{_UPLOAD}/{{number:int}}", storage.put_part),
        ("put", "POST", f"{_UPLOAD}/complete", storage.complete),
        ("file", "GET", "/files/{name}", storage.read),
        ("token", "POST", "/tokens", tokens.mint),
        ("token", "POST", "/tokens/realtime", tokens.mint_realtime),
        ("jwks", "GET", "/.well-known/jwks.json", jwks),
    ]


def _starlette(
    rows: list[Row], faults: FaultSet, closing: asyncio.Event, close: Callable[[], Awaitable[None]] | None
) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        if close is not None:
            await close()

    cors = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=_EXPOSED
    )
    app = Starlette(
        routes=[
            Route(
                path,
                FaultInjection(request_response(function), action=action, faults=faults, closing=closing),
                methods=[method],
            )
            for action, method, path, function in rows
        ],
        middleware=[cors],
        exception_handlers={FalError: error_response},  # type: ignore[dict-item]
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _queue_settings(settings: SandboxSettings) -> QueueSettings:
    return QueueSettings(
        queue_seconds=settings.queue_seconds,
        run_seconds=settings.run_seconds,
        slots=settings.concurrency,
        retention=settings.retention,
        large_retention=settings.large_retention,
    )


def _retries(settings: SandboxSettings) -> Retries:
    return Retries(
        attempts=settings.webhook_attempts,
        seconds=settings.webhook_seconds,
        backoff=settings.webhook_backoff,
        backoff_max=settings.webhook_backoff_max,
    )


def _models(settings: SandboxSettings, files: FileHost) -> ModelRegistry:
    """Returns the models. Raises CatalogError for unusable schema files."""
    input_files = InputFiles(files, max_bytes=settings.fetch_bytes, seconds=settings.fetch_seconds)
    models: dict[str, Model] = {
        endpoint: SchemaModel(endpoint, schema, input_files, files)
        for endpoint, schema in load_schemas(settings.schemas).items()
        if schema.output is not None
    }
    models[IMAGE_TO_IMAGE] = ImageToImage(input_files, files)
    return ModelRegistry(models, echoes=settings.models)
