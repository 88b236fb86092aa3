from __future__ import annotations

import pytest

from proxy.sandbox.endpoints import app_id
from proxy.sandbox.responses import FalError


@pytest.mark.parametrize(
    ("endpoint", "app"),
    [
        ("fal-ai/flux", "fal-ai/flux"),
        ("fal-ai/hyper-sdxl/image-to-image", "fal-ai/hyper-sdxl"),
        ("fal-ai/flux/a/b/c", "fal-ai/flux"),
        ("workflows/acme/poster", "workflows/acme/poster"),
        ("comfy/acme/graph/run", "comfy/acme/graph"),
        ("fal-ai/requests-demo", "fal-ai/requests-demo"),
    ],
)
def test_the_app_is_owner_and_alias(endpoint: str, app: str) -> None:
    """The app of an endpoint is `[namespace/]owner/alias`."""
    assert app_id(endpoint) == app


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "fal-ai",
        "fal-ai/",
        "/fal-ai/flux",
        "fal-ai//flux",
        "fal-ai/flux/",
        "workflows/acme",
        "fal-ai/../flux",
        "a/requests/b",
        "a/b c",
        "a/é",
    ],
)
def test_a_malformed_id_is_an_unknown_application(endpoint: str) -> None:
    """A malformed id gets fal's 404 for applications."""
    with pytest.raises(FalError) as refused:
        app_id(endpoint)

    assert (refused.value.status, refused.value.body) == (404, {"detail": f'Application "{endpoint}" not found'})
