from __future__ import annotations

import pytest
from support.sandbox import Clock

from proxy.sandbox.files import FileHost, StoredFile

ORIGIN = "http://127.0.0.1:9002"


def a_host(clock: Clock | None = None, *, capacity: int = 100) -> FileHost:
    return FileHost(ORIGIN, capacity=capacity, clock=clock or Clock())


@pytest.mark.parametrize(
    ("file_name", "ending"),
    [
        ("cat.png", "_cat.png"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("a b\r\nc\u00e9.png", "_a_b_c_.png"),
        ("", "_file"),
        ("x" * 200, "_" + "x" * 80),
    ],
)
def test_names_are_random_and_safe(file_name: str, ending: str) -> None:
    """A new name is random and ends with the safe characters of the caller's name."""
    host = a_host()
    one, other = host.new_name(file_name), host.new_name(file_name)

    assert one.endswith(ending)
    assert one != other
    assert len(one) == 20 + len(ending)


def test_a_url_is_parsed_back_to_its_file() -> None:
    """The method `parse_url` reverses `url` and returns None for other hosts."""
    host = a_host()

    assert host.parse_url(host.url("a_b")) == "a_b"
    assert host.parse_url("http://127.0.0.1:9003/files/a_b") is None


def test_a_file_expires_by_the_clock() -> None:
    """A file with an expiry is gone at that time; one without stays."""
    clock = Clock()
    host = a_host(clock)
    host.put("short", StoredFile(b"1", "text/plain", expires=clock() + 60))
    host.put("long", StoredFile(b"2", "text/plain"))

    clock.forward(59)
    assert host.get("short") is not None
    clock.forward(1)
    assert (host.get("short"), host.get("long")) == (None, StoredFile(b"2", "text/plain"))


def test_the_oldest_files_are_deleted_first() -> None:
    """Above the capacity the oldest files are deleted; replaced and deleted files free their bytes."""
    host = a_host(capacity=10)
    host.put("1", StoredFile(b"x" * 4, "text/plain"))
    host.put("2", StoredFile(b"x" * 4, "text/plain"))
    host.put("2", StoredFile(b"x" * 6, "text/plain"))
    assert host.get("1") is not None

    host.put("3", StoredFile(b"x", "text/plain"))
    assert (host.get("1"), host.get("2") is None, host.get("3") is None) == (None, False, False)
    host.clear()
    assert host.get("3") is None
    host.put("4", StoredFile(b"x" * 10, "text/plain"))
    assert host.get("4") is not None
