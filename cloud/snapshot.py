"""A start without the whole journal: machines and views as they were after one of its records.

A snapshot is a cache and never evidence: whoever wants a proof replays from the first record. It is
made by a process that has replayed, and believed only where all of this holds; otherwise the reason
is logged and the start replays everything:

- it bears its owner's signature (an aggregator's log key, a validator's own), because opening it runs
  what is in it;
- it was written by this very build: what the machines look like inside is nobody's format;
- the journal still has, at its record, the hash that its chain had then, and all its leaves;
- the machines, once opened, give the state hash that they gave when they were written.
"""

import io
import logging
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.core import Core
from cloud.grid.network import Network
from cloud.replay import Rebuilt
from cloud.store.durable import write_durably
from cloud.store.journal import Journal

SNAPSHOT_FILE = "machines.snapshot"
SNAPSHOT_DOMAIN = b"gridtokenx/snapshot/v1\n"
_SIGNATURE_BYTES = 64
_HEAD_LENGTH_BYTES = 4

_UNOPENED = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError,
             LookupError, TypeError, ValueError)  # fmt: skip
"""What opening may raise where a name or a shape is not what it was. No start may fail by it."""

log = logging.getLogger(__name__)


class UnusableSnapshotError(Exception):
    """This snapshot may not be used; the message says why. The journal has everything."""


class _Head(msgspec.Struct, frozen=True, array_like=True):
    build: bytes
    seq: int
    chain: bytes
    leaves: int
    state_hash: bytes
    payload_sha256: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Machines after record `found.seq`, and `beside`, what the facts' readers had made of it."""

    core: Core
    beside: object
    found: Rebuilt


def write_snapshot(
    path: Path, snapshot: Snapshot, journal: Journal, key: Ed25519PrivateKey
) -> None:
    """Replaces the file at `path`, on disk when this returns.

    Raises UnusableSnapshotError where the journal's leaves lag behind the machines: nobody could
    make them again from here.
    """
    core, found = snapshot.core, snapshot.found
    core.take_leaves()
    _keep_what_is_needed(found, core, journal)
    if journal.leaf_count() < core.bank.log.size:
        raise UnusableSnapshotError("the newest leaves are not stored yet; try again in a moment")
    networks = {name: zone.network for name, zone in core.zones.items()}
    payload = _pack((core, snapshot.beside, found), networks)
    head = msgspec.msgpack.encode(
        _Head(
            build_id(),
            found.seq,
            journal.hash_of(found.seq),
            core.bank.log.size,
            core.state_hash(),
            sha256(payload).digest(),
        )
    )
    signature = key.sign(SNAPSHOT_DOMAIN + head)
    length = len(head).to_bytes(_HEAD_LENGTH_BYTES, "big")
    write_durably(path, b"".join((signature, length, head, payload)), 0o600)


def read_snapshot(
    path: Path, networks: Mapping[str, Network], journal: Journal, key: Ed25519PrivateKey
) -> Snapshot | None:
    """The snapshot, or None where there is none that may be used."""
    try:
        return _read(path, networks, journal, key)
    except FileNotFoundError:
        return None
    except UnusableSnapshotError as error:
        log.warning("%s is not used (%s): the whole journal is replayed", path.name, error)
        return None


@cache
def build_id() -> bytes:
    """A digest of the code that makes and reads machines, and of what it stands on."""
    digest = sha256(sys.version.encode() + version("msgspec").encode())
    root = Path(__file__).resolve().parent.parent
    for room in ("cloud", "ext", "protos"):
        for path in sorted((root / room).rglob("*")):
            if path.suffix in {".py", ".so", ".pyd"}:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0")
                digest.update(sha256(path.read_bytes()).digest())
    return digest.digest()


def _read(
    path: Path, networks: Mapping[str, Network], journal: Journal, key: Ed25519PrivateKey
) -> Snapshot:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableSnapshotError(str(error)) from error
    head, payload = _open(data, key)
    if head.build != build_id():
        raise UnusableSnapshotError("another version wrote it")
    if sha256(payload).digest() != head.payload_sha256:
        raise UnusableSnapshotError("its content is damaged")
    if head.seq > journal.last()[0] or journal.hash_of(head.seq) != head.chain:
        raise UnusableSnapshotError("it is of another journal")
    if journal.leaf_count() < head.leaves:
        raise UnusableSnapshotError("the journal has fewer leaves than it knew")
    core, beside, found = _unpack(payload, networks)
    if core.state_hash() != head.state_hash:
        raise UnusableSnapshotError("the machines are not what they were")
    return Snapshot(core, beside, found)


def _open(data: bytes, key: Ed25519PrivateKey) -> tuple[_Head, bytes]:
    signature, rest = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
    end = _HEAD_LENGTH_BYTES + int.from_bytes(rest[:_HEAD_LENGTH_BYTES], "big")
    head = rest[_HEAD_LENGTH_BYTES:end]
    try:
        key.public_key().verify(signature, SNAPSHOT_DOMAIN + head)
    except InvalidSignature:
        raise UnusableSnapshotError("it does not bear its owner's signature") from None
    try:
        return msgspec.msgpack.decode(head, type=_Head), rest[end:]
    except msgspec.DecodeError:
        raise UnusableSnapshotError("another version wrote it") from None


def _keep_what_is_needed(found: Rebuilt, core: Core, journal: Journal) -> None:
    """A replay from here needs the roots that are still to be signed, and where it begins."""
    newest = journal.checkpoint()
    if found.blocks:
        found.first_block = found.blocks[-1].number
    if newest is not None:
        found.blocks = [block for block in found.blocks if block.number > newest[0]]
    found.first_leaf = core.bank.log.size


class _Packer(pickle.Pickler):
    """Networks are named, not written: the configuration brings them again."""

    def __init__(self, file: io.BytesIO, networks: Mapping[str, Network]) -> None:
        super().__init__(file, protocol=5)
        self._names = {id(network): name for name, network in networks.items()}

    def persistent_id(self, obj: object) -> tuple[str, bytes] | None:
        return (self._names[id(obj)], obj.sha256) if isinstance(obj, Network) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, networks: Mapping[str, Network]) -> None:
        super().__init__(file)
        self._networks = networks

    def persistent_load(self, pid: tuple[str, bytes]) -> Network:
        name, digest = pid
        network = self._networks.get(name)
        if network is None or network.sha256 != digest:
            raise UnusableSnapshotError(f"zone {name!r} has another network now, or none")
        return network


def _pack(content: tuple[Core, object, Rebuilt], networks: Mapping[str, Network]) -> bytes:
    file = io.BytesIO()
    _Packer(file, networks).dump(content)
    return file.getvalue()


def _unpack(payload: bytes, networks: Mapping[str, Network]) -> tuple[Core, object, Rebuilt]:
    try:
        core, beside, found = _Unpacker(io.BytesIO(payload), networks).load()
    except _UNOPENED as error:
        raise UnusableSnapshotError(f"it cannot be opened: {error!r}") from error
    assert isinstance(core, Core)
    assert isinstance(found, Rebuilt)
    if set(core.zones) != set(networks):
        raise UnusableSnapshotError("the configuration has other zones")
    return core, beside, found
