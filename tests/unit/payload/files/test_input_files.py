from __future__ import annotations

import base64

import pytest
from support.cpu import cost
from support.hostile_urls import HOSTILE_URLS

from proxy.errors import FieldError
from proxy.payload.files.host_allowlist import HostAllowlist
from proxy.payload.files.input_files import FileRules, Inputs
from proxy.strict_json import Json

GOOD, BAD = "https://example.com/cat.png", "https://10.0.0.1/cat.png"
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Json = {
    "type": "object",
    "properties": {
        "image_url": {"type": "string"},
        "prompt": {"type": "string"},
        "source": {"type": "string", "format": "uri"},
        "either": {"anyOf": [{"type": "null"}, {"type": "string", "format": "uri"}]},
        "several": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "deep": {"type": "object", "properties": {"asset": {"type": "string", "format": "uri-reference"}}},
    },
}


@pytest.mark.parametrize("part", [1, 2, 3, 64])
@pytest.mark.parametrize(
    ("prompt", "accepted"),
    [
        ("//10.0.0.1", False),
        ("//10.0.0.1/\t\n\r/x", False),
        ("//10.0.0.1/ \n", False),
        ("//10.0.0.1/a b", True),
        ("//10.0.0.1/a\n\n\u2003\nb", True),
        ("h\t\nttp:\r//10.0.0.1/\U0001f600", False),
        ("h\t\nttp:\r//10.0.0.1/ \U0001f600", True),
    ],
)
def test_a_long_text_is_looked_at_in_parts(
    prompt: str, accepted: bool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blank between two words of a prompt is found wherever the parts end; tabs and line ends are none."""
    monkeypatch.setattr("proxy.payload.files.input_files._PART", part)

    assert (faults({"prompt": prompt}) == []) is accepted


def faults(payload: dict[str, Json], **rules: object) -> list[FieldError]:
    return Inputs(FileRules(**rules), SCHEMA).violations(payload)  # type: ignore[arg-type]


def places(payload: dict[str, Json], **rules: object) -> list[list[str | int]]:
    return sorted((error["loc"][1:] for error in faults(payload, **rules)), key=repr)


@pytest.mark.parametrize("url", [url for _, url in HOSTILE_URLS], ids=[name for name, _ in HOSTILE_URLS])
def test_hostile_urls_are_refused_in_a_file_field(url: str) -> None:
    """The error names the field, has a type of its own and repeats nothing of what was sent."""
    (error,) = faults({"image_url": url})

    assert (error["loc"], error["type"]) == (["body", "image_url"], "url_not_accepted")
    assert url not in error["msg"]


FIELDS: list[tuple[dict[str, Json], list[list[str | int]]]] = [
    ({"image_url": BAD}, [["image_url"]]),
    ({"image_url": GOOD}, []),
    ({"image_url": ""}, []),
    ({"image_url": None, "mask_url": 7, "video_url": True}, []),
    ({"imageUrl": BAD}, [["imageUrl"]]),
    ({"IMAGE_URL": BAD}, [["IMAGE_URL"]]),
    ({"url": BAD}, [["url"]]),
    ({"file_uri": BAD}, [["file_uri"]]),
    ({"image_urls": [GOOD, BAD, GOOD, BAD]}, [["image_urls", 1], ["image_urls", 3]]),
    ({"image_urls": [[BAD]]}, [["image_urls", 0, 0]]),
    ({"image_urls": {"a": BAD, "b_url": BAD}}, [["image_urls", "a"], ["image_urls", "b_url"]]),
    ({"prompt": BAD, "note": f"see {BAD}"}, [["prompt"]]),
    ({"prompt": f"{BAD} as a painting"}, []),
    ({"prompt": [BAD]}, [["prompt", 0]]),
    (
        {"controlnets": [{"control_image_url": BAD}, {"control_image_url": GOOD}]},
        [["controlnets", 0, "control_image_url"]],
    ),
    ({"a": {"b": {"c": [{"d": {"mask_url": BAD}}]}}}, [["a", "b", "c", 0, "d", "mask_url"]]),
    ({"loras": [{"path": "owner/weights"}]}, []),
    ({"loras": [{"path": BAD}]}, [["loras", 0, "path"]]),
    ({"loras": [{"path": GOOD}]}, []),
    ({"loras": [{"path": "//10.0.0.1/x"}]}, [["loras", 0, "path"]]),
    ({"loras": [{"path": "\\\\10.0.0.1\\x"}]}, [["loras", 0, "path"]]),
    ({"loras": [{"path": "file:/etc/passwd"}]}, [["loras", 0, "path"]]),
    ({"paths": ["owner/weights", BAD]}, [["paths", 1]]),
    ({"source": BAD}, [["source"]]),
    ({"either": BAD}, [["either"]]),
    ({"several": [GOOD, BAD]}, [["several", 1]]),
    ({"deep": {"asset": BAD}}, [["deep", "asset"]]),
    ({"weights": BAD}, [["weights"]]),
]


@pytest.mark.parametrize(("payload", "expected"), FIELDS, ids=[str(i) for i in range(len(FIELDS))])
def test_which_members_are_files(payload: dict[str, Json], expected: list[list[str | int]]) -> None:
    """Files are found by name, by schema and by value at any depth and in lists; prose is exempt."""
    assert places(payload) == expected


def test_the_operator_names_further_members() -> None:
    """A member of a name listed in `fields` is a file under any name."""
    assert places({"weights": "x", "a": {"weights": "x"}}, fields=frozenset({"weights"})) == [
        ["a", "weights"],
        ["weights"],
    ]


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        (PNG, None),
        ("DATA:image/png;BASE64,iVBORw0KGgo=", None),
        ("data:IMAGE/PNG;base64,iVBORw0KGgo=", None),
        ("data:image/jpg;base64,AAAA", None),
        ("data:image/jpeg;base64,AAAA", None),
        ("data:image/webp;base64,AA==", None),
        ("data:image/gif;base64,AAA=", None),
        ("data:image/svg+xml;base64,AAAA", "media_type_not_accepted"),
        ("data:text/html;base64,AAAA", "media_type_not_accepted"),
        ("data:application/octet-stream;base64,AAAA", "media_type_not_accepted"),
        ("data:audio/mpeg;base64,AAAA", "media_type_not_accepted"),
        ("data:image/pngx;base64,AAAA", "media_type_not_accepted"),
        ("data:;base64,AAAA", "data_uri_invalid"),
        ("data:,AAAA", "data_uri_invalid"),
        ("data:image/png,AAAA", "data_uri_invalid"),
        ("data:image/png;base64", "data_uri_invalid"),
        ("data:image/png;base64,", "data_uri_invalid"),
        ("data:image/png;charset=utf-8;base64,AAAA", None),
        ("data:image/png;charset=;base64,AAAA", "data_uri_invalid"),
        ("data:image/png;base64;base64,AAAA", "data_uri_invalid"),
        ("data:image/png ;base64,AAAA", "data_uri_invalid"),
        ("data:image/png;ba\u017fe64,AAAA", "data_uri_invalid"),
        ("data:image/png;base64,AAA", "data_uri_invalid"),
        ("data:image/png;base64,A===", "data_uri_invalid"),
        ("data:image/png;base64,====", "data_uri_invalid"),
        ("data:image/png;base64,AA=A", "data_uri_invalid"),
        ("data:image/png;base64,AA==AAAA", "data_uri_invalid"),
        ("data:image/png;base64,AA\nA", "data_uri_invalid"),
        ("data:image/png;base64,AAA\n", "data_uri_invalid"),
        ("data:image/png;base64,AA-_", "data_uri_invalid"),
        ("data:image/png;base64,AA%3D", "data_uri_invalid"),
        ("data:image/png;base64, AAA", "data_uri_invalid"),
        ("data:image/png;base64,\uff21AAA", "data_uri_invalid"),
        ("data:image/png;base64,AAAA#x", "data_uri_invalid"),
        ("data:image/png;base64,AAAA\x00AAA", "data_uri_invalid"),
        (" data:image/png;base64,AAAA", "url_not_accepted"),
        ("data//image/png;base64,AAAA", "url_not_accepted"),
    ],
)
def test_data_uris(uri: str, fault: str | None) -> None:
    """One form, the listed types, padded base64 of the standard alphabet."""
    assert [error["type"] for error in faults({"image_url": uri})] == ([] if fault is None else [fault])


@pytest.mark.parametrize("size", range(1, 14))
def test_the_limit_is_of_decoded_bytes(size: int) -> None:
    """Exactly `max_bytes` pass with any padding, and one byte more does not."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()

    assert faults({"image_url": uri}, max_bytes=size) == []
    assert [error["type"] for error in faults({"image_url": uri}, max_bytes=size - 1)] == ["file_too_large"]


def test_data_uris_can_be_turned_off() -> None:
    """No media type is accepted where none is listed; URLs go on."""
    rules = {"media_types": frozenset[str]()}

    assert places({"image_url": PNG, "mask_url": GOOD}, **rules) == [["image_url"]]


def test_listed_hosts_bind_every_file() -> None:
    """A host that is not listed has another message than a URL that could never pass."""
    hosts = HostAllowlist.from_patterns(["cdn.example.com"])
    payload: dict[str, Json] = {"image_url": "https://cdn.example.com/a", "mask_url": GOOD, "x_url": BAD}

    assert sorted((error["loc"][1], error["msg"][:22]) for error in faults(payload, hosts=hosts)) == [
        ("mask_url", "The host of this URL i"),
        ("x_url", "Input should be an htt"),
    ]


def test_errors_are_bounded() -> None:
    """A payload of a hundred thousand bad URLs gives fifty errors, each URL in the CPU of 300 additions."""
    assert len(faults({"image_urls": [BAD] * 100_000})) == 50
    assert cost(lambda: faults({"image_urls": [BAD] * 100_000}), rounds=2) < 1500


@pytest.mark.parametrize(
    "url",
    ["https://" + "a." * 4000, "https://" + "a-" * 4000, "https://" + "a" * 9000, "https://a.b" + "/" * 9000 + "\n"],
)
def test_no_url_takes_long(url: str) -> None:
    """The grammar runs in linear time."""
    assert places({"image_url": url}) == [["image_url"]]
    assert cost(lambda: places({"image_url": url})) < 10
