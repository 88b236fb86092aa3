"""Files of the sandbox in a real browser."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Browser
from support.gateway_process import QUICK, Rig
from support.in_process_gateway import ENVIRON
from support.sandbox import data_uri, png

PLAY = """async ([tag, url]) => {
  const element = document.createElement(tag);
  const event = (name) => new Promise((resolve, reject) => {
    element.addEventListener(name, resolve, {once: true});
    element.addEventListener("error", () => reject(new Error(element.error.message)), {once: true});
  });
  element.muted = true;
  const loaded = event("loadeddata");
  element.src = url;
  document.body.append(element);
  await loaded;
  const sought = event("seeked");
  element.currentTime = element.duration / 2;
  await sought;
  const ended = event("ended");
  element.playbackRate = 16;
  await element.play();
  await ended;
  return [element.duration, element.videoWidth ?? 0, element.videoHeight ?? 0];
}"""


@pytest.mark.parametrize(
    ("endpoint", "payload", "field", "tag", "seconds", "size"),
    [
        ("fal-ai/veo3.1", {"prompt": "waves", "duration": "4s"}, "video", "video", 4, (1280, 720)),
        (
            "fal-ai/kling-video/v2.5-turbo/pro/image-to-video",
            {"prompt": "waves", "image_url": data_uri(png())},
            "video",
            "video",
            5,
            (64, 48),
        ),
        ("fal-ai/minimax/speech-02-hd", {"text": "x" * 30}, "audio", "audio", 2, (0, 0)),
        (
            "fal-ai/minimax/speech-02-hd",
            {"text": "x" * 30, "audio_setting": {"format": "mp3"}},
            "audio",
            "audio",
            2,
            (0, 0),
        ),
    ],
    ids=["text to video", "image to video", "wav", "mp3"],
)
def test_video_and_audio_load_seek_and_play(
    browser: Browser,
    rig: Rig,
    endpoint: str,
    payload: dict[str, object],
    field: str,
    tag: str,
    seconds: float,
    size: tuple[int, int],
) -> None:
    """Chromium decodes the file of an answer, seeks in it and plays it to its end.

    Length and size are the input's.
    """
    sandbox = rig.sandbox(QUICK)
    answer = httpx2.post(
        f"{sandbox.run}/{endpoint}",
        json=payload,
        headers={"authorization": f"Key {ENVIRON['FAL_KEY']}"},
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 200, answer.text

    with browser.new_page() as page:
        duration, width, height = page.evaluate(PLAY, [tag, answer.json()[field]["url"]])

    assert abs(duration - seconds) < 0.1
    assert (width, height) == size
