from __future__ import annotations

from urllib.parse import quote

import pytest

from proxy.auth.job_handles import JobHandles, JobName, parse_handle
from proxy.errors import JobNotFound

OLD, NEW = b"o" * 16 + b"1" * 16, b"n" * 16 + b"2" * 16
ALICE, BOB = "a" * 64, "b" * 64
APP = "fal-ai/hyper-sdxl"
JOB = "764cabcf-b745-4b3e-ae38-1200304cf45b"


def test_a_handle_opens_for_its_owner_and_app() -> None:
    """A signed handle gives fal's id, under the same owner and app."""
    handles = JobHandles([NEW])

    assert handles.verify(handles.sign(JOB, owner=ALICE, app=APP), owner=ALICE, app=APP) == JobName(JOB)


def test_a_handle_survives_a_restart() -> None:
    """The MAC is the whole proof: another instance with the same secret opens it."""
    sealed = JobHandles([NEW]).sign(JOB, owner=ALICE, app=APP)

    assert JobHandles([NEW]).verify(sealed, owner=ALICE, app=APP) == JobName(JOB)


@pytest.mark.parametrize(
    ("owner", "app", "secrets"),
    [(BOB, APP, [NEW]), (ALICE, "fal-ai/other", [NEW]), (ALICE, APP, [OLD])],
    ids=["other-owner", "other-app", "other-secret"],
)
def test_a_handle_opens_for_nobody_else(owner: str, app: str, secrets: list[bytes]) -> None:
    """Another owner, app or secret finds no job."""
    sealed = JobHandles([NEW]).sign(JOB, owner=ALICE, app=APP)

    with pytest.raises(JobNotFound):
        JobHandles(secrets).verify(sealed, owner=owner, app=app)


def test_secrets_rotate_without_losing_a_job() -> None:
    """A handle of the old secret holds while that stands second; the first one signs."""
    old_handle = JobHandles([OLD]).sign(JOB, owner=ALICE, app=APP)
    rotated = JobHandles([NEW, OLD])

    assert rotated.verify(old_handle, owner=ALICE, app=APP) == JobName(JOB)
    assert rotated.sign(JOB, owner=ALICE, app=APP) == JobHandles([NEW]).sign(JOB, owner=ALICE, app=APP)


SEALED = JobHandles([NEW]).sign(JOB, owner=ALICE, app=APP)
_MAC = SEALED.rpartition(".")[2]

MALFORMED = {
    "no-alias": SEALED.replace(".", "~."),
    "forged-alias": SEALED.replace(".", "~spare."),
    "two-aliases": SEALED.replace(".", "~a~b."),
    "empty": "",
    "raw-id": JOB,
    "dot-only": ".",
    "no-mac": f"{JOB}.",
    "no-id": f".{_MAC}",
    "short-mac": SEALED[:-1],
    "long-mac": SEALED + "A",
    "padded": SEALED + "=",
    "upper-id": f"{JOB.upper()}.{_MAC}",
    "swapped-case-mac": f"{JOB}.{_MAC.swapcase()}",
    "flipped-first": f"{JOB}.{'A' if _MAC[0] != 'A' else 'B'}{_MAC[1:]}",
    "flipped-last": f"{JOB}.{_MAC[:-1]}{'A' if _MAC[-1] != 'A' else 'B'}",
    "newline": SEALED + "\n",
    "leading-space": " " + SEALED,
    "encoded": SEALED.replace("-", "%2d"),
    "dots": "..",
    "traversal": "%2e%2e%2f" + SEALED,
    "nul": f"{JOB}\x00.{_MAC}",
    "latin-1": f"\xe9{SEALED}",
    "std-alphabet": f"{JOB}.{'+' * 24}",
    "two-macs": f"{SEALED}.{_MAC}",
    "made-up": f"00000000-0000-4000-8000-000000000000.{'A' * 24}",
    "long": "a" * 5000,
    "other-id": f"{'0' * 36}.{_MAC}",
}


@pytest.mark.parametrize("handle", MALFORMED.values(), ids=MALFORMED)
def test_malformed_and_forged_handles_are_the_same_refusal(handle: str) -> None:
    """Every spelling but the sealed one ends as the refusal a foreign handle gets."""
    with pytest.raises(JobNotFound) as refused:
        JobHandles([NEW, OLD]).verify(handle, owner=ALICE, app=APP)

    assert refused.value.detail == JobNotFound().detail
    assert refused.value.reason == "the handle is not this caller's"


@pytest.mark.parametrize("upstream_id", ["", "a/b", "a.b", "a b", "../x", "é", "a" * 129, "-a"])
def test_an_upstream_id_of_another_form_is_not_sealed(upstream_id: str) -> None:
    """An id that could not be addressed again, or would change a path, gets no handle."""
    with pytest.raises(ValueError, match="malformed"):
        JobHandles([NEW]).sign(upstream_id, owner=ALICE, app=APP)


@pytest.mark.parametrize("alias", ["", "team-b"])
def test_a_handle_needs_no_encoding_in_a_url_and_is_not_decoded(alias: str) -> None:
    """All characters are unreserved (RFC 3986 section 2.3), and a percent-encoded spelling is unknown."""
    handles = JobHandles([NEW], [alias])
    handle = handles.sign(JOB, owner=ALICE, app=APP, key_alias=alias)

    assert quote(handle, safe="") == handle
    for encoded in (handle.replace("~", "%7E"), handle.replace(".", "%2E"), handle.replace("-", "%2D")):
        if encoded != handle:
            with pytest.raises(JobNotFound):
                handles.verify(encoded, owner=ALICE, app=APP)


@pytest.mark.parametrize("secrets", [[], [b"short"], [NEW, b"x" * 31]])
def test_weak_secrets_are_refused(secrets: list[bytes]) -> None:
    """Each secret needs 32 bytes, and there must be one."""
    with pytest.raises(ValueError, match="32 bytes"):
        JobHandles(secrets)


def test_the_operator_can_read_the_upstream_id() -> None:
    """The id inside is readable without any secret, and only out of something shaped as a handle."""
    assert parse_handle(SEALED) == JobName(JOB)
    with pytest.raises(ValueError, match="not a job handle"):
        parse_handle(JOB)


def test_a_handle_names_the_fal_key_of_its_job() -> None:
    """The alias is part of the handle and under its mac; the key without an alias has none."""
    handles = JobHandles([NEW], ["", "spare", "other"])
    handle = handles.sign(JOB, owner=ALICE, app=APP, key_alias="spare")

    assert handle.startswith(f"{JOB}~spare.")
    assert handles.verify(handle, owner=ALICE, app=APP) == JobName(JOB, "spare") == parse_handle(handle)
    for changed in (handle.replace("spare", "other"), handle.replace("~spare", "")):
        with pytest.raises(JobNotFound):
            handles.verify(changed, owner=ALICE, app=APP)


@pytest.mark.parametrize(("alias", "known"), [("old", ["new"]), ("", ["new"]), ("old", [""])])
def test_a_handle_of_a_removed_key_is_unknown(alias: str, known: list[str]) -> None:
    """The same refusal as for a foreign handle: only the log says more."""
    handle = JobHandles([NEW], [alias]).sign(JOB, owner=ALICE, app=APP, key_alias=alias)
    with pytest.raises(JobNotFound) as refused:
        JobHandles([NEW], known).verify(handle, owner=ALICE, app=APP)

    assert refused.value.detail == JobNotFound().detail
