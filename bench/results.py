"""The raw outcome of a run, as it is kept on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.arrivals import Latencies
from bench.rounds import Slice
from bench.scale import Scaled
from bench.steady import Steady

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Memory:
    """MB. *idle* as started, before the first request; *peak* over all of the run."""

    contender: str
    idle: float
    peak: float


@dataclass
class Results:
    """Results of a run. *started* is in UTC (RFC 3339), *seconds* is the duration."""

    started: str
    versions: dict[str, str]
    rounds: int
    slice_seconds: int
    seed: int
    seconds: float = 0.0
    slices: list[Slice] = field(default_factory=list)
    steady: list[Steady] = field(default_factory=list)
    scaled: list[Scaled] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes one line for each record, so that two runs can be compared with diff."""
        members = []
        for name, value in asdict(self).items():
            if isinstance(value, list) and value:
                lines = ",\n  ".join(json.dumps(_rounded(row)) for row in value)
                members.append(f"{json.dumps(name)}: [\n  {lines}\n ]")
            else:
                members.append(f"{json.dumps(name)}: {json.dumps(_rounded(value))}")
        path.parent.mkdir(exist_ok=True)
        path.write_text("{\n " + ",\n ".join(members) + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        raw = json.loads(path.read_text(encoding="utf-8"))
        steady = [
            {**row, "through": Latencies(**row["through"]), "direct": Latencies(**row["direct"])}
            for row in raw["steady"]
        ]
        return cls(
            **{
                **raw,
                "slices": [Slice(**row) for row in raw["slices"]],
                "steady": [Steady(**row) for row in steady],
                "scaled": [Scaled(**row) for row in raw["scaled"]],
                "memory": [Memory(**row) for row in raw["memory"]],
            }
        )


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: _rounded(member) for name, member in value.items()}
    return round(value, 4) if isinstance(value, float) else value
