"""Every model of the demo, from an untouched form and its required fields to a result that is shown."""

from __future__ import annotations

import json
import math
import re
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from support.browser import PROMPT, Visit, judged_everywhere, visit
from support.demo import Told
from support.gateway_process import PATIENCE

SUBMIT = re.compile(r"https://queue\.fal\.run/.+")
Fill = Callable[[Visit, Path], None]


def prompt(visiting: Visit, _: Path) -> None:
    visiting.page.get_by_label("Prompt", exact=True).fill(PROMPT)


def text(visiting: Visit, _: Path) -> None:
    visiting.page.get_by_label("Text", exact=True).fill(
        "A lighthouse stands by the sea, and its light turns all night."
    )


def model(visiting: Visit, _: Path) -> None:
    visiting.page.get_by_label("Model", exact=True).fill("openai/gpt-5-mini")


def sample(visiting: Visit, _: Path) -> None:
    visiting.page.get_by_role("button", name="Sample: Lighthouse at dusk").first.click()
    expect(visiting.page.get_by_text("coast.jpg").first).to_be_visible()


def sound(visiting: Visit, home: Path) -> None:
    path = home / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 6))) for n in range(8000)))
    visiting.page.locator("input[type=file]").set_input_files(path)
    expect(visiting.page.get_by_text("tone.wav").first).to_be_visible()


IMAGE, VIDEO, AUDIO, TEXT = ".compare .after", ".tile video", ".tile audio", ".tile-text .text-body"
MODELS: dict[str, tuple[str, list[Fill], set[str], str]] = {
    "fal-ai/hyper-sdxl/image-to-image": ("alice", [sample, prompt], {"image_url", "prompt"}, IMAGE),
    "fal-ai/flux/dev": ("alice", [prompt], {"prompt"}, IMAGE),
    "fal-ai/nano-banana/edit": ("alice", [sample, prompt], {"image_urls", "prompt"}, IMAGE),
    "fal-ai/veo3.1": ("alice", [prompt], {"prompt"}, VIDEO),
    "fal-ai/kling-video/v2.5-turbo/pro/image-to-video": ("bob", [sample, prompt], {"image_url", "prompt"}, VIDEO),
    "fal-ai/minimax/speech-02-hd": ("alice", [text], {"text"}, AUDIO),
    "fal-ai/wizper": ("alice", [sound], {"audio_url"}, TEXT),
    "fal-ai/bria/background/remove": ("alice", [sample], {"image_url"}, IMAGE),
    "openrouter/router": ("alice", [prompt, model], {"prompt", "model"}, TEXT),
}
LOADED = {
    IMAGE: "node => node.naturalWidth > 0",
    VIDEO: "node => node.readyState > 0 && node.videoWidth > 0",
    AUDIO: "node => node.readyState > 0 && node.duration > 0",
    TEXT: "node => node.textContent.length > 3",
}


@pytest.mark.parametrize("endpoint", MODELS)
def test_from_an_untouched_form(browser: Browser, demo: Told, tmp_path: Path, endpoint: str) -> None:
    """Only the required fields are sent; the result, its price and its steps are shown."""
    user, fills, sent, shown = MODELS[endpoint]
    with visit(browser, demo.url) as page:
        page.sign_in_as(user)
        page.page.get_by_label("Endpoint").select_option(endpoint)
        for fill in fills:
            fill(page, tmp_path)
        expect(page.page.locator("#price")).to_contain_text("Costs")
        page.run()
        if shown == VIDEO and not fills[1:]:  # no image goes in, so the place of the result has words
            expect(page.page.locator("#canvas")).to_contain_text("The model runs. Its result appears here.")
        result = page.page.locator(shown).first
        expect(result).to_be_visible(timeout=PATIENCE * 1000)
        handle = result.element_handle()
        assert handle is not None
        assert page.page.evaluate(
            f"""async node => {{
              const loaded = {LOADED[shown]};
              for (let turn = 0; turn < 100 && !loaded(node); turn++) await new Promise(go => setTimeout(go, 50));
              return loaded(node);
            }}""",
            handle,
        )
        expect(page.page.locator("#fact-price")).to_be_visible()
        look = f"model-{endpoint.replace('/', '-')}"
        if shown in (VIDEO, AUDIO):
            judged_everywhere(page, look)
        else:
            page.screenshot(look, whole=True)
        page.tab("Gateway")
        expect(page.page.locator(".calls")).to_contain_text(" charged")
        (submit,) = [request for request in page.calls(SUBMIT) if request.method == "POST"]
        page.check()

    assert json.loads(submit.post_data or "").keys() == sent
