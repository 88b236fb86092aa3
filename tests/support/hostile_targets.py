"""Targets that must be refused without an upstream call: (id, method, x-fal-target-url, status).

Made for this project after the classes in WHATWG/RFC 3986 parser differences; none is copied from a list.
"""

from __future__ import annotations

GOOD = b"https://queue.fal.run/fal-ai/hyper-sdxl/image-to-image"
_HOST = b"https://queue.fal.run"

# Not literally one of fal's https URLs.
_NOT_FAL: dict[str, bytes] = {
    "empty": b"",
    "space": b" ",
    "relative": b"/fal-ai/hyper-sdxl/image-to-image",
    "scheme-relative": b"//queue.fal.run/fal-ai/hyper-sdxl",
    "http": b"http://queue.fal.run/fal-ai/hyper-sdxl/image-to-image",
    "upper-scheme": b"HTTPS://queue.fal.run/fal-ai/hyper-sdxl",
    "ftp": b"ftp://queue.fal.run/fal-ai/hyper-sdxl",
    "ws": b"wss://queue.fal.run/fal-ai/hyper-sdxl",
    "file": b"file:///etc/passwd",
    "javascript": b"javascript:alert(1)",
    "one-slash": b"https:/queue.fal.run/fal-ai/hyper-sdxl",
    "three-slashes": b"https:///queue.fal.run/fal-ai/hyper-sdxl",
    "backslashes": rb"https:\\queue.fal.run\fal-ai\hyper-sdxl",
    "other-host": b"https://evil.test/fal-ai/hyper-sdxl/image-to-image",
    "metadata-ip": b"https://169.254.169.254/latest/meta-data",
    "loopback": b"https://127.0.0.1/fal-ai/hyper-sdxl",
    "ipv6": b"https://[::1]/fal-ai/hyper-sdxl",
    "decimal-ip": b"https://2130706433/fal-ai/hyper-sdxl",
    "octal-ip": b"https://0177.0.0.1/fal-ai/hyper-sdxl",
    "prefix-host": b"https://queue.fal.run.evil.test/fal-ai/hyper-sdxl",
    "suffix-host": b"https://evilqueue.fal.run/fal-ai/hyper-sdxl",
    "sub-host": b"https://a.queue.fal.run/fal-ai/hyper-sdxl",
    "dash-host": b"https://queue-fal.run/fal-ai/hyper-sdxl",
    "dot-as-any": b"https://queueXfal.run/fal-ai/hyper-sdxl",
    "api-host": b"https://api.fal.ai/v1/models",
    "backup-host": b"https://queue.falrun.com/fal-ai/hyper-sdxl",
    "websocket-host": b"https://ws.fal.run/fal-ai/hyper-sdxl",
    "dashboard": b"https://fal.ai/dashboard/keys",
    "userinfo": b"https://queue.fal.run@evil.test/fal-ai/hyper-sdxl",
    "userinfo-password": b"https://a:b@queue.fal.run/fal-ai/hyper-sdxl",
    "userinfo-empty": b"https://@queue.fal.run/fal-ai/hyper-sdxl",
    "backslash-userinfo": rb"https://queue.fal.run\@evil.test/fal-ai/hyper-sdxl",
    "encoded-at": b"https://queue.fal.run%40evil.test/fal-ai/hyper-sdxl",
    "encoded-slash-host": b"https://queue.fal.run%2fevil.test/x/y",
    "encoded-dot-host": b"https://queue%2efal%2erun/fal-ai/hyper-sdxl",
    "encoded-nul-host": b"https://queue.fal.run%00.evil.test/x/y",
    "port": b"https://queue.fal.run:443/fal-ai/hyper-sdxl",
    "port-empty": b"https://queue.fal.run:/fal-ai/hyper-sdxl",
    "port-other": b"https://queue.fal.run:8443/fal-ai/hyper-sdxl",
    "trailing-dot": b"https://queue.fal.run./fal-ai/hyper-sdxl",
    "upper-host": b"https://QUEUE.FAL.RUN/fal-ai/hyper-sdxl",
    "tab-inside": b"https://queue.fal\t.run/fal-ai/hyper-sdxl",
    "leading-junk": b"x https://queue.fal.run/fal-ai/hyper-sdxl",
    "full-width-dot": "https://queue\uff0efal\uff0erun/fal-ai/hyper-sdxl".encode(),
    "ideographic-dot": "https://queue\u3002fal\u3002run/fal-ai/hyper-sdxl".encode(),
    "cyrillic": "https://queu\u0435.fal.run/fal-ai/hyper-sdxl".encode(),
    "punycode": b"https://xn--queu-7sd.fal.run/fal-ai/hyper-sdxl",
    "soft-hyphen": "https://queue\u00ad.fal.run/fal-ai/hyper-sdxl".encode(),
    "two-urls": b"https://queue.fal.run/a/b, https://evil.test/a/b#",
    "query-as-host": b"https://queue.fal.run?@evil.test/",
    "fragment-as-host": b"https://queue.fal.run#@evil.test/",
    "fragment": GOOD + b"#fragment",
    "fragment-empty": GOOD + b"#",
    "no-path": b"https://queue.fal.run",
    "semicolon-host": b"https://queue.fal.run;evil.test/x/y",
}

# fal's host, but no path of its grammar: judged the same in both modes.
_PATHS: dict[str, bytes] = {
    "root": b"/",
    "owner-only": b"/fal-ai",
    "dot-segment": b"/fal-ai/./hyper-sdxl",
    "dot-dot": b"/fal-ai/../evil/app",
    "dot-dot-end": b"/fal-ai/hyper-sdxl/..",
    "dot-dot-listed": b"/other/app/../../fal-ai/hyper-sdxl/image-to-image",
    "encoded-dot-dot": b"/fal-ai/%2e%2e/evil/app",
    "half-encoded-dots": b"/fal-ai/.%2e/evil/app",
    "double-encoded": b"/fal-ai/%252e%252e/evil/app",
    "encoded-slash": b"/fal-ai%2fhyper-sdxl/image-to-image",
    "encoded-letter": b"/fal-ai/hyper-sdxl/image-to-imag%65",
    "encoded-backslash": b"/fal-ai%5chyper-sdxl/x",
    "backslash": rb"/fal-ai\hyper-sdxl\x",
    "encoded-nul": b"/fal-ai/hyper-sdxl%00/x",
    "invalid-percent": b"/fal-ai/hyper-sdxl/%zz",
    "double-slash": b"/fal-ai//hyper-sdxl/image-to-image",
    "leading-double-slash": b"//fal-ai/hyper-sdxl/image-to-image",
    "two-trailing-slashes": b"/fal-ai/hyper-sdxl/image-to-image//",
    "semicolon": b"/fal-ai/hyper-sdxl;x=1/image-to-image",
    "dot-dot-semicolon": b"/fal-ai/hyper-sdxl/..;/evil",
    "at-sign": b"/fal-ai/@evil/app",
    "colon": b"/fal-ai/hyper-sdxl:443/x",
    "tilde": b"/~root/hyper-sdxl",
    "star": b"/fal-ai/*",
    "plus": b"/fal-ai/hyper+sdxl/x",
    "space": b"/fal-ai/hyper sdxl/x",
    "leading-dash": b"/-fal/hyper-sdxl",
    "leading-dot": b"/.well-known/jwks.json",
    "non-ascii": "/fal-ai/hyper-sdxl/imag\u00e9".encode(),
    "raw-latin-1": b"/fal-ai/hyper-sdxl/\xe9",
    "long-segment": b"/fal-ai/" + b"a" * 129,
    "nine-segments": b"/a/b/c/d/e/f/g/h/i",
    "long-endpoint": b"/" + b"/".join([b"a" * 120] * 5),
    "requests-as-owner": b"/requests/fal-ai/hyper-sdxl",
    "requests-as-app": b"/fal-ai/requests/x",
    "requests-alone": b"/fal-ai/hyper-sdxl/requests",
    "unknown-tail": b"/fal-ai/hyper-sdxl/requests/abc/logs",
    "tail-after-cancel": b"/fal-ai/hyper-sdxl/requests/abc/cancel/status",
    "dots-after-requests": b"/fal-ai/hyper-sdxl/requests/../../evil/app",
    "namespace-alone": b"/workflows/owner",
    "namespace-comfy": b"/comfy/owner/",
}

_QUERIES: dict[str, bytes] = {
    "unknown-parameter": b"debug=1",
    "webhook": b"fal_webhook=https%3A%2F%2Fevil.test%2F",
    "webhook-empty": b"fal_webhook=",
    "encoded-webhook-name": b"fal%5fwebhook=https://evil.test/",
    "semicolon": b"fal_max_queue_length=5;fal_webhook=x",
    "duplicate": b"fal_max_queue_length=5&fal_max_queue_length=6",
    "negative": b"fal_max_queue_length=-1",
    "zero-padded": b"fal_max_queue_length=05",
    "token-in-query": b"fal_jwt_token=abc",
    "logs-on-submit": b"logs=1",
    "bare-name": b"fal_max_queue_length",
    "trailing-ampersand": b"fal_max_queue_length=5&",
    "question-mark": b"?fal_max_queue_length=5",
    "priority": b"priority=high",
    "newline-encoded": b"fal_max_queue_length=5%0d%0aHost:evil.test",
}

_STATUS = b"/fal-ai/hyper-sdxl/requests/abc/status"
_METHODS: dict[str, tuple[str, bytes]] = {
    "get-submit": ("GET", b"/fal-ai/hyper-sdxl/image-to-image"),
    "put-submit": ("PUT", b"/fal-ai/hyper-sdxl/image-to-image"),
    "post-status": ("POST", _STATUS),
    "put-status": ("PUT", _STATUS),
    "post-result": ("POST", b"/fal-ai/hyper-sdxl/requests/abc"),
    "put-result": ("PUT", b"/fal-ai/hyper-sdxl/requests/abc"),
    "get-cancel": ("GET", b"/fal-ai/hyper-sdxl/requests/abc/cancel"),
    "post-cancel": ("POST", b"/fal-ai/hyper-sdxl/requests/abc/cancel"),
}

# Both modes judge these: (id, method, raw path on the queue, raw query, status).
PATH_ROWS: list[tuple[str, str, bytes, bytes, int]] = [
    *((f"path-{name}", "POST", path, b"", 400) for name, path in _PATHS.items()),
    *((f"query-{name}", "POST", b"/fal-ai/hyper-sdxl/image-to-image", query, 400) for name, query in _QUERIES.items()),
    ("query-logs-2", "GET", _STATUS, b"logs=2", 400),
    ("query-logs-twice", "GET", _STATUS, b"logs=1&logs=1", 400),
    ("query-logs-yes", "GET", _STATUS, b"logs=yes", 400),
    ("query-on-result", "GET", b"/fal-ai/hyper-sdxl/requests/abc", b"logs=1", 400),
    ("query-on-cancel", "PUT", b"/fal-ai/hyper-sdxl/requests/abc/cancel", b"force=1", 400),
    *((f"method-{name}", method, path, b"", 405) for name, (method, path) in _METHODS.items()),
]

URL_ROWS: list[tuple[str, str, bytes, int]] = [
    *((f"url-{name}", "POST", url, 412) for name, url in _NOT_FAL.items()),
    *(
        (name, method, _HOST + path + (b"?" + query if query else b""), status)
        for name, method, path, query, status in PATH_ROWS
    ),
]
