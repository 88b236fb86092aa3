"""Values of `fal_webhook` to refuse where `app.example.com` is allowed: (id, raw value of the query).

Made for this project after the classes of WHATWG/RFC 3986 parser differences; none is copied from a list.
"""

from __future__ import annotations

from urllib.parse import quote

HOSTS = frozenset({"app.example.com", "hooks.example.com"})
_HOST = "https://app.example.com"

# As URLs, before they are encoded for a query.
_URLS: dict[str, str] = {
    "relative": "/hook",
    "scheme-relative": "//app.example.com/hook",
    "http": "http://app.example.com/hook",
    "upper-scheme": "HTTPS://app.example.com/hook",
    "ftp": "ftp://app.example.com/hook",
    "javascript": "javascript://app.example.com/%0aalert(1)",
    "file": "file://app.example.com/etc/passwd",
    "blob": "blob:https://app.example.com/hook",
    "one-slash": "https:/app.example.com/hook",
    "three-slashes": "https:///app.example.com/hook",
    "no-slashes": "https:app.example.com/hook",
    "backslashes": "https:\\\\app.example.com\\hook",
    "other-host": "https://evil.test/hook",
    "prefix-host": "https://app.example.com.evil.test/hook",
    "suffix-host": "https://evilapp.example.com/hook",
    "sub-host": "https://x.app.example.com/hook",
    "parent-host": "https://example.com/hook",
    "dash-host": "https://app-example.com/hook",
    "dot-as-any": "https://appXexample.com/hook",
    "host-in-path": "https://evil.test/app.example.com/hook",
    "host-in-query": "https://evil.test/?https://app.example.com/",
    "host-in-fragment": "https://evil.test/#https://app.example.com/",
    "userinfo": "https://app.example.com@evil.test/hook",
    "userinfo-before": "https://evil.test@app.example.com/hook",
    "userinfo-password": "https://a:b@app.example.com/hook",
    "userinfo-empty": "https://@app.example.com/hook",
    "userinfo-colon": "https://:@app.example.com/hook",
    "backslash-userinfo": "https://app.example.com\\@evil.test/hook",
    "slash-userinfo": "https://evil.test\\@app.example.com/hook",
    "port": _HOST + ":443/hook",
    "port-other": _HOST + ":8443/hook",
    "port-empty": _HOST + ":/hook",
    "port-zero": _HOST + ":0/hook",
    "trailing-dot": _HOST + "./hook",
    "upper-host": "https://APP.example.com/hook",
    "empty-label": "https://app..example.com/hook",
    "leading-dot": "https://.app.example.com/hook",
    "ipv4": "https://127.0.0.1/hook",
    "ipv4-metadata": "https://169.254.169.254/latest/meta-data",
    "ipv4-short": "https://127.1/hook",
    "ipv4-decimal": "https://2130706433/hook",
    "ipv4-hex": "https://0x7f000001/hook",
    "ipv4-octal": "https://0177.0.0.1/hook",
    "ipv4-overflow": "https://4294967297/hook",
    "ipv6": "https://[::1]/hook",
    "ipv6-mapped": "https://[::ffff:127.0.0.1]/hook",
    "ipv6-zone": "https://[fe80::1%25eth0]/hook",
    "localhost": "https://localhost/hook",
    "tab-inside": "https://app.exam\tple.com/hook",
    "newline-inside": "https://app.example.com/ho\nok",
    "crlf-header": "https://app.example.com/hook\r\nX-Evil: 1",
    "nul": "https://app.example.com\x00.evil.test/hook",
    "leading-space": " https://app.example.com/hook",
    "trailing-space": "https://app.example.com/hook ",
    "full-width-dot": "https://app．example．com/hook",  # noqa: RUF001
    "ideographic-dot": "https://app。example。com/hook",
    "cyrillic": "https://аpp.example.com/hook",  # noqa: RUF001
    "soft-hyphen": "https://app\u00ad.example.com/hook",
    "non-ascii-path": "https://app.example.com/h\u00f6ok",
    "dot-segment": _HOST + "/../hook",
    "dot-segment-last": _HOST + "/hook/..",
    "dot-segment-single": _HOST + "/./hook",
    "dot-segment-before-query": _HOST + "/..?x=1",
    "empty-segment": _HOST + "//evil.test/hook",
    "empty-segment-inside": _HOST + "/a//b",
    "percent-in-path": _HOST + "/%2e%2e/hook",
    "percent-host": "https://app%2eexample%2ecom/hook",
    "percent-at": "https://app.example.com%40evil.test/hook",
    "encoded-twice": quote(_HOST + "/hook", safe=""),
    "semicolon": _HOST + "/hook;x=1",
    "fragment": _HOST + "/hook#x",
    "fragment-empty": _HOST + "/hook#",
    "question-marks": _HOST + "/hook?a=1?b=2",
    "url-in-query": _HOST + "/hook?next=https://evil.test/",
    "plus": _HOST + "/ho+ok",
    "quote": _HOST + '/hook"',
    "angle": _HOST + "/<hook>",
    "space-inside": _HOST + "/ho ok",
    "template": _HOST + "/{x}",
    "too-long": _HOST + "/" + "a" * 490,
    "list": "https://evil.test,https://app.example.com/hook",
}

# As they stand in the query.
_RAW: dict[str, bytes] = {
    "empty": b"",
    "bare-percent": b"https://app.example.com/%",
    "half-percent": b"https://app.example.com/%4",
    "odd-percent": b"https://app.example.com/%zz",
    "percent-u": b"https%u003a//app.example.com/",
    "overlong-utf8": b"https://app.example.com/%c0%af",
    "invalid-utf8": b"https://app.example.com/%ff",
    "raw-plus": b"https://app.example.com/a+b",
    "raw-hash": b"https://app.example.com/#x",
    "raw-space": b"https://app.example.com/ x",
    "raw-backslash": b"https:\\\\app.example.com/",
    "raw-latin-1": b"https://app.example.com/\xe9",
    "raw-nul": b"https://app.example.com/\x00",
    "semicolon-parameter": b"https://app.example.com/;fal_max_queue_length=1",
    "long-encoded": b"https://app.example.com/" + b"%61" * 600,
}

ROWS = [(name, quote(url, safe="").encode()) for name, url in _URLS.items()] + list(_RAW.items())
