"""Sampler of OpenTelemetry for requests from outside: a share of them, whatever trace id they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState, get_current_span
from opentelemetry.util.types import Attributes

CallerContext = Literal["ignore", "parent", "sampled"]
_RANDOM = SystemRandom().random


class RatioSampler(Sampler):
    """Records a share *rate* of requests.

    The SDK's own one decides by the trace id, which is the caller's choice.
    """

    def __init__(self, rate: float, *, random: Callable[[], float] = _RANDOM) -> None:
        self._rate = rate
        self._random = random

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else None
        if self._rate < 1 and self._random() >= self._rate:
            return SamplingResult(Decision.DROP, None, state)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def get_description(self) -> str:
        return f"RatioSampler{{{self._rate}}}"


def request_sampler(rate: float, caller_context: CallerContext) -> Sampler:
    """Returns the sampler of all spans: a call to fal follows its request.

    A request follows its caller's flag where *caller_context* is "sampled".
    """
    own = RatioSampler(rate)
    if caller_context != "sampled":
        return ParentBased(own, remote_parent_sampled=own, remote_parent_not_sampled=own)
    return ParentBased(own, remote_parent_sampled=ALWAYS_ON, remote_parent_not_sampled=ALWAYS_OFF)
