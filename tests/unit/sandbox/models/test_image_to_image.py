from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from support.sandbox import Clock, data_uri, picture_input, png

from proxy.sandbox.files import FileHost
from proxy.sandbox.input_files import InputFiles
from proxy.sandbox.media import images
from proxy.sandbox.models.image_to_image import PRESETS, ImageToImage
from proxy.sandbox.responses import FalError

FILES = FileHost("http://127.0.0.1:9002", capacity=2**26, clock=Clock())
MODEL = ImageToImage(InputFiles(FILES, max_bytes=2**20, seconds=1), FILES)


async def made(**fields: object) -> dict[str, object]:
    output = await MODEL.run(picture_input(**fields))
    assert isinstance(output.body, dict)
    return output.body


def content(body: dict[str, object], number: int = 0) -> bytes:
    images = body["images"]
    assert isinstance(images, list)
    url: str = images[number]["url"]
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2])
    file = FILES.get(FILES.parse_url(url) or "")
    assert file is not None
    return file.content


async def test_the_output_is_the_pages() -> None:
    """Every field of the output schema, and nothing else."""
    body = await made(seed=5, num_images=2, prompt="a moon")
    images = body.pop("images")

    assert body.pop("timings").keys() == {"inference"}  # type: ignore[attr-defined]
    assert body == {"seed": 5, "has_nsfw_concepts": [False, False], "prompt": "a moon"}
    assert isinstance(images, list)
    for image in images:
        assert image.pop("url").startswith("http://127.0.0.1:9002/files/")
        assert image == {"width": 32, "height": 24, "content_type": "image/jpeg"}


@pytest.mark.parametrize(
    ("image_size", "size", "units"),
    [
        ("square_hd", (1024, 1024), 1.0),
        ("square", (512, 512), 0.25),
        ("portrait_4_3", (768, 1024), 0.75),
        ("portrait_16_9", (576, 1024), 0.5625),
        ("landscape_4_3", (1024, 768), 0.75),
        ("landscape_16_9", (1024, 576), 0.5625),
        ({"width": 640, "height": 360}, (640, 360), 0.2198),
        ({"width": 100}, (100, 512), 0.0489),
        ({}, (512, 512), 0.25),
    ],
    ids=str,
)
async def test_sizes_are_exact_and_billed_by_area(image_size: object, size: tuple[int, int], units: float) -> None:
    """The six presets, `{width, height}` and its defaults; one unit is 1024x1024, rounded up to four places."""
    output = await MODEL.run(picture_input(image_size=image_size))
    assert isinstance(output.body, dict)

    assert Image.open(io.BytesIO(content(output.body))).size == size
    assert output.units == units


async def test_units_count_every_picture() -> None:
    """Three pictures cost three times one."""
    assert (await MODEL.run(picture_input(image_size="square", num_images=3))).units == 0.75


async def test_the_default_size_is_square_hd() -> None:
    """As the page says."""
    payload = picture_input()
    del payload["image_size"]
    output = await MODEL.run(payload)
    assert isinstance(output.body, dict)

    assert Image.open(io.BytesIO(content(output.body))).size == PRESETS["square_hd"]


@pytest.mark.parametrize(("media", "sync_mode"), [("jpeg", False), ("png", False), ("jpeg", True), ("png", True)])
async def test_format_and_sync_mode(media: str, *, sync_mode: bool) -> None:
    """The file is of the format asked for, on the file host or in a data URI."""
    body = await made(format=media, sync_mode=sync_mode)

    assert Image.open(io.BytesIO(content(body))).format == media.upper()
    assert str(body["images"]).count(f"data:image/{media};base64,") == sync_mode


async def test_the_same_seed_makes_the_same_pictures() -> None:
    """A seed fixes all pictures of a call; the second of a call is not the first again."""
    one, other = await made(seed=9, num_images=2), await made(seed=9, num_images=2)

    assert [content(one, 0), content(one, 1)] == [content(other, 0), content(other, 1)]
    assert content(one, 0) != content(one, 1)


async def test_without_a_seed_one_is_drawn_and_told() -> None:
    """The seed in the answer, sent back, makes the same picture; it fits a JavaScript number."""
    drawn = await made()
    seed = drawn["seed"]

    assert isinstance(seed, int)
    assert 0 <= seed < 2**53
    assert content(await made(seed=seed)) == content(drawn)


@pytest.mark.parametrize("steps", [1, "1", 2, "2", 4, "4"])
async def test_steps_are_numbers_or_text(steps: object) -> None:
    """The page's enum is text, its example a number; both run, and alike."""
    assert content(await made(seed=1, num_inference_steps=steps)) == content(
        await made(seed=1, num_inference_steps=str(steps))
    )


@pytest.mark.parametrize(("checker", "black"), [(True, True), (False, False)])
async def test_the_safety_checker_blackens_what_asks_for_it(*, checker: bool, black: bool) -> None:
    """A prompt with the word `nsfw` is flagged and blacked out, unless the checker is off."""
    body = await made(prompt="an NSFW island", enable_safety_checker=checker, format="png")

    assert body["has_nsfw_concepts"] == [black]
    assert (Image.open(io.BytesIO(content(body))).getbbox() is None) is black


@pytest.mark.parametrize(
    ("fields", "loc", "kind"),
    [
        ({"image_url": None}, ["image_url"], "string_type"),
        ({"prompt": 7}, ["prompt"], "string_type"),
        ({"strength": 1.01}, ["strength"], "less_than_equal"),
        ({"strength": -0.1}, ["strength"], "greater_than_equal"),
        ({"strength": "0.5"}, ["strength"], "float_type"),
        ({"num_images": 0}, ["num_images"], "greater_than_equal"),
        ({"num_images": 9}, ["num_images"], "less_than_equal"),
        ({"num_images": True}, ["num_images"], "int_type"),
        ({"num_inference_steps": 3}, ["num_inference_steps"], "literal_error"),
        ({"num_inference_steps": True}, ["num_inference_steps"], "literal_error"),
        ({"seed": "7"}, ["seed"], "int_type"),
        ({"sync_mode": "yes"}, ["sync_mode"], "bool_type"),
        ({"format": "gif"}, ["format"], "literal_error"),
        ({"embeddings": [{}]}, ["embeddings", 0, "path"], "missing"),
        ({"image_size": "huge"}, ["image_size"], "literal_error"),
        ({"image_size": {"width": 0}}, ["image_size"], "greater_than"),
        ({"image_size": {"width": 4097}}, ["image_size"], "less_than_equal"),
    ],
    ids=str,
)
async def test_a_bad_field_is_named(fields: dict[str, object], loc: list[object], kind: str) -> None:
    """422 in fal's shape: the field's `loc` under `body`, and pydantic's stable `type`."""
    with pytest.raises(FalError) as refused:
        await MODEL.run(picture_input(**fields))

    assert refused.value.status == 422
    errors = refused.value.body["detail"]  # type: ignore[index]
    assert ["body", *loc] in [error["loc"][: len(loc) + 1] for error in errors]
    assert kind in {error["type"] for error in errors}


async def test_all_errors_come_at_once() -> None:
    """Two missing fields and a bad one are three errors; `check` tells the same without running."""
    with pytest.raises(FalError) as refused:
        MODEL.check({"format": "gif"})

    detail = refused.value.body["detail"]  # type: ignore[index]
    assert [error["loc"] for error in detail] == [["body", "image_url"], ["body", "prompt"], ["body", "format"]]
    MODEL.check(picture_input())


@pytest.mark.parametrize("payload", [None, [], "text", 7])
def test_an_input_that_is_no_object_is_refused(payload: object) -> None:
    """422 at the body itself."""
    with pytest.raises(FalError, match=r"^422: .*'loc': \['body'\]"):
        MODEL.check(payload)


@pytest.mark.parametrize(
    ("image_url", "kind"),
    [
        ("https://fal.media/files/tiger.jpeg", "file_download_error"),
        (data_uri(b"no picture"), "image_load_error"),
        (data_uri(png((100, 100))), "image_too_large"),
    ],
)
async def test_a_picture_that_cannot_be_had_gets_the_models_error(
    image_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not downloadable, not a picture, too many pixels: fal's own error types at `image_url`."""
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48)

    with pytest.raises(FalError) as refused:
        await MODEL.run(picture_input(image_url=image_url))

    (error,) = refused.value.body["detail"]  # type: ignore[index]
    assert (refused.value.status, error["loc"], error["type"]) == (422, ["body", "image_url"], kind)


@pytest.mark.parametrize(
    ("payload", "steps"), [({"num_inference_steps": 4}, 4), ({}, 1), ({"num_inference_steps": "x"}, 1), ([], 1)]
)
def test_the_log_tells_the_steps(payload: object, steps: int) -> None:
    """A line for each step, between reading and encoding; a bad input has a log too."""
    lines = MODEL.log_messages(payload)

    assert lines[0] == "Reading the input picture"
    assert lines[1:-1] == [f"Step {step + 1} of {steps}" for step in range(steps)]
    assert lines[-1] == "Encoding"
