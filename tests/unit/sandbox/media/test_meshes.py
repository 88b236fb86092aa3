from __future__ import annotations

import json
import struct

from proxy.sandbox.media import meshes


def test_binary_gltf_is_two_chunks_of_the_stated_length() -> None:
    """glTF 2.0, section 4: magic, version and length; JSON and buffer chunks padded to four bytes."""
    content = meshes.glb()

    assert struct.unpack("<4sII", content[:12]) == (b"glTF", 2, len(content))
    size, kind = struct.unpack("<I4s", content[12:20])
    document = json.loads(content[20 : 20 + size])
    buffer_size, buffer_kind = struct.unpack("<I4s", content[20 + size : 28 + size])
    assert (kind, buffer_kind, size % 4, buffer_size % 4) == (b"JSON", b"BIN\0", 0, 0)
    assert len(content) == 28 + size + buffer_size
    assert document["buffers"][0]["byteLength"] <= buffer_size


def test_binary_gltf_accessors_read_the_tetrahedron() -> None:
    """Positions lie within the stated bounds, and indices within the positions."""
    content = meshes.glb()
    size = int.from_bytes(content[12:16], "little")
    document, buffer = json.loads(content[20 : 20 + size]), content[28 + size :]

    views = [
        buffer[view.get("byteOffset", 0) : view.get("byteOffset", 0) + view["byteLength"]]
        for view in document["bufferViews"]
    ]
    positions = list(struct.iter_unpack("<3f", views[0]))
    indices = [index for (index,) in struct.iter_unpack("<H", views[1])]
    assert [accessor["count"] for accessor in document["accessors"]] == [len(positions), len(indices)]
    bounds = document["accessors"][0]
    assert [min(axis) for axis in zip(*positions, strict=True)] == bounds["min"]
    assert [max(axis) for axis in zip(*positions, strict=True)] == bounds["max"]
    assert set(indices) == set(range(len(positions)))


def test_text_formats_list_every_corner_and_face() -> None:
    """OBJ counts from one, PLY states its counts, STL repeats the corners of each face."""
    obj, ply, stl = (write().decode().splitlines() for write in (meshes.obj, meshes.ply, meshes.stl))

    assert [line[0] for line in obj if line[0] in "vf"] == ["v"] * 4 + ["f"] * 4
    assert {number for line in obj if line.startswith("f ") for number in line[2:].split()} == {"1", "2", "3", "4"}
    assert ply[0] == "ply"
    assert len(ply[ply.index("end_header") + 1 :]) == 8
    assert (stl[0], stl[-1]) == ("solid sandbox", "endsolid sandbox")
    assert sum(line.startswith("vertex ") for line in stl) == 12
