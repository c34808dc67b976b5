"""Enrolment, revocation and authorities."""

from hashlib import sha256

from cloud.commands import CreateSite, EnrolDevice, IssueToken, RegisterAuthority, RevokeDevice
from cloud.facts import (
    AuthorityRegistered,
    DeviceEnrolled,
    DeviceRevoked,
    EnrolmentRefused,
    RegistryRefused,
    SiteCreated,
    TokenIssued,
)
from cloud.registry import Registry
from protos.ids import device_id
from protos.limits import ENROLMENT_TOKEN_NS
from protos.messages import Refusal

TOKEN = sha256(b"token").digest()
KEY = b"k" * 32
SITE = CreateSite("home-1", "rural", 7, "home-1")


def opened(at_ns=0):
    registry = Registry()
    registry.apply(SITE, at_ns)
    registry.apply(IssueToken(TOKEN, "home-1"), at_ns)
    return registry


def reasons(facts):
    return [fact.reason for fact in facts]


def test_a_token_turns_a_key_into_a_device_of_its_home():
    (fact,) = opened().apply(EnrolDevice(TOKEN, KEY), 1)
    assert fact == DeviceEnrolled(device_id(KEY), KEY, "home-1", "rural", 7, "home-1")


def test_a_spent_token_enrols_nobody_else():
    registry = opened()
    registry.apply(EnrolDevice(TOKEN, KEY), 1)
    assert reasons(registry.apply(EnrolDevice(TOKEN, b"x" * 32), 2)) == [Refusal.BAD_TOKEN]
    assert registry.active_key(device_id(b"x" * 32)) is None


def test_the_same_key_may_ask_again_after_a_lost_answer():
    registry = opened()
    first = registry.apply(EnrolDevice(TOKEN, KEY), 1)
    assert registry.apply(EnrolDevice(TOKEN, KEY), ENROLMENT_TOKEN_NS * 9) == first


def test_a_token_ends_after_a_quarter_of_an_hour():
    (fact,) = opened().apply(EnrolDevice(TOKEN, KEY), ENROLMENT_TOKEN_NS + 1)
    assert fact == EnrolmentRefused(TOKEN, Refusal.EXPIRED)


def test_a_guessed_token_or_a_short_key_enrols_nobody():
    registry = opened()
    assert reasons(registry.apply(EnrolDevice(b"?" * 32, KEY), 1)) == [Refusal.BAD_TOKEN]
    assert reasons(registry.apply(EnrolDevice(TOKEN, b"short"), 1)) == [Refusal.BAD_TOKEN]


def test_a_revoked_device_has_no_key_and_never_comes_back():
    registry = opened()
    registry.apply(EnrolDevice(TOKEN, KEY), 1)
    device = device_id(KEY)
    assert registry.apply(RevokeDevice(device, "stolen"), 2) == [
        DeviceRevoked(device, "rural", "stolen")
    ]
    assert registry.active_key(device) is None
    other = sha256(b"other").digest()
    registry.apply(IssueToken(other, "home-1"), 3)
    assert reasons(registry.apply(EnrolDevice(other, KEY), 4)) == [Refusal.REVOKED_DEVICE]


def test_an_enrolled_key_cannot_move_to_another_home():
    registry = opened()
    registry.apply(EnrolDevice(TOKEN, KEY), 1)
    registry.apply(CreateSite("home-2", "rural", 8, "home-2"), 2)
    other = sha256(b"other").digest()
    registry.apply(IssueToken(other, "home-2"), 3)
    assert reasons(registry.apply(EnrolDevice(other, KEY), 4)) == [Refusal.BAD_TOKEN]


def test_a_site_is_created_once_and_changed_never():
    registry = Registry()
    created = [SiteCreated("home-1", "rural", 7, "home-1")]
    assert registry.apply(SITE, 0) == created
    assert registry.apply(SITE, 1) == created
    changed = CreateSite("home-1", "rural", 8, "home-1")
    assert registry.apply(changed, 2) == [RegistryRefused("home-1", Refusal.CHANGED_REPLAY)]


def test_a_token_needs_a_site_and_is_issued_once():
    registry = opened()
    assert reasons(registry.apply(IssueToken(TOKEN, "home-1"), 1)) == [Refusal.CHANGED_REPLAY]
    assert reasons(registry.apply(IssueToken(b"a" * 32, "nobody"), 1)) == [Refusal.BAD_TOKEN]
    assert reasons(registry.apply(IssueToken(b"a", "home-1"), 1)) == [Refusal.BAD_TOKEN]
    fresh = registry.apply(IssueToken(b"b" * 32, "home-1"), 5)
    assert fresh == [TokenIssued(b"b" * 32, "home-1", 5 + ENROLMENT_TOKEN_NS)]


def test_an_authority_is_registered_with_rank_and_area():
    registry = Registry()
    assert registry.apply(RegisterAuthority("PEA", 1, "rural"), 0) == [
        AuthorityRegistered("PEA", 1, "rural")
    ]
    assert registry.apply(RevokeDevice("0" * 32, "?"), 1)[0].reason == Refusal.UNKNOWN_DEVICE
