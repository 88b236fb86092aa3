"""Tests of the choice of requests that are traced."""

from __future__ import annotations

from itertools import cycle

import pytest
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import SpanKind

from proxy.telemetry.tracing.sampler import CallerContext, RatioSampler, request_sampler
from proxy.telemetry.tracing.tracer import caller_context

LOW_ID, HIGH_ID = "0" * 31 + "1", "f" * 32


def is_recorded(sampler: Sampler, trace: str, flags: str) -> bool:
    context = caller_context([(b"traceparent", f"00-{trace}-00f067aa0ba902b7-{flags}".encode())])
    result = sampler.should_sample(context, int(trace, 16), "GET", SpanKind.SERVER, {"a": 1})
    return result.decision is Decision.RECORD_AND_SAMPLE


@pytest.mark.parametrize("trace", [LOW_ID, HIGH_ID])
def test_the_share_does_not_depend_on_the_callers_trace_id(trace: str) -> None:
    """A caller cannot choose an id that is always recorded: a draw decides."""
    sampler = RatioSampler(0.5, random=cycle([0.1, 0.9]).__next__)

    assert [is_recorded(sampler, trace, "01") for _ in range(4)] == [True, False, True, False]


@pytest.mark.parametrize(
    ("choice", "rate", "flags", "recorded"),
    [
        ("parent", 1.0, "00", True),
        ("parent", 0.0, "01", False),
        ("sampled", 0.0, "01", True),
        ("sampled", 1.0, "00", False),
    ],
)
def test_the_callers_flag_counts_where_the_operator_says_so(
    choice: CallerContext, rate: float, flags: str, recorded: bool
) -> None:
    """The sampled flag of a caller decides with "sampled" alone."""
    assert is_recorded(request_sampler(rate, choice), LOW_ID, flags) is recorded


def test_the_sampler_describes_itself() -> None:
    """The description has the share."""
    assert RatioSampler(0.25).get_description() == "RatioSampler{0.25}"
