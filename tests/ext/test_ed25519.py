"""The compiled signature check against OpenSSL, RFC 8032 and a readable twin.

`GRIDTOKENX_LONG=1` makes the comparison a hundred thousand signatures long.
"""

import os
import random
from hashlib import sha512

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.signatures import OneByOne, Signed, Together
from ext import ed25519

CASES = 100_000 if os.environ.get("GRIDTOKENX_LONG") else 3_000
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

RFC_8032 = (
    ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
)  # fmt: skip
"""Section 7.1, tests 1 to 3."""


# ---- a readable twin: whole numbers, affine points, nothing clever -----------------------------


def plus(a, b):
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(scalar, point):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = plus(result, point)
        point = plus(point, point)
        scalar >>= 1
    return result


def encoded(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decoded(octets):
    number = int.from_bytes(octets, "little")
    y = number & (1 << 255) - 1
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (v * x * x - u) % P == 0
    return (P - x if x & 1 != number >> 255 else x), y % P


BASE = decoded((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def challenge(r, a, message):
    return int.from_bytes(sha512(r + a + message).digest(), "little") % L


def twin_says(public, signature, message):
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    x, y = times(challenge(signature[:32], public, message), decoded(public))
    return encoded(plus(times(s, BASE), (P - x, y))) == signature[:32]


def torsion_point():
    """A point of order eight: L times any point that is not in the subgroup."""
    for y in range(2, 100):
        u, v = (y * y - 1) % P, (D * y * y + 1) % P
        if pow(u * v % P, (P - 1) // 2, P) == 1:
            point = times(L, decoded(y.to_bytes(32, "little")))
            if times(4, point) != (0, 1):
                return point
    raise AssertionError("half of all y have a point")


EIGHT = torsion_point()
SMALL = [times(n, EIGHT) for n in range(8)]


# ---- what is compared --------------------------------------------------------------------------


def ours(public, signature, message):
    return ed25519.are_valid([ed25519.Key(public)], [signature], [message])[0]


def openssl_says(public, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def keys(count, seed=b"key"):
    made = [
        Ed25519PrivateKey.from_private_bytes(sha512(seed + b"%d" % n).digest()[:32])
        for n in range(count)
    ]
    return [(key, key.public_key().public_bytes_raw()) for key in made]


@pytest.mark.parametrize("vector", RFC_8032)
def test_the_signatures_of_the_standard_are_valid(vector):
    public, message, r, s = map(bytes.fromhex, vector)
    signature = r + s
    assert ours(public, signature, message)
    assert twin_says(public, signature, message)
    assert not ours(public, signature, message + b"x")


def mutated(draw, public, signature, message, others):
    """One way to spoil a signature, or none."""
    match draw.randrange(9):
        case 0:
            at = draw.randrange(512)
            flipped = int.from_bytes(signature, "little") ^ 1 << at
            signature = flipped.to_bytes(64, "little")
        case 1:
            message = message[:-1] + bytes([message[-1] ^ 1 << draw.randrange(8)])
        case 2:
            s = int.from_bytes(signature[32:], "little") + L
            signature = signature[:32] + s.to_bytes(32, "little")
        case 3:
            signature = draw.choice(others)
        case 4:
            signature = signature[:32] + draw.randbytes(32)
        case 5:
            signature = draw.randbytes(64)
        case 6:
            s = -int.from_bytes(signature[32:], "little") % L
            signature = signature[:32] + s.to_bytes(32, "little")
    return public, signature, message


def test_it_says_of_every_signature_what_openssl_says():
    draw = random.Random(1)
    pairs = keys(64)
    opened = [ed25519.Key(public) for _, public in pairs]
    seen = set()
    others = [bytes(64)]
    left = CASES
    while left > 0:
        count = draw.choice((1, 2, 7, 64, 300))
        picked = [draw.randrange(64) for _ in range(count)]
        cases = []
        for number in picked:
            key, public = pairs[number]
            message = draw.randbytes(draw.choice((1, 20, 63, 64, 65, 500)))
            signature = key.sign(message)
            others = [*others[-20:], signature]
            cases.append(mutated(draw, public, signature, message, others[:-1]))
        said = ed25519.are_valid(
            [opened[number] for number in picked], [c[1] for c in cases], [c[2] for c in cases]
        )
        assert said == [openssl_says(*case) for case in cases]
        seen.update(said)
        left -= count
    assert seen == {True, False}


def crafted():
    """Signatures that some checks take and others do not: parts of small order in A, in R, in both.

    The makers know the secret scalar, as a dishonest owner of a key does.
    """
    draw = random.Random(2)
    known, nonces = draw.randrange(1, L), draw.randrange(1, L)
    for secret, nonce in ((0, 0), (known, nonces), (known, 0)):
        honest_a, honest_r = times(secret, BASE), times(nonce, BASE)
        for torsion_a in SMALL:
            for torsion_r in SMALL:
                a, r = encoded(plus(honest_a, torsion_a)), encoded(plus(honest_r, torsion_r))
                for n in range(4):
                    message = b"torsion %d" % n
                    s = (nonce + challenge(r, a, message) * secret) % L
                    yield a, r + s.to_bytes(32, "little"), message


def test_crafted_signatures_of_small_order_get_the_answer_of_openssl():
    cases = list(crafted())
    opened = {a: ed25519.Key(a) for a, _, _ in cases}
    said = ed25519.are_valid(
        [opened[a] for a, _, _ in cases], [s for _, s, _ in cases], [m for *_, m in cases]
    )
    assert said == [openssl_says(*case) for case in cases]
    # Some of them pass without a valid part, some fail, and a check with the cofactor takes all.
    assert len(cases) / 16 < sum(said) < len(cases)


@settings(max_examples=12, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 3))
def test_it_agrees_with_the_readable_twin(seed, message, spoil):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    if spoil:
        signature = bytes([signature[0] ^ spoil]) + signature[1:]
    assert ours(public, signature, message) == twin_says(public, signature, message) == (not spoil)


@pytest.mark.parametrize("s", [0, 1, L - 1, L, L + 1, 2**252, 2**253 - 1, 2**255 - 1, 2**256 - 1])
def test_a_scalar_counts_only_below_the_order(s):
    """With A and R the neutral element, every s that is a multiple of L would pass."""
    one = encoded((0, 1))
    signature = one + s.to_bytes(32, "little")
    assert ours(one, signature, b"x") == openssl_says(one, signature, b"x") == (s == 0)


@pytest.mark.parametrize("scalar", [1, 2, 3, 127, 128, 129, 255, 2**64 - 1, 2**64, 2**128 + 1, 2**251,
                                    L - 1, L - 2, int("55" * 31, 16), int("aa" * 31, 16)])  # fmt: skip
def test_extreme_scalars_are_multiplied_right(scalar):
    """With h out of the way (A neutral), sB itself is compared."""
    one = encoded((0, 1))
    signature = encoded(times(scalar, BASE)) + scalar.to_bytes(32, "little")
    assert ours(one, signature, b"x")
    wrong = encoded(times(scalar + 1, BASE)) + scalar.to_bytes(32, "little")
    assert not ours(one, wrong, b"x")


def test_a_bad_signature_spoils_none_beside_it():
    pairs = keys(40)
    opened = [ed25519.Key(public) for _, public in pairs]
    messages = [b"message %d" % n for n in range(40)]
    signatures = [key.sign(m) for (key, _), m in zip(pairs, messages, strict=True)]
    signatures[7] = bytes(64)
    signatures[8] = b"short"
    signatures[9] = b"\xff" * 64
    said = ed25519.are_valid(opened, signatures, messages)
    assert [n for n, valid in enumerate(said) if not valid] == [7, 8, 9]
    assert ed25519.are_valid([], [], []) == []
    with pytest.raises(ValueError, match="one signature"):
        ed25519.are_valid(opened, signatures[1:], messages)
    with pytest.raises(TypeError):
        ed25519.are_valid([object()], [bytes(64)], [b""])


NOT_CANONICAL = (
    b"", bytes(31), bytes(33), P.to_bytes(32, "little"), (P + 1).to_bytes(32, "little"),
    b"\xff" * 32, (1 | 1 << 255).to_bytes(32, "little"), (2).to_bytes(32, "little"),
)  # fmt: skip


@pytest.mark.parametrize("public", NOT_CANONICAL)
def test_a_key_that_is_no_canonical_point_is_not_taken(public):
    with pytest.raises(ValueError, match="Ed25519 public key"):
        ed25519.Key(public)


def test_keys_that_are_not_taken_are_judged_by_openssl():
    together, one_by_one = Together(), OneByOne()
    (key, public), *_ = keys(1)
    odd = (P + 1).to_bytes(32, "little")
    signed = [
        (name, signature)
        for name in (public, odd, public)
        for signature in (key.sign(b"m"), odd + bytes(32), encoded((0, 1)) + bytes(32))
    ]
    answers = [
        checker.are_valid([Signed(checker.open(a), s, b"m") for a, s in signed])
        for checker in (together, one_by_one)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0]
