from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.node_programs import installed, run_node
from support.sandbox import png

from proxy.testing import FalGateway

TSC = "node_modules/typescript/bin/tsc"
# Node's fetch and Blob in place of Expo's.
STAND_INS = {
    "expo/package.json": json.dumps({"name": "expo", "exports": {"./fetch": "./fetch.js"}}),
    "expo/fetch.js": "exports.fetch = globalThis.fetch;",
    "expo-file-system/index.js": (
        "const { readFileSync } = require('node:fs');\n"
        "exports.File = class extends Blob { constructor(uri) { super([readFileSync(uri.slice(7))]); } };"
    ),
}
MAIN = """
const { createGatewayClient } = require("./fal.js");
const { uploadPicture } = require("./upload.js");
(async () => {
  const token = process.env.TOKEN;
  const image_url = await uploadPicture(process.env.PICTURE, "image/png", token);
  const fal = createGatewayClient(async () => token);
  const input = { image_url, prompt: "a lighthouse" };
  const { data } = await fal.subscribe("fal-ai/hyper-sdxl/image-to-image", { input, mode: "streaming" });
  console.log(data.images[0].url);
})();
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the compiled source."""
    output: Path = tmp_path_factory.mktemp("expo")
    options = ["--module", "commonjs", "--moduleResolution", "node10", "--outDir", str(output)]
    done = run_node(TSC, *options, folder=installed("expo"))
    assert done.returncode == 0, done.stdout
    return output


def test_the_source_fits_the_types_of_the_client(compiled: Path) -> None:
    """The compiler finds no error in any module of the app."""
    assert sorted(path.name for path in compiled.iterdir()) == ["App.jsx", "fal.js", "upload.js"]


def test_the_calls_work_in_node(fal_gateway: FalGateway, compiled: Path, tmp_path: Path) -> None:
    """An upload and a streamed job of the app's modules work, with stand-ins for the packages of Expo."""
    source = (compiled / "fal.js").read_text()
    (tmp_path / "fal.js").write_text(source.replace("https://app.example.com/api/fal", fal_gateway.url))
    (tmp_path / "upload.js").write_text((compiled / "upload.js").read_text())
    packages = tmp_path / "node_modules"
    for name, text in STAND_INS.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(text)
    for package in ("@fal-ai", "@msgpack", "eventsource-parser", "robot3"):
        (packages / package).symlink_to(installed("expo") / "node_modules" / package)
    (tmp_path / "main.js").write_text(MAIN)
    (tmp_path / "cat.png").write_bytes(png())
    done = run_node("main.js", folder=tmp_path, TOKEN=fal_gateway.token(), PICTURE=f"file://{tmp_path}/cat.png")

    assert done.stdout.startswith(fal_gateway.sandbox.addresses.rest), done.stderr
    assert fal_gateway.sandbox.counts.submits == 1
