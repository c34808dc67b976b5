"""The transparency log: a Merkle tree over everything that happened (RFC 6962, SHA-256).

Decides nothing; it can only grow. It keeps the hash of every complete subtree, 64 bytes a leaf in
all, so that an append costs two hashes on average and any proof for any earlier size is read off.
Must never keep, change or drop a leaf: leaves live in the journal and in the views.
"""

from collections.abc import Sequence
from hashlib import sha256

from protos.receipt import HASH_BYTES, node_hash

EMPTY_ROOT = sha256(b"").digest()


class TransparencyLog:
    """An append-only tree. Leaves are numbered from 0."""

    def __init__(self) -> None:
        # _levels[k] holds the hashes of all complete subtrees of 2**k leaves, one after another.
        self._levels: list[bytearray] = [bytearray()]
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def append(self, leaf: bytes) -> int:
        """Adds a leaf and returns its index."""
        index = rest = self._size
        levels = self._levels
        level = levels[0]
        level += sha256(b"\x00" + leaf).digest()
        height = 0
        while rest & 1:
            parent = sha256(b"\x01" + level[-2 * HASH_BYTES :]).digest()
            height += 1
            rest >>= 1
            if height == len(levels):
                levels.append(bytearray())
            level = levels[height]
            level += parent
        self._size = index + 1
        return index

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Adds many leaves: level by level, which costs two thirds of one by one."""
        fresh = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
        height, count = 0, self._size + len(leaves)
        while fresh:
            if height == len(self._levels):
                self._levels.append(bytearray())
            level = self._levels[height]
            # What waited for a sibling on this level is the left one of the first fresh hash.
            odd = (len(level) // HASH_BYTES) & 1
            row = [bytes(level[-HASH_BYTES:]), *fresh] if odd else fresh
            level += b"".join(fresh)
            pairs = zip(row[::2], row[1::2], strict=False)
            fresh = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
            height += 1
        self._size = count

    def root(self, size: int | None = None) -> bytes:
        """The tree's hash when it had `size` leaves (now, if not given)."""
        size = self._size if size is None else size
        self._check_size(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def leaf_hash(self, index: int) -> bytes:
        """The hash under which leaf `index` went in. Raises IndexError."""
        if not 0 <= index < self._size:
            raise IndexError(f"leaf {index} of {self._size}")
        return self._node(0, index)

    def hashes(self, height: int, first: int, count: int) -> bytes:
        """So many hashes of complete subtrees of 2**height leaves, one after another.

        Raises IndexError where the log is too short.
        """
        if first < 0 or count < 0 or first + count > self._size >> height:
            raise IndexError(f"no {count} hashes at height {height} from {first}")
        return bytes(self._levels[height][first * HASH_BYTES : (first + count) * HASH_BYTES])

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of `size` leaves, from its sibling upwards.

        RFC 6962 section 2.1.1. Raises IndexError where there is no such leaf or size.
        """
        self._check_size(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} of a tree of {size}")
        path = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._range(middle, high))
                high = middle
            else:
                path.append(self._range(low, middle))
                low = middle
        return path[::-1]

    def consistency(self, first: int, second: int) -> list[bytes]:
        """That the tree of `first` leaves is the beginning of the tree of `second` leaves.

        RFC 6962 section 2.1.2. Raises IndexError unless 0 < first <= second <= size.
        """
        self._check_size(second)
        if not 0 < first <= second:
            raise IndexError(f"no consistency from {first} to {second}")
        proof = []
        low, high = 0, second
        while first < high:
            middle = low + _split(high - low)
            if first <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        if low:
            proof.append(self._range(low, high))
        return proof[::-1]

    def state(self) -> object:
        """Size and root say all: equal roots are equal leaves."""
        return [self._size, self.root()]

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self._size:
            raise IndexError(f"the log has {self._size} leaves, not {size}")

    def _node(self, height: int, number: int) -> bytes:
        return bytes(self._levels[height][number * HASH_BYTES : (number + 1) * HASH_BYTES])

    def _range(self, low: int, high: int) -> bytes:
        """The hash over leaves low to high, where low is a multiple of the subtree's size.

        Its complete subtrees are peaks that grow smaller to the right; folding starts there.
        """
        root = b""
        rest, height = high - low, 0
        while rest:
            if rest & 1:
                peak = self._node(height, (high >> height) - 1)
                root = node_hash(peak, root) if root else peak
                high -= 1 << height
            rest >>= 1
            height += 1
        return root


def is_consistent(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Checks a consistency proof as RFC 9162 section 2.1.4.2 has it, with nothing but the roots."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while at and not at & 1:
                at >>= 1
                last >>= 1
        else:
            new = node_hash(new, node)
        at >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
