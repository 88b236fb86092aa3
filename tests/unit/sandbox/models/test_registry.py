from __future__ import annotations

import json

import pytest
from support.sandbox import MODEL, Clock

from proxy.sandbox.files import FileHost
from proxy.sandbox.input_files import InputFiles
from proxy.sandbox.models.image_to_image import ImageToImage
from proxy.sandbox.models.output import Output
from proxy.sandbox.models.registry import Echo, ModelRegistry, error_outcome, success_outcome
from proxy.sandbox.responses import FalError, field_error, infrastructure_error

FILES = FileHost("http://127.0.0.1", capacity=10, clock=Clock())
PICTURES = ImageToImage(InputFiles(FILES, max_bytes=10, seconds=1), FILES)


def test_unknown_ids_echo_within_the_list() -> None:
    """A registered model is always found; other ids echo, all of them or the listed ones."""
    listed = ModelRegistry({MODEL: PICTURES}, echoes=frozenset({"acme/listed"}))

    assert listed.find(MODEL) is PICTURES
    assert listed.find("acme/listed") == Echo("acme/listed")
    assert ModelRegistry({MODEL: PICTURES}, echoes=None).find("acme/any") == Echo("acme/any")
    with pytest.raises(FalError, match=r"^404: .*acme/other"):
        listed.find("acme/other")


async def test_an_echo_returns_its_input() -> None:
    """An echo returns any JSON with the id of the endpoint, costs one unit and refuses nothing."""
    echo = Echo("acme/any")
    echo.check(None)

    assert await echo.run({"a": [2**60]}) == Output({"endpoint": "acme/any", "input": {"a": [2**60]}}, units=1.0)
    assert echo.log_messages(None) == ["Echoing for acme/any"]


def test_a_success_is_a_200_with_its_units() -> None:
    """The body is the output as compact ASCII JSON, lone surrogates included."""
    outcome = success_outcome(Output({"text": "é\ud800"}, units=0.5))

    assert (outcome.status, outcome.body, outcome.units, outcome.error) == (200, rb'{"text":"\u00e9\ud800"}', 0.5, None)


@pytest.mark.parametrize(
    ("raised", "error", "error_type"),
    [
        (field_error("prompt", "missing", "Field required"), "Invalid status code: 422", "missing"),
        (infrastructure_error(503), "Service Unavailable", "runner_connection_error"),
        (infrastructure_error(499, "Gone", error_type="client_cancelled"), "Gone", "client_cancelled"),
        (FalError(404, {"status": "NOT_FOUND"}), "Invalid status code: 404", None),
        (FalError(500, "oops"), "Invalid status code: 500", None),
    ],
    ids=["field", "infrastructure_error", "cancelled", "no detail", "no object"],
)
def test_a_failure_keeps_the_models_answer(raised: FalError, error: str, error_type: str | None) -> None:
    """The result has the model's status and body, the status route its error and type; nothing is billed."""
    outcome = error_outcome(raised)

    assert (outcome.status, json.loads(outcome.body), outcome.units) == (raised.status, raised.body, None)
    assert (outcome.error, outcome.error_type) == (error, error_type)
