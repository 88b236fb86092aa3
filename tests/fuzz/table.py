"""Table of all fuzz targets."""

from __future__ import annotations

from collections.abc import Mapping

from fuzz.target import Target
from fuzz.targets import (
    expressions,
    operations,
    payload_rules,
    request_parser,
    response_parser,
    session_tokens,
)

TARGETS: Mapping[str, Target] = {
    module.TARGET.name: module.TARGET
    for module in (request_parser, response_parser, session_tokens, operations, payload_rules, expressions)
}
