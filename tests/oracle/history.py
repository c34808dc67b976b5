"""The history of an aggregator, checked from its files alone: was any money spent twice?

Imports nothing of ours. It reads the leaves and the commands out of the SQLite journal as plain
MessagePack, keeps its own balances and reservations, and lists every anomaly it finds:
money under zero, a reservation that nothing covers, a trade reserved twice or never answered, a
transfer done twice, a batch whose leaf does not fit its records.
"""

import sqlite3
import struct
import sys
from collections import Counter, defaultdict
from hashlib import sha256

import msgspec

TRADED, POSTED, RESERVED, SETTLED = 17, 32, 33, 36
TRANSFERS, EXPIRED, REFUSED, VOIDED = 48, 49, 121, 122
BATCH, NOT_DONE = 180, 181
POST_TRANSFERS = 46
RECORD = struct.Struct("<16s16sqIIIHBB")
MONEY = 1


def half_up(numerator, denominator):
    return (2 * numerator + denominator) // (2 * denominator)


def value(wh, price):
    return half_up(wh * price, 1000)


def root(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def batch_root(body, refused, per_leaf):
    outcomes = dict(refused)
    leaves = []
    for first in range(0, len(body) // 56, per_leaf):
        part = range(first, min(first + per_leaf, len(body) // 56))
        said = b"".join(outcomes.get(n, 0).to_bytes(2, "little") for n in part)
        leaves.append(body[first * 56 : (part[-1] + 1) * 56] + said)
    return root(leaves)


class History:
    def __init__(self, path, names, high=5_800_000, fee_bps=500):
        """`names` are the accounts by their number in packed transfers."""
        self.names = names
        self.high, self.fee_bps = high, fee_bps
        self.anomalies = []
        self.balance = defaultdict(int)
        self.held = {}
        self.reserved = {}
        self.traded, self.told, self.voided, self.refused = Counter(), Counter(), Counter(), {}
        self.ids = Counter()
        self.operations = 0
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        decode = msgspec.msgpack.decode
        commands = [decode(body) for (body,) in db.execute("select body from journal order by seq")]
        self.batches = iter([c for c in commands if c[0] == POST_TRANSFERS])
        leaves = [decode(body) for (body,) in db.execute("select body from leaf order by position")]
        db.close()
        for leaf, after in zip(leaves, [*leaves[1:], [0]], strict=True):
            self.take(leaf, after)
        self.end()

    def wrong(self, text):
        self.anomalies.append(text)

    def take(self, leaf, after):
        tag, *fields = leaf
        if tag == POSTED:
            self.operations += 1
            name, debit, credit, asset, amount, *_ = fields
            self.ids[name] += 1
            if asset == "MONEY":
                self.move(debit, credit, amount)
        elif tag == TRANSFERS:
            self.batch(*fields)
        elif tag == BATCH:
            self.batch(*fields, after[2] if after[0] == NOT_DONE else [], per_leaf=1)
        elif tag == EXPIRED:
            for name in fields[0]:
                self.end_of(name)
        elif tag == TRADED:
            self.traded[fields[2]] += 1
        elif tag == RESERVED:
            for terms in fields[2]:
                self.reserve(*terms)
        elif tag == REFUSED:
            for trade in fields[2]:
                self.told[trade] += 1
                self.refused[trade] = True
        elif tag == VOIDED:
            self.voided[fields[2]] += 1
        elif tag == SETTLED:
            self.reserved.clear()

    def end_of(self, pending):
        if self.held.pop(pending, None) is None:
            self.wrong(f"{pending.hex()} ended and was never pending")

    def reserve(self, trade, buyer, seller, energy, price, rent=0, way=0):
        self.operations += 1
        self.told[trade] += 1
        worth = value(energy, price)
        escrow = worth + half_up(worth * self.fee_bps, 10_000) + rent + value(energy, way)
        margin = max(0, value(energy, self.high) - worth)
        self.reserved[trade] = {buyer: escrow, seller: margin}
        for account in (buyer, seller):
            self.covered(account)

    def move(self, debit, credit, amount):
        if amount <= 0:
            self.wrong(f"a posting of {amount}")
        self.balance[debit] -= amount
        self.balance[credit] += amount
        if sum(self.balance.values()):
            self.wrong("the balances do not sum to zero")
        self.covered(debit)

    def covered(self, account):
        if account.startswith("@"):
            return
        waiting = sum(amounts.get(account, 0) for amounts in self.reserved.values())
        waiting += sum(held[2] for held in self.held.values() if held[0] == account)
        if self.balance[account] < waiting:
            self.wrong(f"{account} has {self.balance[account]} and owes {waiting}")

    def batch(self, hour, records, posted, leaf_root, refused, per_leaf=16):
        for command in self.batches:
            if command[1] == hour and batch_root(command[2], refused, per_leaf) == leaf_root:
                break
        else:
            self.wrong("no journaled batch has this leaf's root")
            return
        bad = {index for index, _ in refused}
        done = 0
        for index, record in enumerate(RECORD.iter_unpack(command[2])):
            name, pending, amount, debit, credit, _, _, asset, flags = record
            if index in bad or self.ids[name]:
                continue
            self.ids[name] += 1
            self.operations += 1
            done += 1
            debit, credit = self.names[debit], self.names[credit]
            if flags & 2:
                self.held[name] = (debit, credit, amount)
            elif flags & 12:
                self.end_of(pending)
            if asset == MONEY and amount and not flags & 2:
                self.move(debit, credit, amount)
            self.covered(debit)
        if (done, len(command[2]) // 56) != (posted, records):
            self.wrong(f"a batch says {posted} of {records}, its records say {done}")

    def end(self):
        for trade, count in self.traded.items():
            if count != 1:
                self.wrong(f"trade {trade} was made {count} times")
            if self.told[trade] != 1:
                self.wrong(f"trade {trade} was answered {self.told[trade]} times")
        for trade in self.told.keys() - self.traded.keys():
            self.wrong(f"trade {trade} was answered and never made")
        for trade in self.refused:
            if self.voided[trade] != 1:
                self.wrong(f"refused trade {trade} was undone {self.voided[trade]} times")
        self.anomalies += [f"{name} was posted {n} times" for name, n in self.ids.items() if n > 1]
        if self.held:
            self.wrong(f"{len(self.held)} pending transfers never ended")


if __name__ == "__main__":
    found = History(sys.argv[1], {})
    print("\n".join(found.anomalies) or f"no anomaly in {found.operations} operations")
    sys.exit(bool(found.anomalies))
