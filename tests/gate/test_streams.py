"""What a gateway can send, good and bad: each is answered, and the service goes on."""

import asyncio
import time

import grpc
import pytest

from protos import gateway_pb2 as pb
from protos import payload_pb2
from protos.codec import encode_payload
from protos.limits import MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, UNACKNOWLEDGED_BATCHES_MAX
from protos.messages import (
    Offer,
    OfferBatch,
    Refusal,
    RegisterEntry,
    RegisterMap,
    SelfTrade,
    Side,
    SweepBatch,
)
from protos.seal import GENESIS, Sealed, seal
from tests.gate.conftest import MAP


async def test_what_is_sealed_is_receipted_when_it_is_durable(cloud, gateway):
    welcome = await gateway.connect()
    assert (welcome.durable_seq, welcome.durable_link) == (0, GENESIS)
    await gateway.send(gateway.seal(MAP))
    await gateway.send(gateway.seal(gateway.readings()))
    await gateway.receipted(2)
    assert cloud.app.core.zones["tiny"].durable(gateway.device)[0] == 2
    assert cloud.app.views.totals.readings == 3


async def test_a_full_window_is_receipted_in_order(gateway):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    for number in range(UNACKNOWLEDGED_BATCHES_MAX * 3):
        await gateway.send(gateway.seal(gateway.readings(import_wh=1000 + number)))
    await gateway.receipted(gateway.seq)


async def test_a_replayed_batch_is_acknowledged_but_not_applied(cloud, gateway):
    await gateway.connect()
    first = gateway.seal(MAP)
    second = gateway.seal(gateway.readings())
    for sealed in (first, second, first, second, second):
        await gateway.send(sealed)
    await gateway.receipted(2)
    await gateway.close()
    welcome = await gateway.connect()
    assert welcome.durable_seq == 2
    assert cloud.app.views.totals.readings == 3


async def refusal_of(gateway, sealed):
    await gateway.send(sealed)
    return (await gateway.expect("refusal")).refusal


async def test_a_forged_batch_is_refused_and_never_journaled(cloud, gateway):
    await gateway.connect()
    honest = gateway.seal(MAP)
    forged = Sealed(honest.seq, honest.previous, honest.payload, bytes(64))
    refusal = await refusal_of(gateway, forged)
    assert refusal.refused.reason == Refusal.BAD_SIGNATURE
    assert "key" in refusal.refused.advice
    journaled = [record.stream for record in cloud.app.reader.read()]
    await gateway.send(honest)
    await gateway.receipted(1)
    assert len([r for r in cloud.app.reader.read() if r.stream == "zone/tiny"]) > 0
    assert journaled.count("zone/tiny") < len(
        [record for record in cloud.app.reader.read() if record.stream == "zone/tiny"]
    )


async def test_a_reordered_batch_is_refused_with_the_expected_sequence(gateway):
    await gateway.connect()
    first, second = gateway.seal(MAP), gateway.seal(gateway.readings())
    refusal = await refusal_of(gateway, second)
    assert (refusal.refused.reason, refusal.expected_seq) == (Refusal.SEQUENCE_GAP, 1)
    await gateway.send(first)
    await gateway.send(second)
    await gateway.receipted(2)


async def test_an_oversized_payload_is_refused_and_the_stream_goes_on(gateway):
    await gateway.connect()
    huge = Sealed(1, GENESIS, bytes(PAYLOAD_BYTES_MAX + 1), bytes(64))
    assert (await refusal_of(gateway, huge)).refused.reason == Refusal.TOO_LARGE
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)


async def test_an_oversized_message_ends_its_own_stream_only(cloud, gateway):
    await gateway.connect()
    await gateway.send(Sealed(1, GENESIS, bytes(MESSAGE_BYTES_MAX + 1), bytes(64)))
    with pytest.raises((grpc.aio.AioRpcError, AssertionError)):
        await gateway.expect("receipt")
    await gateway.close()
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)


@pytest.mark.parametrize(
    "broken",
    [Sealed(0, GENESIS, b"x", bytes(64)), Sealed(1, b"short", b"x", bytes(64)),
     Sealed(1, GENESIS, b"x", b""), Sealed(1, GENESIS, b"", bytes(64))],
)  # fmt: skip
async def test_a_malformed_envelope_is_refused(gateway, broken):
    await gateway.connect()
    assert (await refusal_of(gateway, broken)).refused.reason == Refusal.MALFORMED
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)


async def test_an_authentic_but_malformed_payload_is_refused_and_does_not_wedge(gateway):
    await gateway.connect()
    refusal = await refusal_of(gateway, gateway.seal(b"not a payload"))
    assert refusal.refused.reason == Refusal.MALFORMED
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(2)


async def test_authentic_columns_that_do_not_decode_are_refused_and_the_writer_lives(
    cloud, gateway
):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    whole = payload_pb2.Payload.FromString(encode_payload(gateway.readings()))
    for number, columns in enumerate((b"", b"\x80", b"\xff" * 12, b"\x02" * 50), start=2):
        whole.sweeps.columns = columns
        refusal = await refusal_of(gateway, gateway.seal(whole.SerializeToString()))
        assert (refusal.refused.reason, refusal.seq) == (Refusal.MALFORMED, number)
    await gateway.send(gateway.seal(gateway.readings()))
    await gateway.receipted(6)
    assert cloud.app.writer.problem is None


async def test_readings_with_a_map_that_was_never_sent_are_refused(gateway):
    await gateway.connect()
    refusal = await refusal_of(gateway, gateway.seal(gateway.readings()))
    assert refusal.refused.reason == Refusal.UNKNOWN_MAP


async def test_readings_that_do_not_fit_their_map_are_refused(gateway):
    await gateway.connect()
    narrow = RegisterMap(1, MAP.devices, (RegisterEntry(0, MAP.registers[0].quantity),))
    await gateway.send(gateway.seal(narrow))
    refusal = await refusal_of(gateway, gateway.seal(gateway.readings()))
    assert refusal.refused.reason in {Refusal.UNKNOWN_MAP, Refusal.MALFORMED}


async def test_future_dated_readings_are_refused(gateway):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    tomorrow = int(time.time() * 1000) + 86_400_000
    refusal = await refusal_of(gateway, gateway.seal(gateway.readings(tomorrow)))
    assert refusal.refused.reason == Refusal.FUTURE_DATED
    assert "clock" in refusal.refused.advice


async def test_readings_older_than_the_backlog_are_refused(gateway):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    refusal = await refusal_of(gateway, gateway.seal(gateway.readings(1_000_000_000_000)))
    assert refusal.refused.reason == Refusal.TOO_OLD


async def test_a_second_chain_under_the_same_key_is_called_a_fork(gateway):
    await gateway.connect()
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)
    clone = seal(gateway, 2, b"\x07" * 32, gateway.seal(gateway.readings()).payload)
    assert (await refusal_of(gateway, clone)).refused.reason == Refusal.FORKED_CHAIN


def offer(**changes):
    slot = int(time.time()) // 900 + 8
    fields = {"number": 1, "slot": slot, "side": Side.SELL, "energy_wh": 100,
              "price_micro_per_kwh": 3_000_000} | changes  # fmt: skip
    return OfferBatch((Offer(**fields),))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"energy_wh": -100}, Refusal.BAD_ENERGY),
        ({"energy_wh": 0}, Refusal.BAD_ENERGY),
        ({"energy_wh": (1 << 63) - 1}, Refusal.BAD_ENERGY),
        ({"price_micro_per_kwh": -3_000_000}, Refusal.PRICE_OUTSIDE_BAND),
        ({"price_micro_per_kwh": (1 << 63) - 1}, Refusal.BAD_PRICE),
        ({"price_micro_per_kwh": 3_000_001}, Refusal.PRICE_OFF_TICK),
        ({"slot": 1}, Refusal.UNKNOWN_SLOT),
        ({"slot": (1 << 62)}, Refusal.UNKNOWN_SLOT),
        ({"kind": 3}, Refusal.NOT_AUTHORISED),
        ({"replaces": 9}, Refusal.UNKNOWN_OFFER),
    ],
)
async def test_an_impossible_offer_is_refused_with_its_reason(gateway, changes, reason):
    await gateway.connect()
    await gateway.send(gateway.seal(offer(**changes)))
    (outcome,) = (await gateway.expect("offers")).offers.outcomes
    assert outcome.state == pb.OFFER_STATE_REFUSED
    assert outcome.refused.reason == reason
    assert outcome.refused.advice


async def test_two_homes_trade_over_the_wire(cloud, gateway):
    buyer = await cloud.gateway(seed=2, site="home-2", node=2)
    await gateway.connect()
    await buyer.connect()
    await gateway.send(gateway.seal(offer(side=Side.SELL, price_micro_per_kwh=3_000_000)))
    (rested,) = (await gateway.expect("offers")).offers.outcomes
    assert rested.state == pb.OFFER_STATE_RESTED
    await buyer.send(buyer.seal(offer(side=Side.BUY, price_micro_per_kwh=4_000_000)))
    (filled,) = (await gateway.expect("offers")).offers.outcomes
    assert (filled.state, filled.energy_wh) == (pb.OFFER_STATE_FILLED, 100)
    assert filled.price_micro_per_kwh == 3_000_000
    await buyer.close()
    await cloud.app.writer.settle()
    assert not any(cloud.app.core.bank.sums().values())


async def test_a_home_replaces_its_offer_and_chooses_what_gives_way_over_the_wire(gateway):
    """Raised, then replaced once more although it is gone, then met by the home's own other side."""
    await gateway.connect()
    told = []
    for changes in (
        {"number": 1},
        {"number": 2, "energy_wh": 150, "replaces": 1},
        {"number": 3, "energy_wh": 10, "replaces": 1},
        {"number": 4, "side": Side.BUY, "energy_wh": 60, "self_trade": SelfTrade.DECREMENT},
    ):
        await gateway.send(gateway.seal(offer(**changes)))
        while not told or told[-1].number != changes["number"]:
            told += (await gateway.expect("offers")).offers.outcomes
    rested, cancelled = pb.OFFER_STATE_RESTED, pb.OFFER_STATE_CANCELLED
    assert [(outcome.number, outcome.state) for outcome in told] == [
        *((1, rested), (1, cancelled), (2, rested), (3, pb.OFFER_STATE_REFUSED)),
        *((2, pb.OFFER_STATE_REDUCED), (4, cancelled)),
    ]
    assert told[3].refused.name == "UNKNOWN_OFFER"
    assert (told[4].energy_wh, told[4].refused.name) == (60, "SELF_TRADE")


async def test_a_newer_stream_of_the_same_device_replaces_the_older(gateway):
    await gateway.connect()
    older = gateway.call
    await gateway.connect()
    assert await older.read() is grpc.aio.EOF
    await gateway.send(gateway.seal(MAP))
    await gateway.receipted(1)


async def test_an_unusual_but_valid_encoding_of_an_envelope_is_taken_all_the_same(gateway):
    """Fields out of order, a field twice: what the fast way does not know, protobuf reads."""
    await gateway.connect()
    field = pb.SealedPayload
    raw = gateway.channel.stream_stream("/gridtokenx.gateway.v1.GatewayService/Connect")()
    hello = pb.Hello(device_id=gateway.device, boot_id=1)
    await raw.write(pb.ConnectRequest(hello=hello).SerializeToString())
    await raw.read()
    again = gateway.seal(MAP)
    parts = [
        field(signature=again.signature), field(payload=b"x"), field(previous=again.previous),
        field(payload=again.payload), field(seq=again.seq),
    ]  # fmt: skip
    body = b"".join(part.SerializeToString() for part in parts)
    await raw.write(b"\x12" + _length(body) + body)
    assert pb.ConnectResponse.FromString(await raw.read()).receipt.durable_seq == 1
    # What is no message at all ends its own stream.
    await raw.write(b"\x12\xff\xff")
    assert await raw.read() is grpc.aio.EOF


def _length(body):
    return bytes((len(body) & 0x7F | 0x80, len(body) >> 7))


async def test_a_gateway_that_is_content_to_wait_is_receipted_less_often(cloud, gateway):
    await gateway.connect(receipt_pause_ms=400)
    await gateway.send(gateway.seal(MAP))
    began = time.monotonic()
    await gateway.receipted(1)
    assert time.monotonic() - began < 0.3
    receipts = []
    for _ in range(10):
        await gateway.send(gateway.seal(gateway.readings()))
        await asyncio.sleep(0.01)
    while gateway.seq not in receipts:
        receipts.append((await gateway.expect("receipt")).receipt.durable_seq)
    assert time.monotonic() - began > 0.3
    assert len(receipts) <= 2
    # Half a window does not wait.
    began = time.monotonic()
    for _ in range(UNACKNOWLEDGED_BATCHES_MAX // 2):
        await gateway.send(gateway.seal(gateway.readings()))
    await gateway.receipted(gateway.seq)
    assert time.monotonic() - began < 0.39


async def test_a_heartbeat_is_answered(gateway):
    await gateway.connect()
    await gateway.call.write(pb.ConnectRequest(heartbeat=pb.Heartbeat(now_ns=1)))
    assert (await gateway.expect("heartbeat")).heartbeat.now_ns > 1


async def test_a_sweep_without_values_cannot_be_built():
    assert SweepBatch(1, 1, 1, 1, (), ()).sweeps == 0
