"""Enrolment and renewal against a gate with real TLS."""

import json
import time

import pytest

from edge.enrol import EnrolmentError, enrol, load_enrolment, set_aside
from protos.clock import SECOND_NS


async def test_a_token_is_exchanged_for_a_certificate(tmp_path, gate):
    got = await enrol(
        tmp_path / "s", "seven-lemons", gate.enrolment_address, gate.authority.path, "localhost"
    )
    assert got == load_enrolment(tmp_path / "s")
    assert (got.site, got.zone, got.gateway) == ("home-1", "z1", gate.address)
    assert got.not_before_ns < time.time_ns() < got.renew_ns < got.not_after_ns
    stored = (tmp_path / "s" / "enrolment.json").read_text()
    assert "seven-lemons" not in stored


async def test_a_wrong_token_a_dead_address_and_a_foreign_authority_are_told_apart(
    tmp_path, gate, tmp_path_factory
):
    ca = gate.authority.path
    with pytest.raises(EnrolmentError, match="BAD_TOKEN"):
        await enrol(tmp_path, "six", gate.enrolment_address, ca, "localhost")
    with pytest.raises(EnrolmentError, match=r"ca\.pem: No such file"):
        await enrol(tmp_path, "x", gate.enrolment_address, tmp_path / "ca.pem", "localhost")
    foreign = type(gate.authority)(tmp_path_factory.mktemp("foreign")).path
    with pytest.raises(EnrolmentError, match="not reachable"):
        await enrol(tmp_path, "x", gate.enrolment_address, foreign, "localhost")
    assert load_enrolment(tmp_path) is None


async def test_a_certificate_past_half_of_its_life_is_renewed_and_the_stream_follows(
    site, gate, peers
):
    gate.life_s, gate.age_s, gate.renew_after_streams = 3600.0, 7200.0, 1
    await site.enrol()
    await site.start()
    await peers.eventually(lambda: ("renew", site.agent._device_id) in gate.log)
    await peers.eventually(lambda: gate.streams == 2)
    await peers.eventually(lambda: site.chain.seq >= 3)
    await site.end()
    assert load_enrolment(site.directory).renew_ns > time.time_ns()


async def test_after_an_outage_longer_than_the_certificate_the_device_key_gets_a_new_one(
    site, gate, peers
):
    gate.life_s, gate.age_s = -10.0, 7200.0
    await site.enrol()
    gate.life_s, gate.age_s = 3600.0, 60.0
    cloud = type(site.config.cloud)(
        site.config.cloud.ca, enrolment=gate.enrolment_address, server_name="localhost"
    )
    site.change(cloud=cloud)
    await site.start()
    await peers.eventually(lambda: site.chain.seq >= 2, 8)
    await site.end()
    assert ("enrol", "") in gate.log


async def test_an_expired_certificate_without_an_address_is_an_advice_and_readings_go_on(
    site, gate, peers
):
    gate.life_s, gate.age_s = -10.0, 7200.0
    await site.enrol()
    await site.start()
    await peers.eventually(lambda: site.agent._outbox.waiting >= 2)
    assert "gridtokenx-edge enrol" in site.agent.status()["certificate"]["problem"]
    await site.end()


async def test_an_agent_without_enrolment_says_how_to_enrol(site):
    set_aside(site.directory)
    with pytest.raises(EnrolmentError, match="gridtokenx-edge enrol --token"):
        await site.start()


async def test_an_agent_with_a_token_file_enrols_itself(site, gate, tmp_path, peers):
    set_aside(site.directory)
    (tmp_path / "token").write_text("seven-lemons\n")
    cloud = type(site.config.cloud)(
        site.config.cloud.ca,
        enrolment=gate.enrolment_address,
        server_name="localhost",
        token_file=tmp_path / "token",
    )
    site.change(cloud=cloud)
    await site.start()
    await peers.eventually(lambda: gate.streams == 1)
    await site.end()


async def test_a_former_identity_is_set_aside_and_not_deleted(site):
    names = {"device.key", "tls.key", "tls.pem", "enrolment.json"}
    aside = set_aside(site.directory)
    assert {path.name for path in aside.iterdir()} == names
    assert load_enrolment(site.directory) is None
    assert set_aside(site.directory) is None


def test_a_damaged_enrolment_says_so(tmp_path):
    (tmp_path / "enrolment.json").write_text(json.dumps({"device": 1}))
    with pytest.raises(EnrolmentError, match="damaged"):
        load_enrolment(tmp_path)


def test_a_certificate_is_renewed_before_half_of_its_life():
    from edge.enrol import Enrolment

    life = Enrolment("d", "s", "z", "g", 0, 100 * SECOND_NS)
    assert life.renew_ns < 50 * SECOND_NS
