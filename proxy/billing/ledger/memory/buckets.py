"""Budget accounts: buckets, credits and thresholds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proxy.billing.ledger.interface import Charge, Crossing, LimitExceeded
from proxy.billing.ledger.jobs import Credit, ForgottenUser
from proxy.billing.ledger.memory.deadline_queue import DeadlineQueue
from proxy.billing.ledger.memory.records import Bucket, Changes, ChargePart, CreditRecord
from proxy.billing.ledger.money import Micros

EXHAUSTED = 100  # percent: reported at the first refusal


class Buckets:
    """Buckets and credits of all accounts. Every change is recorded in *changes*."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self._accounts: dict[str, dict[int, Bucket]] = {}
        self._ends: DeadlineQueue[tuple[str, int]] = DeadlineQueue()
        self._credits: dict[str, dict[str, CreditRecord]] = {}

    def restore(self, account: str, bucket: int, record: Bucket) -> None:
        """Takes in a bucket from the journal."""
        self._accounts.setdefault(account, {})[bucket] = record
        self._ends.put((account, bucket), record.until)

    def restore_credit(self, record: CreditRecord) -> None:
        """Takes in a credit from the journal."""
        self._credits.setdefault(record.account, {})[record.id] = record

    def items(self) -> Iterator[tuple[tuple[str, int], Bucket]]:
        """Yields account and id of each bucket, and the bucket."""
        for account, buckets in self._accounts.items():
            yield from (((account, key), bucket) for key, bucket in buckets.items())

    def all_credits(self) -> Iterator[CreditRecord]:
        for records in self._credits.values():
            yield from records.values()

    def totals(self, charge: Charge) -> tuple[Micros, Micros]:
        """Returns used and reserved of the buckets that count."""
        used = reserved = 0
        for key, bucket in self._accounts.get(charge.account, _NO_BUCKETS).items():
            if key >= charge.oldest:
                used += bucket.used
                reserved += bucket.reserved
        return used, reserved

    def credit_left(self, account: str, now: float) -> Micros:
        return sum(credit.left for credit in self._usable(account, now))

    def part(self, charge: Charge, amount: Micros, now: float) -> tuple[ChargePart, LimitExceeded | None]:
        """Returns how *charge* pays *amount*, and its shortfall where it has no room."""
        used, reserved = self.totals(charge)
        left = charge.limit - used - reserved
        if amount <= left:
            return (charge.account, charge.current, amount, ()), None
        if charge.enforce and charge.account in self._credits:
            missing = min(amount - left, amount)
            draws = self._draws(charge.account, missing, now)
            if draws is not None:
                return (charge.account, charge.current, amount - missing, draws), None
        renews_at = charge.renews_at if amount <= charge.limit else None
        short = LimitExceeded("budget", charge.budget, charge.limit, max(left, 0), renews_at)
        return (charge.account, charge.current, amount, ()), short

    def exhausted(self, charge: Charge, amount: Micros) -> tuple[Crossing, ...]:
        """Records that *charge* was refused, and returns the crossing of the first refusal in its bucket."""
        if EXHAUSTED not in charge.thresholds or amount > charge.limit:
            return ()
        bucket = self._accounts.get(charge.account, _NO_BUCKETS).get(charge.current)
        if bucket is None or bucket.alerted >= EXHAUSTED:
            return ()
        bucket.alerted = EXHAUSTED
        self.changes.buckets[charge.account, charge.current] = bucket
        return (Crossing(charge.budget, charge.account, EXHAUSTED, charge.limit),)

    def reserve(self, charge: Charge, part: ChargePart, now: float) -> tuple[Crossing, ...]:
        """Charges *part*, and returns the thresholds that this reached."""
        account, number, amount, draws = part
        before = sum(self.totals(charge)) if charge.thresholds else 0
        buckets = self._accounts.setdefault(account, {})
        bucket = buckets.get(number)
        if bucket is None:
            bucket = buckets[number] = Bucket()
        bucket.reserved += amount
        until = now + charge.ttl
        if until > bucket.until:
            bucket.until = until
            self._ends.put((account, number), until)
        self.changes.buckets[account, number] = bucket
        for credit, share in draws:
            self._change_credit(account, credit, -share)
        return self._crossed(charge, bucket, before, before + amount) if charge.thresholds else ()

    def settle(self, part: ChargePart, spent: Micros) -> None:
        """Ends the reservation of *part*.

        *spent* is taken from the bucket first, then from credits in their order.
        """
        account, number, amount, draws = part
        bucket = self._accounts.get(account, _NO_BUCKETS).get(number)
        if bucket is not None:
            bucket.reserved -= amount
            bucket.used += min(spent, amount)
            self.changes.buckets[account, number] = bucket
        rest = max(0, spent - amount)
        for credit, share in draws:
            self._change_credit(account, credit, share - min(rest, share))
            rest = max(0, rest - share)

    def give_back(self, part: ChargePart, spent: Micros) -> None:
        """Reverses the settlement of *spent*. A bucket that was dropped is left alone."""
        account, number, amount, draws = part
        bucket = self._accounts.get(account, _NO_BUCKETS).get(number)
        if bucket is not None:
            bucket.used = max(0, bucket.used - min(spent, amount))
            self.changes.buckets[account, number] = bucket
        rest = max(0, spent - amount)
        for credit, share in draws:
            self._change_credit(account, credit, min(rest, share))
            rest = max(0, rest - share)

    def grant(self, credit: Credit) -> None:
        record = CreditRecord(credit.id, credit.account, credit.amount, credit.left, credit.expires)
        self.restore_credit(record)
        self.changes.credits[record.id] = record

    def credits(self, account: str | None, now: float) -> tuple[Credit, ...]:
        accounts = self._credits if account is None else (account,)
        return tuple(credit.value() for one in accounts for credit in self._usable(one, now))

    def reset(self, accounts: Iterable[str]) -> Micros:
        """Sets used to 0 in all buckets of *accounts*, and returns how much that was."""
        total = 0
        for account in accounts:
            for key, bucket in self._accounts.get(account, _NO_BUCKETS).items():
                total += bucket.used
                bucket.used = bucket.alerted = 0
                self.changes.buckets[account, key] = bucket
        return total

    def forget(self, user: ForgottenUser) -> None:
        """Removes the credits of the user's accounts, and with *spends* their buckets."""
        for account in user.accounts:
            for credit in self._credits.pop(account, {}):
                self.changes.credits[credit] = None
            for key in self._accounts.pop(account, {}) if user.spends else ():
                self._ends.discard((account, key))
                self.changes.buckets[account, key] = None

    def drop_ended(self, now: float, limit: int) -> None:
        """Drops up to *limit* buckets that are not needed after *now*."""
        for _ in range(limit):
            ended = self._ends.pop_due(now)
            if ended is None:
                return
            account, key = ended[0]
            buckets = self._accounts[account]
            del buckets[key]
            if not buckets:
                del self._accounts[account]
            self.changes.buckets[account, key] = None

    def _usable(self, account: str, now: float) -> list[CreditRecord]:
        usable = [credit for credit in self._credits.get(account, {}).values() if credit.is_usable(now)]
        return sorted(usable, key=lambda credit: (credit.expires is None, credit.expires or 0.0, credit.id))

    def _draws(self, account: str, missing: Micros, now: float) -> tuple[tuple[str, Micros], ...] | None:
        draws: list[tuple[str, Micros]] = []
        for credit in self._usable(account, now):
            amount = min(missing, credit.left)
            draws.append((credit.id, amount))
            missing -= amount
            if not missing:
                return tuple(draws)
        return None

    def _change_credit(self, account: str, key: str, amount: Micros) -> None:
        credit = self._credits.get(account, {}).get(key)
        if credit is not None:
            credit.left += amount
            self.changes.credits[key] = credit

    def _crossed(self, charge: Charge, bucket: Bucket, before: Micros, after: Micros) -> tuple[Crossing, ...]:
        crossed = tuple(
            percent
            for percent in charge.thresholds
            if percent > bucket.alerted and before * 100 < percent * charge.limit <= after * 100
        )
        if not crossed:
            return ()
        bucket.alerted = max(crossed)
        return tuple(Crossing(charge.budget, charge.account, percent, charge.limit) for percent in crossed)


_NO_BUCKETS: dict[int, Bucket] = {}
