"""Submit bodies that must be refused before any upstream connection: (id, body, status).

Made for this project after the grammar of RFC 8259 and the shipped schema of hyper-sdxl's image-to-image. The rows
are for an endpoint with that schema and no rules.
"""

from __future__ import annotations

import json

from proxy.strict_json import Json

VALID: dict[str, Json] = {"image_url": "https://example.com/cat.png", "prompt": "a cat"}


def _with(**fields: object) -> bytes:
    return json.dumps({**VALID, **fields}).encode()


def _member(text: bytes) -> bytes:
    """Returns a valid body but for *text*, one more member of it."""
    return b'{"image_url": "https://example.com/cat.png", "prompt": "a cat", ' + text + b"}"


_GOOD = _with()

_NOT_JSON: dict[str, bytes] = {
    "space-only": b"  \n",
    "nul-only": b"\x00",
    "word": b"prompt",
    "form": b"image_url=x&prompt=y",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\ncat\r\n--x--',
    "xml": b"<prompt>cat</prompt>",
    "python-repr": b"{'image_url': 'x', 'prompt': 'y'}",
    "unquoted-names": b'{image_url: "x", prompt: "y"}',
    "cut": _GOOD[:-1],
    "cut-in-string": _GOOD[:-3],
    "cut-in-escape": b'{"prompt": "\\',
    "cut-in-unicode-escape": b'{"prompt": "\\u00',
    "lone-brace": b"{",
    "closed-only": b"}",
    "wrong-closer": b'{"prompt": "x"]',
    "trailing-comma": _member(b'"seed": 1,'),
    "leading-comma": b'{,"prompt": "x"}',
    "double-comma": _member(b',"seed": 1'),
    "missing-colon": _member(b'"seed" 1'),
    "missing-value": _member(b'"seed":'),
    "number-as-name": _member(b'1: "seed"'),
    "trailing-data": _GOOD + b"x",
    "trailing-object": _GOOD + _GOOD,
    "trailing-nul": _GOOD + b"\x00",
    "two-lines": _GOOD + b"\n" + _GOOD,
    "line-comment": b"// hi\n" + _GOOD,
    "block-comment": _member(b'/* hi */ "seed": 1'),
    "form-feed": b"\x0c" + _GOOD,
    "no-break-space": "\u00a0".encode() + _GOOD,
    "line-separator": "\u2028".encode() + _GOOD,
    "control-in-string": _member(b'"x": "a\x01b"'),
    "newline-in-string": _member(b'"x": "a\nb"'),
    "nul-in-string": _member(b'"x": "a\x00b"'),
    "tab-in-name": _member(b'"x\t": 1'),
    "bad-escape": _member(b'"x": "\\x41"'),
    "single-quote-escape": _member(b'"x": "\\\'"'),
    "short-unicode-escape": _member(b'"x": "\\u12"'),
    "spaced-unicode-escape": _member(b'"x": "\\u 123"'),
    "upper-unicode-escape": _member(b'"x": "\\U0041"'),
    "nan": _member(b'"strength": NaN'),
    "infinity": _member(b'"strength": Infinity'),
    "minus-infinity": _member(b'"strength": -Infinity'),
    "true-capital": _member(b'"sync_mode": True'),
    "none": _member(b'"seed": None'),
    "undefined": _member(b'"seed": undefined'),
    "leading-zero": _member(b'"seed": 01'),
    "minus-leading-zero": _member(b'"seed": -01'),
    "plus": _member(b'"seed": +1'),
    "minus-alone": _member(b'"seed": -'),
    "hex": _member(b'"seed": 0x10'),
    "underscore": _member(b'"seed": 1_000'),
    "full-width-digit": _member('"seed": \uff11'.encode()),
    "bare-fraction": _member(b'"strength": .5'),
    "open-fraction": _member(b'"strength": 1.'),
    "open-exponent": _member(b'"strength": 1e'),
}

_NOT_UTF8: dict[str, bytes] = {
    "bom": b"\xef\xbb\xbf" + _GOOD,
    "utf-16": _GOOD.decode().encode("utf-16"),
    "utf-16-le": _GOOD.decode().encode("utf-16-le"),
    "utf-16-be": _GOOD.decode().encode("utf-16-be"),
    "utf-32": _GOOD.decode().encode("utf-32"),
    "utf-32-be": _GOOD.decode().encode("utf-32-be"),
    "latin-1": _member(b'"x": "caf\xe9"'),
    "overlong-slash": _member(b'"x": "\xc0\xaf"'),
    "overlong-nul": _member(b'"x": "\xc0\x80"'),
    "cut-sequence": _member(b'"x": "\xe2\x82"'),
    "lone-continuation": _member(b'"x": "\x80"'),
    "raw-surrogate": _member(b'"x": "\xed\xa0\x80"'),
    "cesu-8": _member(b'"x": "\xed\xa0\xbd\xed\xb8\x80"'),
    "beyond-unicode": _member(b'"x": "\xf4\x90\x80\x80"'),
    "gzip": bytes.fromhex("1f8b08000000000000ff") + _GOOD,
}

_AMBIGUOUS: dict[str, bytes] = {
    "duplicate": _member(b'"prompt": "another cat"'),
    "duplicate-same-value": _member(b'"prompt": "a cat"'),
    "duplicate-escaped": _member(b'"\\u0070rompt": "another cat"'),
    "duplicate-nested": _member(b'"image_size": {"width": 512, "width": 14142}'),
    "duplicate-in-list": _member(b'"embeddings": [{"path": "x", "path": "y"}]'),
    "duplicate-unknown": _member(b'"x": {"a": {"": 1, "": 2}}'),
    "high-surrogate": _member(b'"x": "\\ud800"'),
    "low-surrogate": _member(b'"x": "\\uDC00"'),
    "swapped-surrogates": _member(b'"x": "\\ude00\\ud83d"'),
    "surrogate-then-text": _member(b'"x": "\\ud83dx"'),
    "surrogate-in-name": _member(b'"\\ud800": 1'),
    "surrogate-nested": _member(b'"x": [{"y": "\\udfff"}]'),
    "beyond-double": _member(b'"strength": 1e400'),
    "beyond-double-negative": _member(b'"strength": -1e400'),
    "huge-exponent": _member(b'"strength": 1e999999999999'),
    "long-integer": _member(b'"seed": ' + b"9" * 301),
    "endless-integer": _member(b'"seed": ' + b"9" * 100_000),
    "endless-fraction": _member(b'"strength": 0.' + b"1" * 100_000),
}

_BOMBS: dict[str, bytes] = {
    "deep-list": _member(b'"x": ' + b"[" * 64 + b"]" * 64),
    "deep-object": _member(b'"x": ' + b'{"x":' * 64 + b"1" + b"}" * 64),
    "deep-unclosed": b"[" * 50_000,
    "deep-after-escape": _member(b'"y": "\\\\\\"", "x": ' + b"[" * 65 + b"]" * 65),
    "deep-after-brackets-in-string": _member(b'"y": "' + b"]" * 80 + b'", "x": ' + b"[" * 65 + b"]" * 65),
    "many-numbers": _member(b'"x": [' + b"1," * 100_000 + b"1]"),
    "many-objects": _member(b'"x": [' + b"{}," * 100_000 + b"{}]"),
    "many-strings": _member(b'"x": [' + b'"",' * 100_000 + b'""]'),
    "many-members": _member(b'"x": {' + b",".join(b'"%d":0' % name for name in range(100_000)) + b"}"),
    "many-quotes": b'"' * 500_000,
}

_TOO_MANY = {"deep-unclosed", "many-numbers", "many-objects", "many-strings", "many-members"}

_NOT_AN_OBJECT: dict[str, bytes] = {
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "string": b'"a cat"',
    "list": b"[]",
    "listed": b"[" + _GOOD + b"]",
}

_AGAINST_SCHEMA: dict[str, bytes] = {
    "empty": b"",
    "empty-object": b"{}",
    "no-prompt": b'{"image_url": "x"}',
    "no-image": b'{"prompt": "x"}',
    "wrong-case": b'{"Image_URL": "x", "Prompt": "x"}',
    "wrapped": b'{"input": ' + _GOOD + b"}",
    "image-null": _with(image_url=None),
    "image-list": _with(image_url=["https://example.com/cat.png"]),
    "image-object": _with(image_url={"url": "https://example.com/cat.png"}),
    "prompt-number": _with(prompt=1),
    "prompt-true": _with(prompt=True),
    "size-unknown": _with(image_size="8k"),
    "size-case": _with(image_size="Square_HD"),
    "size-null-member": _with(image_size={"width": None}),
    "size-number": _with(image_size=512),
    "size-list": _with(image_size=[512, 512]),
    "width-zero": _with(image_size={"width": 0, "height": 512}),
    "width-negative": _with(image_size={"width": -512, "height": 512}),
    "width-huge": _with(image_size={"width": 14_143}),
    "height-huge": _with(image_size={"height": 10**100}),
    "width-string": _with(image_size={"width": "512"}),
    "width-fraction": _with(image_size={"width": 512.5}),
    "width-true": _with(image_size={"width": True}),
    "steps-three": _with(num_inference_steps=3),
    "steps-string-three": _with(num_inference_steps="3"),
    "steps-string-zero-padded": _with(num_inference_steps="01"),
    "steps-true": _with(num_inference_steps=True),
    "steps-list": _with(num_inference_steps=[1]),
    "steps-huge": _with(num_inference_steps=10**300 - 1),
    "strength-above": _with(strength=1.0001),
    "strength-below": _with(strength=-0.0001),
    "strength-huge": _with(strength=1e308),
    "strength-string": _with(strength="0.5"),
    "strength-true": _with(strength=True),
    "seed-string": _with(seed="42"),
    "seed-fraction": _with(seed=0.5),
    "images-zero": _with(num_images=0),
    "images-negative": _with(num_images=-1),
    "images-million": _with(num_images=10**6),
    "images-beyond-64-bit": _with(num_images=2**64 + 1),
    "images-fraction": _with(num_images=1.5),
    "images-string": _with(num_images="1"),
    "images-true": _with(num_images=True),
    "embeddings-object": _with(embeddings={}),
    "embeddings-without-path": _with(embeddings=[{"tokens": ["<s0>"]}]),
    "embeddings-string": _with(embeddings=["x"]),
    "embeddings-tokens-string": _with(embeddings=[{"path": "x", "tokens": "<s0>"}]),
    "embeddings-tokens-number": _with(embeddings=[{"path": "x", "tokens": [0]}]),
    "embeddings-many-wrong": _with(embeddings=[{}] * 10_000),
    "checker-zero": _with(enable_safety_checker=0),
    "checker-string": _with(enable_safety_checker="false"),
    "sync-string": _with(sync_mode="yes"),
    "format-gif": _with(format="gif"),
    "format-case": _with(format="PNG"),
    "format-space": _with(format="png "),
    "checker-version": _with(safety_checker_version="v3"),
    "rescale-above": _with(guidance_rescale=2),
    "request-id-number": _with(request_id=7),
    "aspect-string": _with(preserve_aspect_ratio="true"),
    "crop-number": _with(crop_output=1),
}

ROWS: list[tuple[str, bytes, int]] = [
    *((f"json-{name}", body, 400) for name, body in _NOT_JSON.items()),
    *((f"utf8-{name}", body, 400) for name, body in _NOT_UTF8.items()),
    *((f"ambiguous-{name}", body, 400) for name, body in _AMBIGUOUS.items()),
    *((f"bomb-{name}", body, 413 if name in _TOO_MANY else 400) for name, body in _BOMBS.items()),
    *((f"object-{name}", body, 422) for name, body in _NOT_AN_OBJECT.items()),
    *((f"schema-{name}", body, 422) for name, body in _AGAINST_SCHEMA.items()),
]
