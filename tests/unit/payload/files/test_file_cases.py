"""Input files by value: every way to name a private address in any field, and what must stay possible."""

from __future__ import annotations

import pytest

from proxy.errors import FieldError, ValidationFailed
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.input_files import FileRules
from proxy.payload.policy import EndpointPolicy
from proxy.payload.validation.schema_file import Schema
from proxy.strict_json import Json, dump

TEXT: Json = {"type": "string"}
TEXTS: Json = {"type": "array", "items": TEXT}
NULLABLE: Json = {"anyOf": [TEXT, {"type": "null"}]}
# Fields for files as fal's models have them: by name, list, nullable, in a list of objects, in a free-form object.
FILE_FIELDS: dict[str, Json] = {
    "image_url": TEXT,
    "video_url": TEXT,
    "audio_url": TEXT,
    "mask_image_url": NULLABLE,
    "end_image_url": NULLABLE,
    "first_frame_url": TEXT,
    "last_frame_url": TEXT,
    "images_data_url": TEXT,
    "training_data_url": TEXT,
    "config_url": NULLABLE,
    "ref_audio_url": TEXT,
    "voice_url": TEXT,
    "control_image_url": TEXT,
    "garment_image_url": TEXT,
    "font_file_url": TEXT,
    "mesh_url": TEXT,
    "model_url": TEXT,
    "impulse_response_url": TEXT,
    "file_uri": TEXT,
    "url": TEXT,
    "image_urls": TEXTS,
    "reference_image_urls": TEXTS,
    "video_urls": TEXTS,
    "audio_urls": TEXTS,
    "file_urls": TEXTS,
    # Files by the schema's marks, or by nothing but their value.
    "audio": {"type": "string", "x-fal-file-input": True},
    "source": {"type": "string", "format": "uri"},
    "image": TEXT,
    "model_image": TEXT,
    "image_url_1": TEXT,
    "image_url ": TEXT,
    "imageUrl": TEXT,
    "frames": TEXTS,
    "style": TEXT,
    "negative_prompt": TEXT,
    "loras": {"type": "array", "items": {"type": "object", "properties": {"path": TEXT}}},
    "controlnets": {"type": "array", "items": {"type": "object", "properties": {"control_image_url": TEXT}}},
    "elements": {"type": "array", "items": {"type": "object", "properties": {"frontal_image_url": TEXT}}},
    "options": {"type": "object"},
    "messages": {"type": "array", "items": {"type": "object"}},
    "metadata": {},
}
PROSE: dict[str, Json] = {
    "prompt": TEXT,
    "text": TEXT,
    "input": TEXT,
    "lyrics": TEXT,
    "system": TEXT,
    "method_url": {"type": "string", "examples": ["canny", "depth"]},
    "preset_url": {"enum": ["first", "second"]},
    "path": TEXT,
    "steps": {"type": "integer"},
}
POLICY = EndpointPolicy(
    "acme/files",
    Schema("files.json", {"type": "object", "properties": {**FILE_FIELDS, **PROSE}}),
    files=FileRules(text_fields=frozenset({"system"})),
)
PRIVATE = {
    "link-local": "http://169.254.169.254/latest/meta-data/",
    "private-name": "https://db.internal/dump",
    "bad-data": "data:text/html;base64,PHNjcmlwdD4=",
}


def placed(field: str, value: str) -> Json:
    """Returns *value* in the place that a payload has for *field*."""
    schema = FILE_FIELDS[field] if field in FILE_FIELDS else PROSE[field]
    items = schema.get("items") if isinstance(schema, dict) else None
    if items == TEXT:
        return ["https://cdn.example.com/a.png", value]
    if field == "messages":
        return [{"role": "user", "content": value}]
    if isinstance(items, dict) and isinstance(members := items.get("properties"), dict):
        return [dict.fromkeys(members, value)]
    return {"a": [{"b": value}]} if field in ("options", "metadata") else value


def errors(payload: dict[str, Json]) -> list[FieldError]:
    try:
        POLICY.admit(dump(payload))
    except ValidationFailed as refusal:
        return refusal.detail
    return []


@pytest.mark.parametrize("url", PRIVATE.values(), ids=PRIVATE)
@pytest.mark.parametrize("field", FILE_FIELDS)
def test_no_field_takes_a_private_address(field: str, url: str) -> None:
    """A metadata address, a private name and a data URI of no media are refused in every field."""
    (error,) = errors({field: placed(field, url)})

    assert error["loc"][:2] == ["body", field]
    assert "(rule files." in error["msg"]
    assert url not in error["msg"]


SPELLINGS = {
    "upper-case": "HTTP://169.254.169.254/",
    "leading-blank": " http://169.254.169.254/",
    "leading-control": "\x01http://169.254.169.254/",
    "leading-no-break": "\u00a0http://169.254.169.254/",
    "leading-mark": "\ufeffhttp://169.254.169.254/",
    "leading-zero-width": "\u200bhttp://169.254.169.254/",
    "trailing-blank": "http://169.254.169.254/ ",
    "tab-in-scheme": "ht\ttp://169.254.169.254/",
    "newline-in-scheme": "http:\n//169.254.169.254/",
    "no-scheme": "//169.254.169.254/",
    "backslashes": "\\\\169.254.169.254\\share",
    "mixed-slashes": "/\\169.254.169.254/",
    "scheme-backslashes": "http:\\\\169.254.169.254\\",
    "one-slash": "http:/169.254.169.254/",
    "file": "file:/etc/passwd",
    "file-slashes": "file:///etc/passwd",
    "file-upper": "FILE:etc",
    "blob": "blob:https://example.com/1",
    "ftp": "ftp://example.com/a.png",
    "gopher": "gopher://127.0.0.1:6379/_",
    "plus-scheme": "git+ssh://example.com/a",
    "s3": "s3://bucket/key",
    "http-public": "http://example.com/a.png",
    "decimal": "https://2852039166/",
    "octal": "https://0251.0376.0251.0376/",
    "hex": "https://0xa9fea9fe/",
    "ipv6": "https://[::ffff:169.254.169.254]/",
    "port": "https://example.com:8443/a.png",
    "user": "https://example.com@169.254.169.254/",
    "localhost": "https://localhost/",
    "single-label": "https://metadata/",
    "local": "https://printer.local/",
    "internal": "https://metadata.google.internal/",
    "test": "https://app.test/",
    "example": "https://app.example/",
    "invalid": "https://app.invalid/",
    "home-arpa": "https://nas.home.arpa/",
    "nip": "https://169.254.169.254.nip.io/",
    "sslip": "https://169-254-169-254.sslip.io/",
    "rebinding": "https://7f000001.a9fea9fe.rbndr.us/",
    "1u": "https://make-127.0.0.1-rebind-169.254.169.254-rr.1u.ms/",
    "local-gd": "https://10.0.0.1.local.gd/",
    "localtest": "https://a.localtest.me/",
    "lvh": "https://lvh.me/",
    "data-svg": "data:image/svg+xml;base64,PHN2Zy8+",
    "data-text": "data:,hello",
    "data-plain": "data:image/png,abc",
    "data-bad-base64": "data:image/png;base64,AA=A",
    "data-upper": "DATA:TEXT/HTML;BASE64,PGI+",
}


@pytest.mark.parametrize("value", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("field", ["image", "image_url"])
def test_no_spelling_gets_through(field: str, value: str) -> None:
    """A URL that could lead inside is refused in every spelling, in a file field and in any other."""
    assert [error["loc"] for error in errors({field: value})] == [["body", field]]


@pytest.mark.parametrize("field", ["prompt", "text", "input", "lyrics", "system"])
def test_a_prompt_that_is_a_url_is_a_file(field: str) -> None:
    """Without white space inside, a URL in a field for prose could be fetched, so it is checked."""
    assert errors({field: "http://169.254.169.254/latest"}) != []
    assert errors({field: "http://169.254.169.254/\n"}) != []


URL = "https://cdn.example.com/a/b.png?x=1&y=%20#z"
GOOD: dict[str, dict[str, Json]] = {
    **{f"url-{name}": {name: placed(name, URL)} for name in FILE_FIELDS},
    **{
        f"data-{media_type}": {field: f"data:{media_type};base64,AAAA"}
        for field, media_type in (
            ("image_url", "image/png"),
            ("image_url", "image/jpeg"),
            ("image_url", "image/jpg"),
            ("image_url", "image/webp"),
            ("image_url", "image/heic"),
            ("image_url", "image/png;charset=utf-8"),
            ("image", "image/png"),
            ("image", "IMAGE/PNG"),
            ("audio_url", "audio/webm;codecs=opus"),
            ("audio_url", "audio/mp3"),
            ("audio_url", "audio/mpeg"),
            ("audio_url", "audio/x-m4a"),
            ("audio_url", "audio/x-wav"),
            ("audio_url", "video/webm;codecs=vp8"),
            ("voice_url", "audio/ogg; codecs=opus"),
            ("video_url", "video/mp4"),
            ("video_url", "video/x-m4v"),
            ("video_url", "video/quicktime"),
            ("images_data_url", "application/zip"),
            ("images_data_url", "application/x-zip-compressed"),
            ("mesh_url", "model/gltf-binary"),
            ("metadata", "video/mp4"),
        )
    },
    "prompt-mentions-a-url": {"prompt": "a screenshot of http://169.254.169.254/ in a terminal"},
    "prompt-begins-with-a-url": {"prompt": "https://10.0.0.1/ as neon letters"},
    "prompt-with-a-comment": {"prompt": "// a comment in green"},
    "prompt-data": {"prompt": "data: the new oil, photorealistic"},
    "prompt-file": {"prompt": "file: cabinet in an office"},
    "text-begins-with-a-url": {"text": "http://localhost:3000 is where it runs"},
    "lyrics-with-slashes": {"lyrics": "// verse one //\nla la la"},
    "input-begins-with-a-url": {"input": "https://a.b.c read this aloud"},
    "text-field-of-the-operator": {"system": "https://10.0.0.1/ is our wiki"},
    "message-begins-with-a-url": {"messages": [{"role": "user", "content": "http://intranet/ what is that?"}]},
    "message-part": {"messages": [{"content": [{"type": "text", "text": "http://intranet/ what is that?"}]}]},
    "style-mentions-a-url": {"style": "see https://10.0.0.1/"},
    "ratio": {"style": "16:9"},
    "key-value": {"style": "mood:happy"},
    "words-in-a-url-field": {"method_url": "canny"},
    "choice-in-a-url-field": {"preset_url": "first"},
    "empty-url": {"image_url": ""},
    "null-url": {"mask_image_url": None},
    "weights-by-name": {"loras": [{"path": "owner/weights"}]},
    "path-by-name": {"path": "stabilityai/sdxl"},
    "slash-in-text": {"style": "and/or"},
    "windows-path-in-prompt": {"prompt": "C:\\ drive in pixel art"},
    "time": {"style": "12:30:45"},
}


@pytest.mark.parametrize("payload", GOOD.values(), ids=GOOD)
def test_good_files_and_words_are_admitted(payload: dict[str, Json]) -> None:
    """Public URLs, media of the field's kind with codecs and aliases, words, and prose about URLs."""
    assert errors(payload) == []


def test_the_tables_are_as_large_as_promised() -> None:
    """At least 120 cases are refused and 60 admitted."""
    assert len(FILE_FIELDS) * len(PRIVATE) + 2 * len(SPELLINGS) >= 120
    assert len(GOOD) >= 60


LISTED = HostAllowlist.from_patterns(["cdn.example.com"])


@pytest.mark.parametrize(
    ("rules", "value", "rule"),
    [
        (FileRules(LISTED), "https://a.example.com/", "files.hosts"),
        (FileRules(media_types=frozenset({"image/png"})), "data:image/gif;base64,AAAA", "files.media_types"),
        (FileRules(max_bytes=2), "data:image/png;base64,AAAA", "files.max_bytes"),
    ],
)
def test_a_message_has_the_rule(rules: FileRules, value: str, rule: str) -> None:
    """The operator finds the key to change in the answer."""
    schema = Schema("any", {"type": "object", "properties": {"image": {}}})

    with pytest.raises(ValidationFailed) as raised:
        EndpointPolicy("acme/any", schema, files=rules).admit(dump({"image": value}))
    assert f"(rule {rule})" in raised.value.detail[0]["msg"]
