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


@dataclass(frozen=True, slots=True)
class _Components:
    """State and services that the hosts share."""

    settings: SandboxSettings
    closing: asyncio.Event
    faults: FaultSet
    request_log: RequestLog
    accounts: Accounts
    files: FileHost
    uploads: Uploads
    models: ModelRegistry
    signer: Signer
    webhooks: Webhooks
    queue: Queue
    worker: Worker

    def clear(self) -> None:
        """Removes jobs, uploads, files, logged requests, counts and faults."""
        for component in (self.worker, self.uploads, self.files, self.request_log):
            component.clear()
        self.faults.replace(())

    async def close(self) -> None:
        """Ends jobs, streams and deliveries."""
        await self.worker.close()
        await self.webhooks.close()

    def host(self, surface: str, rows: list[Row], *, owns_lifespan: bool = False) -> ASGIApp:
        """Returns the application of one host. *owns_lifespan*: its end closes the sandbox."""
        close = self.close if owns_lifespan else None
        return AsgiApp(
            _starlette(rows, self.faults, self.closing, close),
            surface=surface,
            request_log=self.request_log,
            accounts=self.accounts,
            max_body=self.settings.max_body,
            clock=self.settings.clock,
        )


def create_sandbox(settings: SandboxSettings) -> Sandbox:
    """Returns a sandbox with empty state. Raises CatalogError for unusable schema files."""
    components = _build_components(settings)
    clock, heartbeat = settings.clock, settings.heartbeat
    tokens = Tokens(clock=clock)
    shared = (components.models, components.queue, components.worker, components.request_log, clock, heartbeat)
    jobs = QueueApi(settings.queue_origin, components.accounts, *shared)
    runs = RunApi(components.accounts, tokens, *shared)
    storage, token_api = (
        StorageApi(components.accounts, components.uploads, components.files),
        TokenApi(components.accounts, tokens),
    )
    return Sandbox(
        queue=components.host("queue", _queue_rows(jobs), owns_lifespan=True),
        run=components.host("run", _run_rows(runs)),
        rest=components.host("rest", _rest_rows(storage, token_api, components.signer)),
        control=Control(components.request_log, components.faults, components.clear),
        close=components.close,
    )


def _build_components(settings: SandboxSettings) -> _Components:
    clock, closing = settings.clock, asyncio.Event()
    faults, request_log = FaultSet(settings.faults, seed=settings.fault_seed), RequestLog(size=settings.log_entries)
    files = FileHost(settings.rest_origin, capacity=settings.file_bytes, clock=clock)
    models, signer = _models(settings, files), Signer(settings.webhook_seed)
    webhooks = Webhooks(signer, _retries(settings), clock=clock)
    queue = Queue(_queue_settings(settings), timed_out=error_outcome(_START_TIMEOUT), clock=clock)

    def on_end(job: Job) -> None:
        if job.outcome is not None and job.outcome.units is not None:
            request_log.add_units(job.outcome.units)
        webhooks.deliver(job)

    worker = Worker(
        queue, models, faults, run_seconds=settings.run_seconds, closing=closing, clock=clock, on_end=on_end
    )
    return _Components(
        settings,
        closing,
        faults,
        request_log,
        accounts=Accounts(settings.keys),
        files=files,
        uploads=Uploads(settings.rest_origin, files, seconds=settings.upload_seconds, clock=clock),
        models=models,
        signer=signer,
        webhooks=webhooks,
        queue=queue,
        worker=worker,
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
