"""Steps that an operator takes in the ledger: jobs, credits and users, as JSON for the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from proxy.billing.ledger.interface import Ledger
from proxy.billing.ledger.jobs import Credit, ForgottenUser, JobRecord
from proxy.billing.ledger.money import MICRO
from proxy.billing.shortfalls import rfc3339
from proxy.strict_json import Json

Fields = Mapping[str, Json]
T = TypeVar("T", str, int)


@dataclass(frozen=True, slots=True)
class OperatorSteps:
    """Steps in one ledger. *clock* gives unix seconds; amounts are in millionths."""

    ledger: Ledger
    clock: Callable[[], float]

    async def run(self, step: str, fields: Fields) -> Json:
        """Takes one step, and returns its result. Raises ValueError for an unknown step or job, and StoreAway."""
        steps: dict[str, Callable[[Fields], Awaitable[Json]]] = {
            "job show": self._show_job,
            "job refund": self._refund_job,
            "job release": self._release_job,
            "credit grant": self._grant_credit,
            "credit list": self._list_credits,
            "user block": self._block_user,
            "user unblock": self._unblock_user,
            "user reset": self._reset_user,
            "user forget": self._forget_user,
        }
        if step not in steps:
            raise ValueError(f"there is no step {step!r}")
        return await steps[step](fields)

    async def _show_job(self, fields: Fields) -> Json:
        return job_json(await self._job(fields))

    async def _refund_job(self, fields: Fields) -> Json:
        """Ends an open job for nothing; gives back the price of an ended one."""
        record = await self._job(fields)
        now = self.clock()
        if record.ended is None:
            settle = self.ledger.settle_call(record.id, amount=0, state="cancelled", now=now)
            if not await settle:
                raise ValueError("the job has ended meanwhile: refund it again")
        elif not await self.ledger.refund_ended(record.job or record.id, now=now):
            raise ValueError("the job was refunded before")
        return job_json(await self._job(fields))

    async def _release_job(self, fields: Fields) -> Json:
        record = await self._job(fields)
        if record.job is None:
            raise ValueError("the call has no job: its slots end by themselves")
        await self.ledger.release(record.job, now=self.clock())
        return job_json(record)

    async def _grant_credit(self, fields: Fields) -> Json:
        amount = _field(fields, "amount", int)
        if amount <= 0:
            raise ValueError("a credit is more than 0")
        expires = fields.get("expires")
        if expires is not None and not isinstance(expires, int | float):
            raise ValueError("expires is in unix seconds")
        credit = Credit(uuid4().hex, _field(fields, "account", str), amount, amount, expires)
        await self.ledger.grant_credit(credit, now=self.clock())
        return _credit_json(credit)

    async def _list_credits(self, fields: Fields) -> Json:
        account = _field(fields, "account", str) if fields.get("account") is not None else None
        return [_credit_json(credit) for credit in await self.ledger.credits(account, now=self.clock())]

    async def _block_user(self, fields: Fields) -> Json:
        await self.ledger.set_blocked(_field(fields, "caller", str), blocked=True, now=self.clock())
        return None

    async def _unblock_user(self, fields: Fields) -> Json:
        await self.ledger.set_blocked(_field(fields, "caller", str), blocked=False, now=self.clock())
        return None

    async def _reset_user(self, fields: Fields) -> Json:
        accounts = fields.get("accounts")
        names = [str(account) for account in accounts] if isinstance(accounts, list) else []
        return {"forgotten": await self.ledger.reset(names, now=self.clock()) / MICRO}

    async def _forget_user(self, fields: Fields) -> Json:
        accounts = fields.get("accounts")
        names = tuple(str(account) for account in accounts) if isinstance(accounts, list) else ()
        user = ForgottenUser(_field(fields, "caller", str), names, spends=fields.get("spends") is True)
        count = await self.ledger.forget(user, now=self.clock())
        if count:
            raise ValueError(f"the user has {count} open calls: block the user, and repeat this once they have ended")
        return None

    async def _job(self, fields: Fields) -> JobRecord:
        """Returns the first of the jobs that may be meant. Raises ValueError where the ledger has none."""
        names = fields.get("names")
        for name in names if isinstance(names, list) else []:
            record = await self.ledger.job(str(name))
            if record is not None:
                return record
        raise ValueError("the ledger has no such job")


def job_json(record: JobRecord) -> Json:
    """Returns a line item for an operator; times in RFC 3339, amounts in units."""
    return {
        "id": record.id,
        "job": record.job,
        "key_alias": record.key_alias or None,
        "user": record.caller,
        "endpoint": record.endpoint,
        "state": record.state,
        "reserved": record.amount / MICRO,
        "price": None if record.price is None else record.price / MICRO,
        "created_at": rfc3339(record.created),
        "ended_at": None if record.ended is None else rfc3339(record.ended),
    }


def _credit_json(credit: Credit) -> Json:
    return {
        "id": credit.id,
        "account": credit.account,
        "amount": credit.amount / MICRO,
        "left": credit.left / MICRO,
        "expires_at": None if credit.expires is None else rfc3339(credit.expires),
    }


def _field(fields: Fields, name: str, kind: type[T]) -> T:
    value = fields.get(name)
    if isinstance(value, kind):
        return value
    raise ValueError(f"{name} is missing, or of another type")
