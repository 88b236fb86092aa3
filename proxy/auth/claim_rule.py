"""Rule over the claims of a caller: an operator's CEL expression that must be true."""

from __future__ import annotations

from proxy.auth.caller import Caller
from proxy.auth.sessions.claims import Claims
from proxy.errors import ExpressionError
from proxy.expressions.program import Environment

VARIABLE = "claims"


class ClaimRule:
    """Rule that is compiled once. Raises ExpressionError where *expression* does not compile.

    Evaluation is bounded to less than a millisecond (`proxy.expressions.program`).
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._program = Environment(VARIABLE).compile(expression)

    def allows(self, caller: Caller) -> bool:
        """Returns True where the expression is true. A false, failing or too costly one denies.

        The claims of a caller never change, so each is evaluated once.
        """
        claims = caller.claims
        if not isinstance(claims, Claims):
            return False
        decision = claims.decisions.get(self)
        if decision is None:
            decision = claims.decisions[self] = self._evaluate(claims)
        return decision

    def _evaluate(self, claims: Claims) -> bool:
        try:
            return self._program.evaluate(claims.as_json()) is True
        except ExpressionError:
            return False
