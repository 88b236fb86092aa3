"""Files go to the upload host, straight from the browser, and the model is given their address."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from PIL import Image
from playwright.sync_api import Browser, expect
from support.browser import PROMPT, playground, visit
from support.demo import Told, told_demo
from support.gateway_process import Rig
from support.in_process_gateway import token

INITIATE = re.compile(r"https://rest\.fal\.ai/storage/upload/initiate\?storage_type=fal-cdn-v3")
MULTIPART = re.compile(r"https://rest\.fal\.ai/storage/upload/initiate-multipart\?storage_type=fal-cdn-v3")
BIG = 95 * 1024 * 1024  # bytes; the client goes over to parts of 10 MiB above 90 MiB


def test_a_file(browser: Browser, demo: Told, tmp_path: Path) -> None:
    """A file is announced to the gateway, PUT to the upload host without a credential, and submitted."""
    picture = tmp_path / "my picture.png"
    Image.new("RGB", (120, 80), "teal").save(picture)
    with visit(browser, demo.url) as alice:
        page = alice.page
        alice.sign_in_as("alice")
        page.locator("input[type=file]").set_input_files(picture)
        expect(page.locator(".drop-title")).to_have_text("my picture.png")
        page.get_by_label("Prompt", exact=True).fill(PROMPT)
        alice.run()
        alice.result()
        assert len(alice.calls(INITIATE)) == 1
        (put,) = [request for request in alice.requests if request.method == "PUT"]
        body = json.loads(alice.submitted()[0].post_data or "")
        alice.check()

    assert put.headers["content-type"] == "image/png"
    assert not {"authorization", "cookie", "x-fal-target-url"} & put.headers.keys()
    assert urlsplit(put.url).netloc == urlsplit(body["image_url"]).netloc != urlsplit(demo.url).netloc
    stored = httpx2.get(body["image_url"], trust_env=False)
    assert (stored.content, stored.headers["content-type"]) == (picture.read_bytes(), "image/png")


def test_more_than_90_megabytes(browser: Browser, demo: Told) -> None:
    """The client in the page sends a large Blob in parts; what is stored is what was sent, byte for byte."""
    with visit(browser, demo.url) as alice:
        alice.sign_in_as("alice")
        result = alice.page.evaluate(
            f"""async () => {{
              const {{ createFalClient }} = await import('/playground/vendor/fal-client-1.10.1.js');
              const fal = createFalClient({{ proxyUrl: {{ url: '/api/fal/proxy', when: 'always' }} }});
              const bytes = new Uint8Array({BIG});
              for (let place = 0; place < bytes.length; place += 4096) bytes[place] = place / 4096;
              const url = await fal.storage.upload(new Blob([bytes], {{ type: 'image/png' }}));
              const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
              return {{ url, sum: [...sum].map((byte) => byte.toString(16).padStart(2, '0')).join('') }};
            }}"""
        )
        parts = [request.url for request in alice.requests if request.method == "PUT"]
        alice.check()
        assert len(alice.calls(MULTIPART)) == 1

    stored = httpx2.get(result["url"], trust_env=False, timeout=20).content
    assert len(parts) == 10
    assert (len(stored), hashlib.sha256(stored).hexdigest()) == (BIG, result["sum"])


def test_a_picture_of_more_than_90_megabytes(browser: Browser, demo: Told, tmp_path: Path) -> None:
    """By the form too a photograph without compression becomes a result, its upload shown part by part."""
    picture = tmp_path / "large.png"
    Image.effect_noise((6200, 5200), 60).convert("RGB").save(picture, compress_level=0)
    assert picture.stat().st_size > 90 * 1024 * 1024
    with visit(browser, demo.url) as bob:
        bob.sign_in_as("bob")
        bob.page.locator("input[type=file]").set_input_files(picture)
        bob.page.get_by_label("Prompt", exact=True).fill(PROMPT)
        bob.choose("image_size", "Square 512")
        bob.run()
        expect(bob.page.locator("#line .now")).to_contain_text("uploading, part")
        bob.result()
        bob.check()
        assert len(bob.calls(MULTIPART)) == 1


def test_without_uploads(browser: Browser, rig: Rig, tmp_path: Path) -> None:
    """Without uploads a picture is sent in the request, made smaller where the gateway would refuse it."""
    picture = tmp_path / "noise.png"
    Image.effect_noise((1800, 1200), 90).convert("RGB").save(picture)
    gateway = playground(rig, rig.sandbox(), server={"max_body_bytes": 1024 * 1024})
    with visit(browser, gateway.parts.config.server.public_origin) as alice:
        alice.sign_in_with(token())
        alice.page.locator("input[type=file]").set_input_files(picture)
        alice.page.get_by_label("Prompt", exact=True).fill(PROMPT)
        alice.run()
        alice.result()
        (sent,) = alice.submitted()
        text = sent.post_data or ""
        alice.check()

    assert picture.stat().st_size > 1024 * 1024 > len(text) > 100_000
    uri = json.loads(text)["image_url"]
    assert uri.startswith("data:image/jpeg;base64,")
    with Image.open(BytesIO(b64decode(uri.partition(",")[2]))) as smaller:
        assert max(smaller.size) <= 1800
        assert smaller.format == "JPEG"


def test_the_upload_host_fails(browser: Browser) -> None:
    """A failed upload is shown as that, and no job is started."""
    with told_demo() as demo, visit(browser, demo.url) as alice:
        fault = {"kind": "status", "action": "put", "status": 500}
        httpx2.put(f"{demo.control}/faults", json=[fault], trust_env=False).raise_for_status()
        alice.sign_in_as("alice")
        alice.fill()
        alice.run()
        expect(alice.trouble()).to_contain_text("The file could not be uploaded")
        assert alice.submitted() == []
        alice.check(500)


def test_cancel_while_uploading(browser: Browser) -> None:
    """A cancelled upload is not submitted."""
    with told_demo() as demo, visit(browser, demo.url) as alice:
        fault = {"kind": "latency", "action": "put", "delay": 1.5}
        httpx2.put(f"{demo.control}/faults", json=[fault], trust_env=False).raise_for_status()
        alice.sign_in_as("alice")
        alice.fill()
        alice.run()
        expect(alice.page.locator("#line .now")).to_contain_text("uploading")
        alice.page.get_by_role("button", name="Cancel").click()
        expect(alice.trouble()).to_contain_text("Cancelled")
        assert alice.submitted() == []
        alice.check()
