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


async def test_the_output_has_the_fields_of_the_page() -> None:
    """The output has every field of the documented schema, and no other."""
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
    """Presets, objects and defaults give exact sizes; a unit is 1024x1024, rounded up to four places."""
    output = await MODEL.run(picture_input(image_size=image_size))
    assert isinstance(output.body, dict)

    assert Image.open(io.BytesIO(content(output.body))).size == size
    assert output.units == units


async def test_units_count_every_picture() -> None:
    """Three images cost three times one."""
    assert (await MODEL.run(picture_input(image_size="square", num_images=3))).units == 0.75


async def test_the_default_size_is_square_hd() -> None:
    """The default size is the one on the page."""
    payload = picture_input()
    del payload["image_size"]
    output = await MODEL.run(payload)
    assert isinstance(output.body, dict)

    assert Image.open(io.BytesIO(content(output.body))).size == PRESETS["square_hd"]


@pytest.mark.parametrize(("media", "sync_mode"), [("jpeg", False), ("png", False), ("jpeg", True), ("png", True)])
async def test_format_and_sync_mode(media: str, *, sync_mode: bool) -> None:
    """The file has the format of the input, on the file host or in a data URI."""
    body = await made(format=media, sync_mode=sync_mode)

    assert Image.open(io.BytesIO(content(body))).format == media.upper()
    assert str(body["images"]).count(f"data:image/{media};base64,") == sync_mode


async def test_the_same_seed_makes_the_same_pictures() -> None:
    """A seed fixes all images of a call, and the images of one call differ."""
    one, other = await made(seed=9, num_images=2), await made(seed=9, num_images=2)

    assert [content(one, 0), content(one, 1)] == [content(other, 0), content(other, 1)]
    assert content(one, 0) != content(one, 1)


async def test_without_a_seed_one_is_drawn_and_returned() -> None:
    """The returned seed gives the same image again and fits a JavaScript number."""
    drawn = await made()
    seed = drawn["seed"]

    assert isinstance(seed, int)
    assert 0 <= seed < 2**53
    assert content(await made(seed=seed)) == content(drawn)


@pytest.mark.parametrize("steps", [1, "1", 2, "2", 4, "4"])
async def test_steps_are_numbers_or_text(steps: object) -> None:
    """The page's enum is text and its example a number: both are accepted and mean the same."""
    assert content(await made(seed=1, num_inference_steps=steps)) == content(
        await made(seed=1, num_inference_steps=str(steps))
    )


@pytest.mark.parametrize(("checker", "black"), [(True, True), (False, False)])
async def test_the_safety_checker_replaces_a_flagged_image(*, checker: bool, black: bool) -> None:
    """A prompt with the word `nsfw` is flagged and gives a black image, unless the checker is off."""
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
async def test_an_error_has_the_location_of_its_field(fields: dict[str, object], loc: list[object], kind: str) -> None:
    """An invalid field is 422 in fal's shape, with its `loc` under `body` and Pydantic's stable `type`."""
    with pytest.raises(FalError) as refused:
        await MODEL.run(picture_input(**fields))

    assert refused.value.status == 422
    errors = refused.value.body["detail"]  # type: ignore[index]
    assert ["body", *loc] in [error["loc"][: len(loc) + 1] for error in errors]
    assert kind in {error["type"] for error in errors}


async def test_all_errors_are_reported_together() -> None:
    """Two missing fields and an invalid one are three errors, in a run and in `check`."""
    with pytest.raises(FalError) as refused:
        MODEL.check({"format": "gif"})

    detail = refused.value.body["detail"]  # type: ignore[index]
    assert [error["loc"] for error in detail] == [["body", "image_url"], ["body", "prompt"], ["body", "format"]]
    MODEL.check(picture_input())


@pytest.mark.parametrize("payload", [None, [], "text", 7])
def test_an_input_that_is_no_object_is_refused(payload: object) -> None:
    """An input that is no object is 422 at the body itself."""
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
async def test_an_unreadable_input_image_is_the_models_error(
    image_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed download, a file that is no image and too many pixels get fal's error types at `image_url`."""
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48)

    with pytest.raises(FalError) as refused:
        await MODEL.run(picture_input(image_url=image_url))

    (error,) = refused.value.body["detail"]  # type: ignore[index]
    assert (refused.value.status, error["loc"], error["type"]) == (422, ["body", "image_url"], kind)


@pytest.mark.parametrize(
    ("payload", "steps"), [({"num_inference_steps": 4}, 4), ({}, 1), ({"num_inference_steps": "x"}, 1), ([], 1)]
)
def test_the_log_has_a_line_for_each_step(payload: object, steps: int) -> None:
    """Steps are logged between reading and encoding; an invalid input has a log too."""
    lines = MODEL.log_messages(payload)

    assert lines[0] == "Reading the input picture"
    assert lines[1:-1] == [f"Step {step + 1} of {steps}" for step in range(steps)]
    assert lines[-1] == "Encoding"
