"""Who may speak: tokens, certificates, revocation, and everybody who has none."""

import asyncio
import datetime as dt

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.gate import authority as authority_module
from cloud.gate.gateways import RENEW_DOMAIN
from cloud.remote import RemoteError
from protos import gateway_pb2 as pb
from protos import gateway_pb2_grpc
from tests.gate.conftest import MAP, Gateway

CODE = grpc.StatusCode


async def fails(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_a_token_works_once(cloud):
    token = await cloud.token()
    first = Gateway(cloud, Ed25519PrivateKey.generate())
    answer = await first.enrol(token)
    assert (answer.site_id, answer.zone, answer.device_id) == ("home-1", "tiny", first.device)
    second = Gateway(cloud, Ed25519PrivateKey.generate())
    error = await fails(second.enrol(token))
    assert error.code() == CODE.PERMISSION_DENIED
    assert "new enrolment token" in error.details()


async def test_two_devices_racing_for_one_token_never_both_win(cloud):
    token = await cloud.token()
    racers = [Gateway(cloud, Ed25519PrivateKey.generate()) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(racer.enrol(token) for racer in racers), return_exceptions=True
    )
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 1


async def test_a_guessed_token_is_refused(cloud):
    error = await fails(Gateway(cloud, Ed25519PrivateKey.generate()).enrol("guess"))
    assert error.code() == CODE.PERMISSION_DENIED


async def test_a_guesser_is_slowed_down(cloud):
    guesser = Gateway(cloud, Ed25519PrivateKey.generate())
    codes = {(await fails(guesser.enrol(f"guess {number}"))).code() for number in range(21)}
    assert codes == {CODE.PERMISSION_DENIED, CODE.RESOURCE_EXHAUSTED}


async def test_a_device_whose_certificate_ran_out_gets_a_new_one_without_a_token(cloud, gateway):
    before = gateway.chain
    answer = await gateway.enrol("")
    assert answer.device_id == gateway.device
    assert gateway.chain != before
    await gateway.connect()


async def test_an_empty_token_helps_no_stranger_and_no_revoked_device(cloud, gateway):
    stranger = await fails(Gateway(cloud, Ed25519PrivateKey.generate()).enrol(""))
    assert stranger.code() == CODE.PERMISSION_DENIED
    thief = await fails(gateway.enrol("", signature=bytes(64)))
    assert thief.code() == CODE.UNAUTHENTICATED
    body = {"device": gateway.device, "reason": "stolen"}
    await asyncio.to_thread(cloud.operator.post, "/api/revocations", body)
    assert "revoked" in (await fails(gateway.enrol(""))).details()


async def test_enrolment_by_a_key_that_is_not_held_is_refused(cloud):
    token = await cloud.token()
    thief = Gateway(cloud, Ed25519PrivateKey.generate())
    error = await fails(thief.enrol(token, public_key=b"\x01" * 32))
    assert error.code() == CODE.UNAUTHENTICATED


@pytest.mark.parametrize("csr", [b"", b"-----BEGIN NONSENSE-----"])
async def test_a_broken_certificate_request_is_refused(cloud, csr):
    token = await cloud.token()
    gateway = Gateway(cloud, Ed25519PrivateKey.generate())
    gateway.csr = lambda: csr
    error = await fails(gateway.enrol(token))
    assert error.code() == CODE.INVALID_ARGUMENT


async def test_a_stream_without_a_certificate_is_not_opened(cloud):
    credentials = grpc.ssl_channel_credentials(cloud.roots())
    address = f"127.0.0.1:{cloud.listening.gateway_port}"
    async with grpc.aio.secure_channel(address, credentials) as channel:
        call = gateway_pb2_grpc.GatewayServiceStub(channel).Connect()
        error = await fails(call.read())
    assert error.code() == CODE.UNAVAILABLE


async def test_an_expired_certificate_opens_nothing(cloud, monkeypatch):
    monkeypatch.setattr(authority_module, "BACKDATE", dt.timedelta(hours=2))
    monkeypatch.setattr(authority_module, "CERTIFICATE_NS", -3_600_000_000_000)
    gateway = await cloud.gateway()
    with pytest.raises((grpc.aio.AioRpcError, AssertionError, asyncio.InvalidStateError)) as caught:
        await gateway.connect()
    await gateway.close()
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    assert caught.value.code() == CODE.UNAVAILABLE


async def test_a_certificate_that_ends_during_a_stream_ends_the_stream(cloud, monkeypatch):
    monkeypatch.setattr(authority_module, "CERTIFICATE_NS", 2_000_000_000)
    gateway = await cloud.gateway()
    await gateway.connect()
    async with asyncio.timeout(5):
        while await gateway.call.read() is not grpc.aio.EOF:
            pass
    await gateway.close()


async def test_the_hello_must_name_the_certificate_s_own_device(gateway):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.connect(device="0" * 32)
    assert caught.value.code() == CODE.INVALID_ARGUMENT


async def test_a_revoked_device_is_cut_off_and_stays_out(cloud, gateway):
    await gateway.connect()
    body = {"device": gateway.device, "reason": "stolen"}
    await asyncio.to_thread(cloud.operator.post, "/api/revocations", body)
    async with asyncio.timeout(5):
        while await gateway.call.read() is not grpc.aio.EOF:
            pass
    error = await fails(gateway.connect())
    assert error.code() == CODE.PERMISSION_DENIED
    assert "revoked" in error.details()


async def test_a_certificate_is_renewed_for_its_own_device_only(cloud, gateway):
    await gateway.connect()
    stub = gateway_pb2_grpc.GatewayServiceStub(gateway.channel)
    csr = gateway.csr()
    renewed = await stub.Renew(
        pb.RenewRequest(csr_pem=csr, signature=gateway.sign(RENEW_DOMAIN + csr))
    )
    leaf = x509.load_pem_x509_certificate(renewed.certificate_chain_pem)
    assert leaf.subject.rfc4514_string() == f"CN={gateway.device}"
    error = await fails(stub.Renew(pb.RenewRequest(csr_pem=csr, signature=bytes(64))))
    assert error.code() == CODE.UNAUTHENTICATED


async def test_a_device_that_is_not_known_any_more_is_told_to_enrol(cloud, gateway):
    del cloud.app.core.registry.devices[gateway.device]
    error = await fails(gateway.connect())
    assert error.code() == CODE.PERMISSION_DENIED
    assert "enrol" in error.details()


async def test_operator_commands_need_the_operator_s_token(cloud):
    stranger = cloud.operator
    stranger._token_path = cloud.app.config.state_dir / "other.token"
    stranger._token_path.write_text("guess")
    body = {"site": "x", "zone": "tiny", "node": 1, "account": "x"}
    with pytest.raises(RemoteError, match="401"):
        await asyncio.to_thread(stranger.post, "/api/sites", body)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"zone": "nowhere"}, "no zone"), ({"node": 99}, "nodes 1 to"), ({"node": 0}, "422"),
     ({"site": "Not A Name"}, "422"), ({"colour": "red"}, "422")],
)  # fmt: skip
async def test_a_wrong_site_is_refused_with_what_to_write(cloud, changes, words):
    body = {"site": "x", "zone": "tiny", "node": 1, "account": "x"} | changes
    with pytest.raises(RemoteError, match=words):
        await asyncio.to_thread(cloud.operator.post, "/api/sites", body)


async def test_secrets_are_readable_by_their_owner_alone(cloud):
    for name in ("operator.token", "log.key", "ca/ca.key"):
        assert (cloud.app.config.state_dir / name).stat().st_mode & 0o077 == 0


async def test_the_service_goes_on_after_all_of_it(gateway):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)
