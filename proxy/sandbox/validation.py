from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from proxy.sandbox.replies import FalError

Body = TypeVar("Body", bound=BaseModel)


def validated(model: type[Body], payload: object) -> Body:
    """Raises FalError 422, every error with its `loc`. pydantic's own shape is fal's; the optional `input` is left out,
    as it would echo whole data URIs."""
    try:
        return model.model_validate(payload)
    except ValidationError as exc:
        detail = json.loads(exc.json(include_input=False))
    for error in detail:
        error["loc"] = ["body", *error["loc"]]
    raise FalError(422, {"detail": detail})
