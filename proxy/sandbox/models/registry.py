"""Models by endpoint id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.sandbox.jobs import Outcome
from proxy.sandbox.json_types import Json
from proxy.sandbox.models.output import Output
from proxy.sandbox.responses import FalError, app_not_found, dump_json


class Model(Protocol):
    """Stand-in for the model of one endpoint."""

    def check(self, payload: Json) -> None:
        """Raises FalError 422 for an input that the model refuses before it runs."""

    def log_messages(self, payload: Json) -> Sequence[str]:
        """Returns the log lines of a run in order. The sandbox spreads them over the run's time."""

    async def run(self, payload: Json) -> Output:
        """Returns the answer. Raises FalError with the model's own status and body."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Model of an endpoint without a schema: answers `{"endpoint", "input"}`, one billable unit a call."""

    endpoint: str

    def check(self, payload: object) -> None:
        """Accepts every input."""

    def log_messages(self, payload: object) -> Sequence[str]:
        """Returns one line."""
        return [f"Echoing for {self.endpoint}"]

    async def run(self, payload: object) -> Output:
        """Returns the endpoint and its input."""
        return Output({"endpoint": self.endpoint, "input": payload}, units=1.0)


class ModelRegistry:
    """Models of the sandbox.

    *echoes*: the other ids that answer with an echo. None stands for every well-formed id.
    """

    def __init__(self, models: Mapping[str, Model], *, echoes: frozenset[str] | None) -> None:
        self._models = models
        self._echoes = echoes

    def find(self, endpoint: str) -> Model:
        """Returns the endpoint's model. Raises FalError 404 for an unknown id."""
        if (model := self._models.get(endpoint)) is not None:
            return model
        if self._echoes is None or endpoint in self._echoes:
            return Echo(endpoint)
        raise app_not_found(endpoint)


def success_outcome(output: Output) -> Outcome:
    """Returns the outcome of a successful run."""
    return Outcome(200, dump_json(output.body), units=output.units)


def error_outcome(error: FalError) -> Outcome:
    """Returns the outcome of a run that raised, with the `error` and `error_type` of the status route."""
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    kind = error.body.get("error_type") if isinstance(error.body, dict) else None
    if isinstance(detail, list):
        kind = detail[0]["type"]
    message = detail if isinstance(detail, str) else f"Invalid status code: {error.status}"
    return Outcome(error.status, dump_json(error.body), error=message, error_type=kind, headers=error.headers)
