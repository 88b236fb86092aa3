"""The command `token`: it prints what its own configuration accepts, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result
from support.hostile_tokens import key_pair
from support.identities import Identifier
from support.in_process_gateway import ENDPOINT, ENVIRON, ISSUER

from proxy.app.setup.components import build_components
from proxy.cli.main import main
from proxy.config.loader import load

SERVER = f'[server]\npublic_origin = "https://gate.example.com"\n[[endpoints]]\nid = "{ENDPOINT}"\n'
HMAC = f'issuer = "{ISSUER}"\nsecret_env = "SESSION_SECRET"\naudience = "fal-proxy"\n'


def mint(tmp_path: Path, table: str, *options: str) -> Result:
    (tmp_path / "config.toml").write_text(f"{SERVER}[[sessions]]\n{table}")
    command = ["token", str(tmp_path / "config.toml"), "--subject", "alice", *options]
    return CliRunner().invoke(main, command, env=ENVIRON)


TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (HMAC, ()),
    "several-audiences": (HMAC.replace('"fal-proxy"', '["a", "b"]'), ()),
    "required-claims": (HMAC + 'require = { azp = ["x", "y"], "app.plan" = "pro", anonymous = false }\n', ()),
    "subject-elsewhere": (HMAC + 'subject_claim = "user.id"\n', ()),
    "claims": (HMAC, ("--claim", "plan=pro", "--claim", 'org.roles=["a"]', "--scope", "images")),
}


@pytest.mark.parametrize(("table", "options"), TABLES.values(), ids=TABLES)
def test_what_is_printed_is_accepted(tmp_path: Path, table: str, options: tuple[str, ...]) -> None:
    """Required claims are filled in, so that the token is a session of the subject."""
    result = mint(tmp_path, table, *options)
    assert result.exit_code == 0, result.output
    components = build_components(load(tmp_path / "config.toml", ENVIRON))
    caller = Identifier(components.issuers, clock=time.time).identify(
        [(b"authorization", b"Bearer " + result.stdout.strip().encode())]
    )

    assert caller.subject == "alice"


def test_further_claims(tmp_path: Path) -> None:
    """Claims are JSON, else text; dots make objects, and a URL is one name."""
    options = ("--claim", "plan=pro", "--claim", "org.seats=3", "--claim", "https://x.example/y=true")
    claims = jwt.decode(mint(tmp_path, HMAC, *options).stdout.strip(), options={"verify_signature": False})

    assert (claims["plan"], claims["org"], claims["https://x.example/y"]) == ("pro", {"seats": 3}, True)


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "too-long": (HMAC, ("--lifetime", "100000"), "exp is further away than max_lifetime"),
    "expired": (HMAC, ("--lifetime", "-600"), "the token has expired"),
    "required-otherwise": (HMAC + "require = { paid = true }\n", ("--claim", "paid=false"), "the claim paid"),
    "no-object": (HMAC, ("--claim", "plan=pro", "--claim", "plan.x=1"), "is no object"),
    "no-name": (HMAC, ("--claim", "=1"), "NAME=JSON"),
}


@pytest.mark.parametrize(("table", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(tmp_path: Path, table: str, options: tuple[str, ...], words: str) -> None:
    """A token that this configuration would refuse is not printed; the reason is."""
    result = mint(tmp_path, table, *options)

    assert result.exit_code != 0
    assert words in result.output
    assert "eyJ" not in result.stdout


@pytest.mark.parametrize("algorithm", ["RS256", "ES384", "EdDSA"])
def test_public_keys(tmp_path: Path, algorithm: str) -> None:
    """A private key signs with its algorithm, and is checked against the public key of the table."""
    private, public = key_pair(algorithm)
    other, _ = key_pair(algorithm)
    for name, content in {"private.pem": private, "public.pem": public, "other.pem": other}.items():
        (tmp_path / name).write_bytes(content)
    table = (
        f'issuer = "{ISSUER}"\npublic_key_file = "public.pem"\naudience = "fal-proxy"\nalgorithms = ["{algorithm}"]\n'
    )
    good = mint(tmp_path, table, "--private-key", str(tmp_path / "private.pem"))
    foreign = mint(tmp_path, table, "--private-key", str(tmp_path / "other.pem"))
    without = mint(tmp_path, table)

    assert jwt.get_unverified_header(good.stdout.strip())["alg"] == algorithm
    assert "the signature does not verify" in foreign.output
    assert "needs --private-key" in without.output


def test_remote_keys(tmp_path: Path) -> None:
    """Of a table with remote keys the claims are checked, and nothing is fetched."""
    private, _ = key_pair("ES256")
    (tmp_path / "private.pem").write_bytes(private)
    table = 'issuer = "https://login.example"\njwks_url = "https://login.example/keys"\naudience = "fal-proxy"\n'
    good = mint(tmp_path, table, "--private-key", str(tmp_path / "private.pem"))
    long = mint(tmp_path, table, "--private-key", str(tmp_path / "private.pem"), "--lifetime", "100000")

    assert good.exit_code == 0, good.output
    assert "max_lifetime" in long.output


def test_the_first_secret_is_current(tmp_path: Path) -> None:
    """Of several secrets the first one signs."""
    first, second = "first-0a1b2c3d4e5f60718293a4b5c6d7", "second-0a1b2c3d4e5f60718293a4b5c6"
    (tmp_path / "config.toml").write_text(f"{SERVER}[[sessions]]\n{HMAC}")
    command = ["token", str(tmp_path / "config.toml"), "--subject", "alice"]
    result = CliRunner().invoke(main, command, env={**ENVIRON, "SESSION_SECRET": f"{first}, {second}"})

    assert jwt.decode(result.stdout.strip(), first, algorithms=["HS256"], audience="fal-proxy")["sub"] == "alice"
