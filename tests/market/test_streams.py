"""Envelopes: sequence, chain, and content that may not be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.commands import AdmitGateway, AppendSealed, ExpelGateway
from cloud.facts import BatchAccepted, BatchRefused, SlotMetered, Telemetry
from cloud.market.streams import MAPS_KEPT_MAX
from protos.clock import MINUTE_NS, SECOND_NS, SLOT_NS
from protos.codec import encode_payload
from protos.limits import CLOCK_AHEAD_NS_MAX, READING_AGE_NS_MAX
from protos.messages import (
    Cancel,
    ClockQuality,
    LeaseReport,
    LeaseReports,
    LeaseState,
    Offer,
    OfferBatch,
    Refusal,
    RegisterMap,
    Side,
    SweepBatch,
)
from protos.seal import GENESIS
from tests.market.scene import (
    METER_MAP,
    SLOT,
    SOLAR_MAP,
    START_NS,
    Chain,
    Scene,
    device,
    ms,
    of,
)

MAP = encode_payload(METER_MAP)
ME = device("home-2")


def reasons(facts: list[object]) -> list[int]:
    return [fact.reason for fact in of(facts, BatchRefused)]


def test_the_next_envelope_is_accepted_and_becomes_the_end_of_the_chain(scene: Scene) -> None:
    (fact,) = scene.send("home-2", METER_MAP)
    chain = scene.chains["home-2"]
    assert fact == BatchAccepted("north", ME, 2, chain.previous, 0, 0)
    assert scene.zone.durable(ME) == (2, chain.previous)


def test_a_gateway_that_was_never_admitted_is_unknown_and_leaves_no_trace(scene: Scene) -> None:
    scene.advance()
    before = scene.zone.state()
    stranger = Chain(device("stranger"))
    assert reasons(scene.apply(stranger.seal(MAP))) == [Refusal.UNKNOWN_DEVICE]
    assert scene.zone.durable(stranger.device) == (0, GENESIS)
    assert not scene.zone.knows(stranger.device)
    assert scene.zone.state() == before


def test_an_expelled_gateway_is_refused(scene: Scene) -> None:
    assert scene.zone.knows(ME)
    scene.apply(ExpelGateway("north", ME))
    assert reasons(scene.send("home-2", METER_MAP)) == [Refusal.REVOKED_DEVICE]
    assert not scene.zone.knows(ME)


def test_a_replayed_batch_changes_nothing(scene: Scene) -> None:
    chain = scene.chains["home-2"]
    first = chain.seal(MAP)
    second = chain.seal(MAP)
    scene.apply(first)
    scene.apply(second)
    before = scene.zone.state()
    assert reasons(scene.apply(second)) == [Refusal.REPLAYED]
    assert reasons(scene.apply(first)) == [Refusal.REPLAYED]
    assert scene.zone.state() == before


def test_a_gap_is_refused_until_what_is_missing_comes(scene: Scene) -> None:
    chain = scene.chains["home-2"]
    lost, late = chain.seal(MAP), chain.seal(MAP)
    assert reasons(scene.apply(late)) == [Refusal.SEQUENCE_GAP]
    assert scene.zone.durable(ME)[0] == 1
    assert reasons(scene.apply(lost) + scene.apply(late)) == []
    assert scene.zone.durable(ME)[0] == 3


def test_another_past_under_the_next_number_is_a_fork(scene: Scene) -> None:
    chain = scene.chains["home-2"]
    forged = AppendSealed("north", ME, chain.seq + 1, bytes(32), MAP, bytes(64))
    assert reasons(scene.apply(forged)) == [Refusal.FORKED_CHAIN]
    assert scene.zone.durable(ME)[0] == 1
    assert reasons(scene.send("home-2", METER_MAP)) == []


def test_another_content_under_the_newest_number_is_a_fork(scene: Scene) -> None:
    chain = scene.chains["home-2"]
    previous = chain.previous
    scene.send("home-2", METER_MAP)
    other = AppendSealed("north", ME, 2, previous, encode_payload(SOLAR_MAP), bytes(64))
    assert reasons(scene.apply(other)) == [Refusal.FORKED_CHAIN]


def test_another_signature_over_the_same_bytes_is_a_replay_and_no_fork(scene: Scene) -> None:
    previous = scene.chains["home-2"].previous
    scene.send("home-2", METER_MAP)
    again = AppendSealed("north", ME, 2, previous, MAP, b"\x01" * 64)
    assert reasons(scene.apply(again)) == [Refusal.REPLAYED]


@pytest.mark.parametrize("payload", [b"\xff", b"", b"\x00" * 70_000, MAP[:-3]])
def test_a_malformed_payload_is_evidence_and_does_not_wedge_the_outbox(
    scene: Scene, payload: bytes
) -> None:
    chain = scene.chains["home-2"]
    assert reasons(scene.apply(chain.seal(payload))) == [Refusal.MALFORMED]
    assert scene.zone.durable(ME) == (2, chain.previous)
    assert reasons(scene.send("home-2", METER_MAP)) == []


def test_readings_before_their_map_are_refused_but_the_sequence_advances(scene: Scene) -> None:
    facts = scene.read("home-2", (ms(SLOT, 1), 1, 1), register_map=SOLAR_MAP)
    assert reasons(facts) == [Refusal.UNKNOWN_MAP]
    assert of(facts, BatchAccepted) == []
    scene.send("home-2", SOLAR_MAP)
    assert reasons(scene.read("home-2", (ms(SLOT, 1), 1, 1), register_map=SOLAR_MAP)) == []


def test_readings_of_another_shape_than_their_map_are_malformed(scene: Scene) -> None:
    wider = RegisterMap(1, SOLAR_MAP.devices, SOLAR_MAP.registers)
    facts = scene.read("home-2", (ms(SLOT, 1), 1, 1), register_map=wider)
    assert reasons(facts) == [Refusal.MALFORMED]


def test_only_so_many_maps_are_remembered(scene: Scene) -> None:
    for map_id in range(2, MAPS_KEPT_MAX + 2):
        scene.send("home-2", RegisterMap(map_id, METER_MAP.devices, METER_MAP.registers))
    assert reasons(scene.read("home-2", (ms(SLOT, 1), 1, 1))) == [Refusal.UNKNOWN_MAP]


def test_readings_from_the_future_are_refused_from_the_bound_on(scene: Scene) -> None:
    limit_ms = (scene.at_ns + CLOCK_AHEAD_NS_MAX) // 1_000_000
    assert reasons(scene.read("home-2", (limit_ms, 1, 1))) == []
    assert reasons(scene.read("home-2", (limit_ms + 10, 1, 1))) == [Refusal.FUTURE_DATED]
    assert scene.zone.durable(ME)[0] == 3


def test_readings_that_are_too_old_are_refused_from_the_bound_on(scene: Scene) -> None:
    limit_ms = (scene.at_ns - READING_AGE_NS_MAX) // 1_000_000
    assert reasons(scene.read("home-2", (limit_ms - 10, 1, 1))) == [Refusal.TOO_OLD]
    assert reasons(scene.read("home-2", (limit_ms, 1, 1))) == []


def test_a_batch_is_answered_with_the_homes_newest_power(scene: Scene) -> None:
    facts = scene.read("home-2", (ms(SLOT, 10), 1, 1), (ms(SLOT, 20), 2, 1), power_w=-700)
    assert of(facts, BatchAccepted)[0].readings == 6
    assert of(facts, Telemetry) == [
        Telemetry("north", ME, "acc-home-2", ms(SLOT, 20) * 1_000_000, -700, 0, 0, 0, 0, 0, 0, 0)
    ]


def test_backfill_does_not_pose_as_the_present(scene: Scene) -> None:
    scene.read("home-2", (ms(SLOT, 20), 2, 1), power_w=-700)
    assert of(scene.read("home-2", (ms(SLOT, 10), 1, 1), power_w=5), Telemetry) == []


def test_a_clock_that_is_set_back_neither_reopens_gates_nor_loses_readings(scene: Scene) -> None:
    scene.advance(START_NS + SLOT_NS)
    open_before = scene.zone.open_slots(scene.at_ns)
    scene.at_ns -= 10 * MINUTE_NS
    assert scene.zone.open_slots(scene.at_ns) == open_before
    assert reasons(scene.read("home-2", (ms(SLOT, 900), 2, 1))) == []


def test_a_gateways_clock_that_jumps_back_cannot_take_back_a_reading(scene: Scene) -> None:
    scene.at_ns = START_NS + SLOT_NS + 60 * SECOND_NS
    scene.read(
        "home-2", (ms(SLOT, 0), 1_000, 0), (ms(SLOT, 850), 1_300, 0), (ms(SLOT, 910), 1_330, 0)
    )
    scene.read("home-2", (ms(SLOT, 300), 5_000, 0))
    for name in ("home-3", "home-4", "home-5"):
        scene.read(name, (ms(SLOT, 0), 0, 0), (ms(SLOT, 905), 0, 0))
    (fact,) = of(scene.advance(), SlotMetered)
    assert fact.meters[0].import_wh == 325
    assert not fact.meters[0].estimated


def test_after_a_wrong_clock_ahead_was_put_right_readings_count_again(scene: Scene) -> None:
    right_ns = scene.at_ns
    scene.advance(right_ns + 90 * 96 * SLOT_NS)
    scene.at_ns = right_ns
    assert reasons(scene.read("home-2", (ms(SLOT, 50), 1, 1))) == []
    assert scene.zone.open_slots(right_ns).start > SLOT + 90 * 96


def test_falling_and_leaping_counters_are_counted_as_suspect(scene: Scene) -> None:
    scene.read(
        "home-2", (ms(SLOT, 1), 1_000, 50), (ms(SLOT, 11), 900, 50), (ms(SLOT, 21), 1_001, 50)
    )
    scene.read("home-2", (ms(SLOT, 31), 9_000_000, 40))
    assert scene.zone.suspect_values(ME) == 3
    assert scene.zone.suspect_values(device("nobody")) == 0


def test_readings_too_old_to_settle_are_left_out_of_a_fresh_batch(scene: Scene) -> None:
    old = [(ms(SLOT - 60 * 96 + n), 5_000 - n, 0) for n in range(20)]
    assert reasons(scene.read("home-2", *old, (ms(SLOT, 1), 1_000, 0))) == []
    assert scene.zone.suspect_values(ME) == 0
    assert scene.zone._gateways[ME].home.meter.changed == (SLOT, SLOT)


@given(st.binary(max_size=300), st.integers(0, 3), st.data())
def test_no_payload_stops_the_machine(noise: bytes, kind: int, data: st.DataObject) -> None:
    scene = Scene()
    scene.open()
    scene.admit("home-2", 2)
    valid = encode_payload(
        [
            SOLAR_MAP,
            OfferBatch((Offer(1, SLOT + 2, Side.SELL, 10, 3_000_000),), (Cancel(3),)),
            LeaseReports((LeaseReport("lease", LeaseState.ACTIVE, 1, 1, 1),)),
            SweepBatch(1, 1, 1, ClockQuality.UNKNOWN, ((ms(SLOT, 5),),), ((1,), (2,), (3,))),
        ][kind]
    )
    cut = data.draw(st.integers(0, len(valid)))
    for payload in (noise, valid[:cut] + noise, valid[:cut] + noise[:1] + valid[cut + 1 :]):
        facts = scene.apply(scene.chains["home-2"].seal(payload))
        assert len(of(facts, BatchAccepted)) + len(of(facts, BatchRefused)) == 1
    assert scene.zone.durable(ME)[0] == 4
    assert scene.replayed() == scene.zone.state()


def test_a_sequence_that_was_never_used_is_no_fork(scene: Scene) -> None:
    scene.apply(AdmitGateway("north", device("new"), "acc", 2))
    for seq in (0, -1):
        command = AppendSealed("north", device("new"), seq, GENESIS, MAP, bytes(64))
        assert reasons(scene.apply(command)) == [Refusal.REPLAYED]


def test_lease_reports_are_passed_on(scene: Scene) -> None:
    report = LeaseReport("lease", LeaseState.ACTIVE, scene.at_ns, 1_000, 990)
    accepted, fact = scene.send("home-2", LeaseReports((report,)))
    assert isinstance(accepted, BatchAccepted)
    assert (fact.device, fact.lease_id, fact.state) == (ME, "lease", LeaseState.ACTIVE)
    assert (fact.at_ns, fact.applied_w, fact.measured_w) == (scene.at_ns, 1_000, 990)


def test_an_empty_offer_batch_is_accepted(scene: Scene) -> None:
    assert len(scene.send("home-2", OfferBatch())) == 1


def test_a_gateway_behind_a_foreign_node_keeps_to_its_own_chain(scene: Scene) -> None:
    chain = scene.chains["home-3"]
    stolen = scene.chains["home-2"].seal(MAP)
    replay = AppendSealed("north", chain.device, stolen.seq, stolen.previous, MAP, bytes(64))
    assert reasons(scene.apply(replay)) == [Refusal.FORKED_CHAIN]
