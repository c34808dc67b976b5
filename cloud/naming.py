"""The pump that gives accounts and devices new names in the log every billing period.

Decides nothing: it makes a secret for each account once, derives the period's names from it and
hands them to the bank. Accounts that come later are named within a second; until then their leaves
are plain. After an account's secret was destroyed its new names are made from one that nobody keeps, and from the
public log nobody can tell any more which names were its.
"""

import asyncio
import secrets

from cloud.commands import AssignPseudonyms
from cloud.ledger.privacy import KEY_BYTES, KeyStore, pseudonym
from cloud.ledger.pseudonyms import NAMES_AT_ONCE_MAX
from cloud.writer import Writer
from protos.clock import Clock
from protos.ids import AccountId

DAY_NS = 24 * 3_600 * 1_000_000_000
CHECK_S = 1.0
SUBJECTS = "subjects"
"""The directory of the secrets inside the state directory; it belongs into no backup."""


def period_at(at_ns: int, days: int) -> int:
    """The billing period of an instant; periods of so many days are counted from 1970."""
    return at_ns // (days * DAY_NS)


class Naming:
    """Names by period; `days` is how long one lasts."""

    def __init__(self, writer: Writer, keys: KeyStore, clock: Clock, days: int) -> None:
        self._writer = writer
        self._keys = keys
        self._clock = clock
        self._days = days

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.name_all()
            await asyncio.sleep(CHECK_S)

    async def name_all(self) -> None:
        """Names who has no name in the running period yet."""
        core, period = self._writer.core, period_at(self._clock.now_ns(), self._days)
        known = core.bank.pseudonyms
        named = known.names if known.period == period else {}
        subjects: dict[str, AccountId] = {name: name for name in core.bank.customers()}
        for zone in core.zones.values():
            subjects |= {str(device): account for device, account in zone.devices().items()}
        fresh = {}
        for name, account in subjects.items():
            if name not in named:
                secret = self._secret(account, is_new=account not in known.names)
                fresh[name] = pseudonym(secret, AccountId(name), period)
        names = list(fresh)
        for first in range(0, len(names), NAMES_AT_ONCE_MAX):
            part = names[first : first + NAMES_AT_ONCE_MAX]
            await self._writer.submit(
                AssignPseudonyms(period, tuple(part), tuple(fresh[name] for name in part))
            )

    def _secret(self, account: AccountId, *, is_new: bool) -> bytes:
        """The account's own; for one whose secret was destroyed, one that nobody keeps."""
        secret = self._keys.get(account)
        if secret is None:
            secret = secrets.token_bytes(KEY_BYTES)
            if is_new:
                self._keys.put(account, secret)
        return secret
