"""Bulk transfers once more, plainly: every group is tried on a copy of the whole world.

Shares nothing with the bank but the record's layout: accounts are sums of a list of entries, a
reservation is an entry in a dict, and a group that breaks a rule is thrown away with its copy.
"""

import copy
import struct

LAYOUT = struct.Struct("<16s16sqIIIHBB")
TOP = (1 << 63) - 1
MALFORMED, BAD_PRICE, UNKNOWN, ASSET, FUNDS, CHANGED, OVER, INTERVAL = (
    7,
    21,
    40,
    41,
    42,
    43,
    44,
    53,
)


class Refused(Exception):
    pass


class World:
    """`floors` has for each account a dict of asset number to its floor, or None for no floor."""

    def __init__(self, floors, usable):
        self.floors = floors
        self.usable = usable
        self.posted = []
        self.held = {}
        self.done = {}

    def balance(self, account, asset):
        received = sum(a for d, c, s, a in self.posted if (c, s) == (account, asset))
        return received - sum(a for d, c, s, a in self.posted if (d, s) == (account, asset))

    def total(self, account, asset, side):
        """All that ever passed on one side, and what may still."""
        moved = sum(e[3] for e in self.posted if (e[side], e[2]) == (account, asset))
        return moved + self.waiting(account, asset, side)

    def waiting(self, account, asset, side):
        return sum(h[3] for h in self.held.values() if (h[side], h[2]) == (account, asset))

    def check(self):
        held = [(account, asset) for account, floors in enumerate(self.floors) for asset in floors]
        if any(self.total(*way, side) > TOP for way in held for side in (0, 1)):
            return BAD_PRICE
        for account, asset in held:
            floor = self.floors[account][asset]
            free = self.balance(account, asset) - self.waiting(account, asset, 0)
            if floor is not None and free < floor:
                return FUNDS
        return 0

    def fit(self, sums, way, amount):
        """A single sum may not leave 64 bits even for a moment."""
        for side in (0, 1):
            if sum(e[3] for e in sums if (e[side], e[2]) == (way[side], way[2])) + amount > TOP:
                raise Refused(BAD_PRICE)

    def do(self, record, now_s):
        name, pending, amount, debit, credit, timeout, _, asset, flags = LAYOUT.unpack(record)
        kind = flags & 0xFE
        if not any(name) or debit == credit or kind not in (0, 2, 4, 8):
            raise Refused(MALFORMED)
        if name in self.done:
            raise Refused(CHANGED)
        if asset >= 5:
            raise Refused(ASSET)
        if (
            max(debit, credit) >= len(self.floors)
            or not self.usable[debit]
            or not self.usable[credit]
        ):
            raise Refused(UNKNOWN)
        if asset not in self.floors[debit] or asset not in self.floors[credit]:
            raise Refused(ASSET)
        if kind in (4, 8):
            self.end(pending, (debit, credit, asset), amount, timeout, kind)
        elif amount <= 0 or any(pending) or (kind == 0 and timeout):
            raise Refused(MALFORMED)
        elif kind == 0:
            self.fit(self.posted, (debit, credit, asset), amount)
            self.posted.append((debit, credit, asset, amount))
        elif not 0 < timeout <= 40 * 86_400:
            raise Refused(INTERVAL)
        elif name in self.held:
            raise Refused(CHANGED)
        else:
            self.fit(self.held.values(), (debit, credit, asset), amount)
            self.held[name] = (debit, credit, asset, amount, now_s + timeout)
        self.done[name] = record

    def end(self, pending, way, amount, timeout, kind):
        if timeout or (amount if kind == 8 else amount <= 0):
            raise Refused(MALFORMED)
        if pending not in self.held:
            raise Refused(OVER)
        held = self.held[pending]
        if held[:3] != way:
            raise Refused(ASSET)
        if amount > held[3]:
            raise Refused(OVER)
        self.fit(self.posted, way, amount)
        del self.held[pending]
        if amount:
            self.posted.append((*way, amount))

    def batch(self, body, now_s):
        """The refusals as (index, reason)."""
        records = [body[at : at + 56] for at in range(0, len(body), 56)]
        refused, group = [], []
        for index, record in enumerate(records):
            group.append((index, record))
            if not record[-1] & 1:
                refused += self.group(group, now_s)
                group = []
        return refused + [(index, MALFORMED) for index, _ in group]

    def group(self, group, now_s):
        trial = copy.copy(self)
        trial.posted, trial.held, trial.done = [*self.posted], dict(self.held), dict(self.done)
        same = 0
        try:
            for _, record in group:
                if trial.done.get(record[:16]) == record:
                    same += 1
                else:
                    trial.do(record, now_s)
            reason = CHANGED if 0 < same < len(group) else trial.check()
        except Refused as refused:
            reason = refused.args[0]
        if reason:
            return [(index, reason) for index, _ in group]
        self.posted, self.held, self.done = trial.posted, trial.held, trial.done
        return []

    def expire(self, now_s):
        ended = [name for name, held in self.held.items() if held[4] <= now_s]
        for name in ended:
            del self.held[name]
        return ended
