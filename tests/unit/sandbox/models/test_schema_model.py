from __future__ import annotations

import pytest
from support.sandbox import Clock, data_uri, png

from proxy.sandbox.files import FileHost, StoredFile
from proxy.sandbox.input_files import InputFiles
from proxy.sandbox.json_types import Json, JsonObject, as_list, as_object
from proxy.sandbox.models.schema_documents import ModelSchema
from proxy.sandbox.models.schema_model import SchemaModel
from proxy.sandbox.responses import FalError

STRING: JsonObject = {"type": "string"}
INPUT: JsonObject = {"type": "object", "required": ["prompt"], "properties": {"prompt": STRING}}
OUTPUT: JsonObject = {
    "type": "object",
    "properties": {
        "image": {"type": "object", "properties": {"url": STRING, "width": {"type": "integer"}}},
        "seed": {"type": "integer"},
    },
}
FILES = FileHost("http://127.0.0.1:1", capacity=10**7, clock=Clock())
MODEL = SchemaModel("acme/edit", ModelSchema(INPUT, OUTPUT), InputFiles(FILES, max_bytes=10**6, seconds=1), FILES)
TEXT = "data:text/plain,hello"


async def body(payload: JsonObject) -> JsonObject:
    output = (await MODEL.run(payload)).body
    assert isinstance(output, dict)
    return output


async def image(**payload: Json) -> tuple[bytes, JsonObject]:
    """Returns the image of a call, and its description."""
    description = as_object((await body({"prompt": "a cat", **payload}))["image"])
    file = FILES.get(str(description["url"]).rpartition("/")[2])
    assert file is not None
    return file.content, description


async def test_a_seed_fixes_the_answer() -> None:
    """The same input and seed give the same bytes; without a seed one is drawn and returned."""
    first, second = await image(seed=5, image_size="64x48"), await image(seed=5, image_size="64x48")
    drawn = (await body({"prompt": "a cat"}))["seed"]

    assert first[0] == second[0]
    assert isinstance(drawn, int)
    assert drawn < 2**53


@pytest.mark.parametrize(
    "fields",
    [{"image_url": data_uri(png())}, {"image_urls": [data_uri(png()), data_uri(png((8, 8)))]}],
    ids=["one", "list"],
)
async def test_the_first_image_of_the_input_is_transformed(fields: JsonObject) -> None:
    """The answer has the input's size and differs from an answer without the image."""
    edited, description = await image(seed=5, **fields)
    plain, _ = await image(seed=5, image_size="64x48")

    assert description["width"] == 64
    assert edited != plain


async def test_an_upload_is_an_input() -> None:
    """A file of the sandbox's own host is read without a connection."""
    FILES.put("mine.png", StoredFile(png((40, 30)), "image/png"))

    assert (await image(image_url=FILES.url("mine.png")))[1]["width"] == 40


@pytest.mark.parametrize(
    ("payload", "location", "kind", "message"),
    [
        ({"prompt": None}, ["prompt"], "missing", "required"),
        ({"video_url": "http://127.0.0.1:1/a.mp4"}, ["video_url"], "file_download_error", "could not be read"),
        ({"image_urls": [data_uri(png()), "data:x"]}, ["image_urls", 1], "file_download_error", "no comma"),
        ({"image_url": TEXT}, ["image_url"], "image_load_error", "Failed to load"),
        ({"a": [{"mask_url": "data:x"}]}, ["a", 0, "mask_url"], "file_download_error", "no comma"),
    ],
    ids=str,
)
async def test_a_file_that_cannot_be_read_fails_the_call(
    payload: JsonObject, location: list[object], kind: str, message: str
) -> None:
    """The error has fal's type, the path of the field, and the cause."""
    with pytest.raises(FalError) as refused:
        await MODEL.run({"prompt": "x", **payload})

    (entry,) = as_list(as_object(refused.value.body)["detail"])  # type: ignore[arg-type]
    assert (as_object(entry)["loc"], as_object(entry)["type"]) == (["body", *location], kind)
    assert message in str(as_object(entry)["msg"])


async def test_a_file_at_a_public_url_is_left_unread() -> None:
    """The examples of fal's schemas, which are public URLs, are answered without a connection outwards."""
    output = await MODEL.run(
        {"prompt": "x", "image_url": "https://example.com/cat.png", "video_url": "HTTPS://a.example.com"}
    )

    assert output.body


async def test_words_are_no_files() -> None:
    """A URL in a text, a word in a file field and the path of weights are left alone."""
    loras: Json = [{"path": "https://example.com/a.safetensors"}]

    await MODEL.run({"prompt": "https://example.com/ is a page", "image_url": "auto", "loras": loras})


async def test_units_are_megapixels() -> None:
    """A text answer costs one unit, an image its area."""
    text = SchemaModel(
        "acme/text",
        ModelSchema(None, {"type": "object", "properties": {"output": STRING}}),
        InputFiles(FILES, max_bytes=1, seconds=1),
        FILES,
    )

    assert (await MODEL.run({"prompt": "x", "image_size": "512x512"})).units == 0.25
    assert (await text.run({})).units == 1.0
    assert text.log_messages({}) == ["Reading the input", "Generating", "Encoding"]


def test_check_refuses_as_a_run_does() -> None:
    """A direct call is refused before it takes a slot."""
    with pytest.raises(FalError, match=r"^422: "):
        MODEL.check({})
