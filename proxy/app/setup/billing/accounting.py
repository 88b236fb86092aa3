"""Accounting of one process, with its metrics and alerts."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.app.setup.billing.ledgers import build_local_ledger
from proxy.app.setup.components import Components
from proxy.app.setup.gateway import call_seconds
from proxy.billing.accounting_events import AccountingEvents
from proxy.billing.ledger.interface import Ledger
from proxy.billing.reservations import Accounting
from proxy.ratelimit.rate_limiter import RateLimiter
from proxy.telemetry.json_log import JsonLogWriter
from proxy.telemetry.metrics import Telemetry
from proxy.webhooks.budget_alerts import BudgetAlerts


def build_accounting(
    components: Components,
    limiter: RateLimiter,
    ledger: Ledger,
    alerts: BudgetAlerts,
    *,
    settlement_lost: Callable[[], None],
) -> Accounting:
    """Builds the accounting. *settlement_lost* is called where an outcome could not be written."""
    return Accounting(
        limiter,
        ledger,
        local=build_local_ledger(components, ledger),
        budgets=components.budgets,
        in_flight=components.in_flight,
        prices=components.prices,
        policy=components.settlement_policy,
        clock=time.time,
        events=AccountingEvents(lost=settlement_lost, crossed=alerts.report),
        call_seconds=call_seconds(components.config.fal),
        keys=components.store_keys,
        expose_price=components.config.ledger.expose_price,
    )


def build_alerts(telemetry: Telemetry, journal: JsonLogWriter) -> BudgetAlerts:
    """Builds the alerts about budgets."""
    counter = telemetry.events("budget_thresholds", "Thresholds that budgets reached.", "budget", "percent")
    return BudgetAlerts(counter, journal, clock=time.time)
