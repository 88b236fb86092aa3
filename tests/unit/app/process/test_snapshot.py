from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from support.in_process_gateway import ENVIRON, FAL_KEY, document

from proxy.app.process.snapshot import take_snapshot
from proxy.app.setup.components import build_components
from proxy.config.loader import read
from proxy.errors import ConfigError


def test_a_worker_does_not_read_secrets_again(tmp_path: Path) -> None:
    """The value of a secret's file is in the snapshot, which is pickled for the worker."""
    (tmp_path / "key").write_text(f"{FAL_KEY}\n")
    environ = {name: value for name, value in ENVIRON.items() if name != "FAL_KEY"}
    config = read(document(), {**environ, "FAL_KEY_FILE": "key", "SSL_CERT_FILE": "/nowhere"}, base=tmp_path)
    snapshot = pickle.loads(pickle.dumps(take_snapshot(config)))
    (tmp_path / "key").write_text("half")

    assert [key.text for key in build_components(snapshot).fal_keys] == [FAL_KEY]
    assert snapshot.environ["SSL_CERT_FILE"] == "/nowhere"
    assert "FAL_KEY_FILE" in config.environ


def test_a_bad_configuration_has_no_snapshot() -> None:
    """Every problem is reported where the snapshot is taken, in the parent."""
    with pytest.raises(ConfigError) as refused:
        take_snapshot(read(document(), {}, base=Path()))

    assert {"FAL_KEY", "handles.secrets_env"} <= {problem.key for problem in refused.value.problems}
