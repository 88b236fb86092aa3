"""Request bodies checked by a Pydantic model, with errors in fal's shape."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from proxy.sandbox.responses import FalError

Body = TypeVar("Body", bound=BaseModel)


def validate(model: type[Body], payload: object) -> Body:
    """Returns *payload* as *model*. Raises FalError 422 with every error and its `loc`.

    Pydantic's error shape is fal's. The optional `input` is left out, since it would repeat whole data URIs.
    """
    try:
        return model.model_validate(payload)
    except ValidationError as exc:
        detail = json.loads(exc.json(include_input=False))
    for error in detail:
        error["loc"] = ["body", *error["loc"]]
    raise FalError(422, {"detail": detail})
