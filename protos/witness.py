"""Witnesses: cosignatures on checkpoints (C2SP tlog-cosignature v1, Ed25519) and who must give them.

A cosignature says that at a time the witness knew of no longer tree of this log, and that this one
continues all it saw before. Our validators state one thing more: that replaying the journal makes
this root. A policy file is C2SP tlog-policy, with one line of our own: `stake NAME NUMBER`. Where
the file names no quorum, a root is final when more than two thirds of the stake cosigned it, each
witness holding a stake of 1 unless a line says otherwise.

Decides whether cosignatures hold and suffice. Must never count a witness twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protos.receipt import (
    Checkpoint,
    ReceiptError,
    VerifierKey,
    is_key_name,
    is_signed,
    names_key,
    parse_key,
    signature_line,
    signature_of,
)

COSIGNATURE = b"\x04"
"""The type octet of a witness's key in key ids and key texts."""

WITNESSES_MAX = 32
STAKE_MAX = 1 << 62
_TIME_BYTES = 8
_SIGNATURE_BYTES = 64


class PolicyError(ValueError):
    """The policy file cannot be used. The message names the line and what to write."""


def witness_key(name: str, private_key: Ed25519PrivateKey) -> VerifierKey:
    """The public side of a witness's key. Raises ValueError where the name cannot sign a note."""
    if not is_key_name(name):
        raise ValueError(f"{name!r} cannot name a witness; use a word such as utility.example")
    raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return VerifierKey(name, raw, COSIGNATURE)


def cosign(checkpoint: Checkpoint, name: str, private_key: Ed25519PrivateKey, at_s: int) -> str:
    """The cosignature line over this checkpoint. `at_s` is the witness's POSIX time."""
    key = witness_key(name, private_key)
    signature = private_key.sign(_message(checkpoint, at_s).encode())
    return signature_line(key, at_s.to_bytes(_TIME_BYTES, "big") + signature)


def cosigned_at_s(checkpoint: Checkpoint, line: str, key: VerifierKey) -> int:
    """When this witness cosigned, POSIX seconds. Raises ReceiptError where it did not."""
    octets = signature_of(line, key)
    if len(octets) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise ReceiptError("cosignature", "it is not a time and an Ed25519 signature")
    at_s = int.from_bytes(octets[:_TIME_BYTES], "big")
    if at_s >> 63 or not is_signed(_message(checkpoint, at_s), octets[_TIME_BYTES:], key):
        raise ReceiptError("cosignature", f"{key.name}'s does not fit the checkpoint")
    return at_s


def journal_request(origin: str, after: int, limit: int) -> str:
    """What a validator signs, with its witness key, to be given a page of a log's journal."""
    return f"gridtokenx/journal/v1\n{origin}\n{after} {limit}\n"


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as one witness once `threshold` of its members have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(slots=True)
class Policy:
    """The logs and witnesses a reader trusts, and how many of them make a root final."""

    text: str = ""
    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, VerifierKey] = field(default_factory=dict)
    stake: dict[str, int] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str = ""

    @property
    def stake_total(self) -> int:
        return sum(self.stake.values())

    def stake_of(self, names: Collection[str]) -> int:
        return sum(amount for name, amount in self.stake.items() if name in names)

    def is_final(self, names: Collection[str]) -> bool:
        """Whether these witnesses are enough: the quorum, or more than two thirds of the stake."""
        if self.quorum == "none":
            return True
        if self.quorum:
            return self._has_witnessed(self.quorum, names)
        return 3 * self.stake_of(names) > 2 * self.stake_total

    def signer(self, line: str) -> str:
        """Which witness this line claims to be by; nothing of it is checked. Empty for none."""
        for name, key in self.witnesses.items():
            if not names_key(line, key):
                continue
            try:
                signature_of(line, key)
            except ReceiptError:
                continue
            return name
        return ""

    def enough(self, lines: dict[str, str]) -> list[str]:
        """As few of these cosignatures, by witness, as still suffice; in the policy's order."""
        kept = {name: lines[name] for name in self.witnesses if name in lines}
        for name in sorted(kept, key=lambda name: (self.stake[name], name)):
            rest = [other for other in kept if other != name]
            if self.is_final(rest):
                del kept[name]
        return list(kept.values())

    def check(self, checkpoint: Checkpoint, lines: Sequence[str]) -> None:
        """Raises ReceiptError unless all lines are cosignatures by these witnesses, and enough.

        They stand in the policy's order, each witness at most once, so that one set of
        cosignatures has one spelling.
        """
        found = [self.signer(line) for line in lines]
        if "" in found:
            raise ReceiptError("cosignature", "one is by nobody that the policy names")
        order = list(self.witnesses)
        if sorted(set(found), key=order.index) != found:
            raise ReceiptError("cosignature", "they do not stand in the policy's order, once each")
        for name, line in zip(found, lines, strict=True):
            cosigned_at_s(checkpoint, line, self.witnesses[name])
        if not self.is_final(found):
            raise ReceiptError(
                "cosignature",
                f"{self.stake_of(found)} of {self.stake_total} cosigned, which is too few; "
                "ask for the receipt again after the next block",
            )

    def _has_witnessed(self, name: str, names: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        count = sum(self._has_witnessed(member, names) for member in group.members)
        return count >= group.threshold


def parse_policy(text: str) -> Policy:
    """The policy of a tlog-policy file. Raises PolicyError."""
    policy = Policy(text)
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            _take_line(policy, words)
        except ValueError as error:
            raise PolicyError(f"policy line {number}: {error}") from error
    if len(policy.witnesses) > WITNESSES_MAX:
        raise PolicyError(f"a policy names at most {WITNESSES_MAX} witnesses")
    return policy


def _take_line(policy: Policy, words: Sequence[str]) -> None:
    match words:
        case ["log", key, *url] if len(url) <= 1:
            _add_log(policy, parse_key(key))
        case ["witness", name, key, *url] if len(url) <= 1:
            _add_witness(policy, name, parse_key(key, COSIGNATURE))
        case ["stake", name, amount]:
            _add_stake(policy, name, amount)
        case ["group", name, threshold, *members]:
            _add_group(policy, name, threshold, members)
        case ["quorum", name]:
            _check_free(policy, "none")
            if policy.quorum or (name != "none" and not _is_named(policy, name)):
                raise ValueError("write one quorum line, after the group or witness it names")
            policy.quorum = name
        case _:
            raise ValueError("write log, witness, stake, group or quorum")


def _add_log(policy: Policy, key: VerifierKey) -> None:
    if any(known.public_key == key.public_key for known in policy.logs):
        raise ValueError("this log's key was named before")
    policy.logs.append(key)


def _add_witness(policy: Policy, name: str, key: VerifierKey) -> None:
    _check_free(policy, name)
    if any(known.public_key == key.public_key for known in policy.witnesses.values()):
        raise ValueError("this witness's key was named before")
    policy.witnesses[name] = key
    policy.stake[name] = 1


def _add_stake(policy: Policy, name: str, amount: str) -> None:
    if name not in policy.witnesses:
        raise ValueError(f"name the witness {name!r} in a line before its stake")
    if not amount.isascii() or not amount.isdigit() or int(amount) > STAKE_MAX:
        raise ValueError(f"a stake is a whole number, not {amount!r}")
    policy.stake[name] = int(amount)


def _add_group(policy: Policy, name: str, threshold: str, members: Sequence[str]) -> None:
    _check_free(policy, name)
    if not members or len(set(members)) < len(members):
        raise ValueError("a group names each of its members once")
    strangers = [member for member in members if not _is_named(policy, member)]
    if strangers:
        raise ValueError(f"{strangers[0]!r} was not named before")
    taken = {member for group in policy.groups.values() for member in group.members}
    if taken & {*members}:
        raise ValueError(f"{min(taken & {*members})!r} is in another group already")
    count = {"any": 1, "all": len(members)}.get(threshold)
    if count is None:
        count = int(threshold) if threshold.isascii() and threshold.isdigit() else 0
    if not 1 <= count <= len(members):
        raise ValueError(f"a threshold is any, all, or 1 to {len(members)}")
    policy.groups[name] = Group(count, tuple(members))


def _check_free(policy: Policy, name: str) -> None:
    if _is_named(policy, name):
        raise ValueError(f"the name {name!r} is taken")


def _is_named(policy: Policy, name: str) -> bool:
    return name in policy.witnesses or name in policy.groups


def _message(checkpoint: Checkpoint, at_s: int) -> str:
    return f"cosignature/v1\ntime {at_s}\n{checkpoint.text()}"
