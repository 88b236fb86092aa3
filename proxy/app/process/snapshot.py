"""Snapshot of the configuration that the parent hands to its workers."""

from __future__ import annotations

from proxy.app.setup.components import build_components
from proxy.config.loader import Config


class _RecordingEnvironment(dict[str, str]):
    """Environment that records which `<NAME>_FILE` variables are read."""

    def __init__(self, environ: dict[str, str]) -> None:
        super().__init__(environ)
        self.files: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        if name.endswith("_FILE") and name in self:
            self.files.add(name)
        return super().get(name, default)


def take_snapshot(config: Config) -> Config:
    """Returns *config* with an environment of its own, in which secrets from files have their values.

    A worker that replaces a dead one must not read half a file. Raises ConfigError with every problem.
    """
    recording = _RecordingEnvironment(dict(config.environ))
    recorded = config.model_copy(update={"environ": recording})
    build_components(recorded)
    environ = dict(recording)
    for name in recording.files:
        path = config.base / environ.pop(name)
        environ[name.removesuffix("_FILE")] = path.read_text(encoding="utf-8").strip()
    return config.model_copy(update={"environ": environ})
