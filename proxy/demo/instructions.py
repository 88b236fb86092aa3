"""Instructions that the demo prints: commands that work when pasted."""

from __future__ import annotations

# A 32 x 24 picture of a sunset, small enough to be pasted.
PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAYBAMAAABpfeIHAAAAGFBMVEXw2Hj9lT/1j0nvilDnhFrbe2nNcHsePHh2E2qYAAAA"
    "UElEQVR42mMUZEAFTGh8BhbSVRDWgtOM3xtCUVT83sCwGr+WWQwMDBsTiLMFKpAAxQwMjOWku5Th5wQGBvYCuACGGSxwVicD"
    "AwMDewEZtgAAXmkLx258LTsAAAAASUVORK5CYII="
)


def demo_instructions(url: str, *, endpoint: str, token: str) -> str:
    """Returns the text for the gateway at *url*, its prefix included."""
    return _TEXT.format(url=url, endpoint=endpoint, token=token, picture=PICTURE)


_TEXT = """
  A session token of the user "alice", good for twelve hours:

TOKEN={token}

  With curl: submit, wait, download. Paste all of it:

JOB=$(curl -s {url}/queue/{endpoint} \\
  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{"image_url": "{picture}",
       "prompt": "a light house by the sea", "image_size": "square"}}' \\
  | python3 -c 'import json, sys; print(json.load(sys.stdin)["status_url"])')
until curl -s "$JOB" -H "Authorization: Bearer $TOKEN" | tee /dev/stderr | grep -q COMPLETED; do sleep 0.5; done
PICTURE=$(curl -s "${{JOB%/status}}" -H "Authorization: Bearer $TOKEN" \\
  | python3 -c 'import json, sys; print(json.load(sys.stdin)["images"][0]["url"])')
curl -s "$PICTURE" -o picture.jpg && ls -l picture.jpg

  With JavaScript (npm install @fal-ai/client), and no key anywhere:

import {{ createFalClient }} from "@fal-ai/client";
const fal = createFalClient({{
  proxyUrl: {{ url: "{url}/proxy", when: "always" }},
  credentials: "{token}",
}});
const result = await fal.subscribe("{endpoint}", {{
  input: {{
    image_url: "{picture}",
    prompt: "a light house by the sea",
    image_size: "square",
  }},
  logs: true,
  onQueueUpdate: (update) => console.log(update.status),
}});
console.log(result.data.images[0].url, result.requestId);

  Ctrl-C stops everything.
"""
