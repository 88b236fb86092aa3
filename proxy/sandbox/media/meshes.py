"""3D files of one tetrahedron: binary glTF, OBJ, PLY and STL."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping

_CORNERS = ((1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, -1.0, -1.0))
_FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
# glTF 2.0: float, unsigned short, vertex buffer, index buffer.
_FLOAT, _UNSIGNED_SHORT, _ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 5126, 5123, 34962, 34963


def glb() -> bytes:
    """Returns a binary glTF 2.0 file (Khronos glTF 2.0, section 4)."""
    positions = b"".join(struct.pack("<3f", *corner) for corner in _CORNERS)
    indices = b"".join(struct.pack("<3H", *face) for face in _FACES)
    document = {
        "asset": {"version": "2.0", "generator": "fal-proxy sandbox"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "sandbox"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            _accessor(0, _FLOAT, len(_CORNERS), "VEC3") | {"min": [-1.0] * 3, "max": [1.0] * 3},
            _accessor(1, _UNSIGNED_SHORT, 3 * len(_FACES), "SCALAR"),
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(positions), "target": _ARRAY_BUFFER},
            {
                "buffer": 0,
                "byteOffset": len(positions),
                "byteLength": len(indices),
                "target": _ELEMENT_ARRAY_BUFFER,
            },
        ],
        "buffers": [{"byteLength": len(positions) + len(indices)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode("ascii")
    chunks = _chunk(_JSON_CHUNK, text, b" ") + _chunk(_BINARY_CHUNK, positions + indices, b"\0")
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def obj() -> bytes:
    """Returns a Wavefront OBJ file."""
    vertices = [f"v {x} {y} {z}" for x, y, z in _CORNERS]
    faces = [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in _FACES]
    return _lines("# fal-proxy sandbox", "o sandbox", *vertices, *faces)


def ply() -> bytes:
    """Returns a PLY file in ASCII."""
    head = ["ply", "format ascii 1.0", f"element vertex {len(_CORNERS)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"element face {len(_FACES)}", "property list uchar int vertex_indices", "end_header"]
    return _lines(*head, *(f"{x} {y} {z}" for x, y, z in _CORNERS), *(f"3 {a} {b} {c}" for a, b, c in _FACES))


def stl() -> bytes:
    """Returns an STL file in ASCII."""
    lines = ["solid sandbox"]
    for face in _FACES:
        corners = ["vertex {} {} {}".format(*_CORNERS[index]) for index in face]
        lines += ["facet normal 0 0 0", "outer loop", *corners, "endloop", "endfacet"]
    return _lines(*lines, "endsolid sandbox")


# Writers and media types by extension.
FORMATS: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "glb": (glb, "model/gltf-binary"),
    "obj": (obj, "model/obj"),
    "ply": (ply, "application/octet-stream"),
    "stl": (stl, "model/stl"),
}


def _accessor(view: int, component: int, count: int, kind: str) -> dict[str, object]:
    return {"bufferView": view, "componentType": component, "count": count, "type": kind}


def _chunk(kind: int, content: bytes, padding: bytes) -> bytes:
    content += padding * (-len(content) % 4)
    return struct.pack("<II", len(content), kind) + content


def _lines(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii")
