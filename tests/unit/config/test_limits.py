from typing import get_args

from proxy.config.sections.limits import DEFAULT_LIMITS, LimitedAction
from proxy.fal_api.operations import Action
from proxy.ratelimit.rate_limiter import REFUSED


def test_every_action_can_be_limited() -> None:
    """The actions of [[limits]] are those of the gateway, and payloads that were refused."""
    assert set(get_args(LimitedAction)) == {*(action.value for action in Action), REFUSED}


def test_every_action_has_a_default_limit() -> None:
    """Without [[limits]] every action and every refused payload has a window."""
    assert {action for limit in DEFAULT_LIMITS for action in limit.actions} == set(get_args(LimitedAction))
