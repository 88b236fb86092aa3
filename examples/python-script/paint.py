"""Paints a picture with fal's own Python client through the gateway.

FAL_QUEUE_RUN_HOST, FAL_RUN_HOST and FAL_KEY (a session token) are read by the client when it is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fal_client

ENDPOINT = "fal-ai/hyper-sdxl/image-to-image"


def paint(picture: Path, prompt: str) -> str:
    """Returns the address of *picture*, a file, repainted after *prompt*."""
    arguments = {"image_url": fal_client.encode_file(picture), "prompt": prompt}
    result = fal_client.subscribe(ENDPOINT, arguments=arguments, with_logs=True, on_queue_update=_report)
    return str(result["images"][0]["url"])


def _report(status: fal_client.Status) -> None:
    if isinstance(status, fal_client.InProgress):
        for line in status.logs or []:
            print(line["message"], file=sys.stderr)


if __name__ == "__main__":
    try:
        print(paint(Path(sys.argv[1]), sys.argv[2]))
    except fal_client.FalClientHTTPError as error:
        sys.exit(f"{error.status_code} {error.error_type}: {error.message}")
