from __future__ import annotations

import io
import json
import zipfile
from xml.etree import ElementTree as ET

from proxy.sandbox.media import documents


def test_every_format_is_a_file_of_its_kind() -> None:
    """Text decodes, JSON and SVG parse, the archive is intact, a safetensors head fits its data."""
    files = {extension: write() for extension, (write, _) in documents.FORMATS.items()}

    assert "sandbox" in files["txt"].decode("ascii")
    assert json.loads(files["json"])["note"]
    assert ET.fromstring(files["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"newmtl sandbox" in files["mtl"]
    with zipfile.ZipFile(io.BytesIO(files["zip"])) as archive:
        assert (archive.testzip(), archive.namelist()) == (None, ["sandbox.txt"])
    size = int.from_bytes(files["safetensors"][:8], "little")
    head = json.loads(files["safetensors"][8 : 8 + size])
    assert head["sandbox"]["data_offsets"] == [0, len(files["safetensors"]) - 8 - size]


def test_the_bytes_do_not_change() -> None:
    """A second call gives the same file, so that tests of an app can compare hashes."""
    assert all(write() == write() for write, _ in documents.FORMATS.values())
