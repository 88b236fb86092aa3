"""Collector of OpenTelemetry: an OTLP/HTTP server on a loopback port that decodes and keeps all spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class CollectedSpan:
    """One span as exported. *kind* is SERVER or CLIENT, *parent* "" for the first span of a trace."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    failed: bool
    seconds: float
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]


@dataclass
class Collector:
    """Content that has arrived at *url*. *raw* is the content of each export, *headers* its header fields."""

    url: str
    spans: list[CollectedSpan] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def with_name(self, name: str) -> list[CollectedSpan]:
        """Returns the spans with this name, in the order of their arrival."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: CollectedSpan) -> list[CollectedSpan]:
        """Returns the spans whose parent is *parent*."""
        return [span for span in self.spans if span.parent == parent.id and span.trace == parent.trace]

    def take(self, content: bytes, headers: Mapping[str, str]) -> None:
        """Takes in one export."""
        self.raw.append(content)
        self.headers.append(headers)
        for group in ExportTraceServiceRequest.FromString(content).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_collected(span, resource) for span in scope.spans]


@contextmanager
def collector(answer: Callable[[], object] = lambda: None) -> Iterator[Collector]:
    """Runs a collector. *answer* is called before each answer, and may block."""
    collected = Collector("")

    class Exports(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                content = gzip.decompress(content)
            answer()
            known = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
            if known:
                collected.take(content, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200 if known else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Exports) as server:
        server.daemon_threads = True
        collected.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="collector")
        thread.start()
        try:
            yield collected
        finally:
            server.shutdown()
            thread.join()


def _collected(span: SpanMessage, resource: Mapping[str, Value]) -> CollectedSpan:
    return CollectedSpan(
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes=_values(span.attributes),
        resource=resource,
    )


def _values(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [one.string_value for one in value.array_value.values]
    result: Value = getattr(value, str(kind))
    return result
