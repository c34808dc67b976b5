"""Key files: made once, never overwritten, never shared."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.keys import (
    KeyFileError,
    load_or_create_signer,
    load_or_create_tls_key,
    load_signer,
)


def test_a_key_is_made_once_readable_by_its_owner_only(tmp_path):
    first = load_or_create_signer(tmp_path / "state")
    path = tmp_path / "state" / "device.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert load_or_create_signer(tmp_path / "state").device == first.device
    Ed25519PublicKey.from_public_bytes(first.public_key).verify(first.sign(b"x"), b"x")
    assert list(path.parent.iterdir()) == [path], "no draft stays behind"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_a_key_that_others_can_open_is_refused(tmp_path, mode):
    load_or_create_signer(tmp_path)
    (tmp_path / "device.key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_signer(tmp_path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\xff" * 99])
def test_a_damaged_key_is_said_to_be_damaged(tmp_path, content):
    path = tmp_path / "device.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged"):
        load_signer(tmp_path)
    assert path.read_bytes() == content


def test_a_missing_key_points_to_enrolment(tmp_path):
    with pytest.raises(KeyFileError, match="enrol this gateway first"):
        load_signer(tmp_path)


def test_one_kind_of_key_is_not_taken_for_the_other(tmp_path):
    load_or_create_tls_key(tmp_path)
    (tmp_path / "tls.key").rename(tmp_path / "device.key")
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        load_signer(tmp_path)


def test_a_key_in_another_form_is_read_as_well(tmp_path):
    signer = load_or_create_signer(tmp_path)
    path = tmp_path / "device.key"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\r\n".join([b"a comment", *lines, b""]))
    path.chmod(0o600)
    assert load_signer(tmp_path).device == signer.device
