"""What answers a job: the image model, or an echo under any other name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.sandbox.image_to_image import ImageToImage
from proxy.sandbox.jobs import Outcome
from proxy.sandbox.output import Output
from proxy.sandbox.replies import FalError, app_not_found, dump
from proxy.sandbox.settings import IMAGE_TO_IMAGE


class Model(Protocol):
    def check(self, payload: object) -> None:
        """Raises FalError 422 for an input no run would take."""

    def script(self, payload: object) -> Sequence[str]:
        """Log lines of a run of *payload*, in order; they are spread over its time."""

    async def make(self, payload: object) -> Output:
        """Raises FalError with the model's own status and body."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Answers `{"endpoint", "input"}`, one billable unit a call."""

    endpoint: str

    def check(self, payload: object) -> None:
        """Anything can be echoed."""

    def script(self, payload: object) -> Sequence[str]:
        return [f"Echoing for {self.endpoint}"]

    async def make(self, payload: object) -> Output:
        return Output({"endpoint": self.endpoint, "input": payload}, units=1.0)


class Models:
    def __init__(self, image_to_image: ImageToImage, *, echoes: frozenset[str] | None) -> None:
        self._named: Mapping[str, Model] = {IMAGE_TO_IMAGE: image_to_image}
        self._echoes = echoes

    def find(self, endpoint: str) -> Model:
        """Raises FalError 404 where no model has this id."""
        if (model := self._named.get(endpoint)) is not None:
            return model
        if self._echoes is None or endpoint in self._echoes:
            return Echo(endpoint)
        raise app_not_found(endpoint)


def succeeded(output: Output) -> Outcome:
    return Outcome(200, dump(output.body), units=output.units)


def failed(error: FalError) -> Outcome:
    """The outcome of a run that raised; `error` and `error_type` are what the status route tells of it."""
    detail = error.body.get("detail") if isinstance(error.body, dict) else None
    kind = error.body.get("error_type") if isinstance(error.body, dict) else None
    if isinstance(detail, list):
        kind = detail[0]["type"]
    message = detail if isinstance(detail, str) else f"Invalid status code: {error.status}"
    return Outcome(error.status, dump(error.body), error=message, error_type=kind, headers=error.headers)
