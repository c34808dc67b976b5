"""A trade that the zone made and the bank cannot pay for is undone in the zone, once, on the record."""

from cloud.commands import (
    GrantAllowance,
    GrantAllowances,
    PostTransfers,
    ReleaseSlot,
    ReserveTrades,
    VoidTrades,
)
from cloud.facts import Traded, TradesRefused, TradesReserved, TradeVoided
from cloud.flows import follow
from cloud.gate.news import outcome_of
from cloud.ledger.books import PROVIDER
from cloud.ledger.transfers import HOUR_NS, pack
from protos import gateway_pb2 as pb
from protos.messages import Refusal, Side
from tests.ledger.village import SLOT, Village


def withdraw_everything(village, account):
    bank = village.core.bank
    amount = bank.balances(account)["MONEY"]
    record = pack(b"%016d" % 1, bank.account_number(account), bank.account_number(PROVIDER), amount)
    return PostTransfers(village.now_ns // HOUR_NS, record)


def test_money_that_left_between_match_and_reservation_voids_the_trade_in_the_zone():
    village = Village()
    zone = village.core.zones["tiny"]
    empty = village.zone_state()
    traded = village.match(100, 3_000_000)
    room = zone.element_flows(SLOT)
    # Both were in one commit: the withdrawal is applied before what follows from the match.
    village.step(withdraw_everything(village, "acc-1"), follows=False)
    facts = village.run_following()
    refused = next(fact for fact in facts if isinstance(fact, TradesRefused))
    assert refused == TradesRefused("tiny", SLOT, (traded.trade,), (Refusal.INSUFFICIENT_FUNDS,))
    (voided,) = [fact for fact in facts if isinstance(fact, TradeVoided)]
    assert (voided.trade, voided.energy_wh) == (traded.trade, 100)
    assert (voided.buyer_device, voided.seller_device) == (
        traded.buyer_device,
        traded.seller_device,
    )
    after = village.zone_state()
    assert after["purses"] != empty["purses"], "the withdrawal lowered the allowance"
    assert village.reserved() == {"acc-0": 0, "acc-1": 0}
    assert zone.element_flows(SLOT) != room, "the wires are free again"
    assert village.traded_wh() == {}


def test_both_owners_hear_that_their_trade_is_void():
    village = Village()
    village.match(100, 3_000_000)
    village.step(withdraw_everything(village, "acc-1"), follows=False)
    (voided,) = [fact for fact in village.run_following() if isinstance(fact, TradeVoided)]
    told = list(outcome_of(voided))
    assert [device for device, _ in told] == [voided.buyer_device, voided.seller_device]
    assert {outcome.state for _, outcome in told} == {pb.OFFER_STATE_CANCELLED}
    assert {outcome.refused.name for _, outcome in told} == {"INSUFFICIENT_FUNDS"}


def test_a_trade_is_undone_once():
    village = Village()
    traded = village.match(100, 3_000_000)
    void = VoidTrades("tiny", SLOT, (traded.trade,), (int(Refusal.INSUFFICIENT_FUNDS),))
    assert len(village.step(void, follows=False)) == 1
    before = village.zone_state()
    assert village.step(void, follows=False) == []
    assert village.step(VoidTrades("tiny", SLOT, (99,), (42,)), follows=False) == []
    assert village.zone_state() == before


def test_the_room_of_a_void_trade_is_traded_again():
    village = Village()
    first = village.match(100, 3_000_000)
    before = village.zone_state()["markets"]
    void = VoidTrades("tiny", SLOT, (first.trade,), (42,))
    village.step(void, follows=False)
    village.match(100, 3_000_000)
    after = village.zone_state()["markets"]
    assert before["open"][0][1:3] == after["open"][0][1:3], "headroom and net energy are the same"


def test_a_trade_that_was_void_after_its_gate_frees_the_money():
    village = Village()
    traded = village.match(100, 3_000_000)
    village.close_gate()
    village.step(VoidTrades("tiny", SLOT, (traded.trade,), (42,)), follows=False)
    assert village.reserved() == {"acc-0": 0, "acc-1": 0}
    village.step(ReleaseSlot("tiny", SLOT, ("acc-0", "acc-1")), follows=False)
    assert village.reserved() == {"acc-0": 0, "acc-1": 0}


def test_a_slot_that_is_settled_already_refuses_the_trade_and_says_so():
    village = Village()
    traded = village.match(100, 3_000_000)
    (reserve,) = [c for c in village.pending if isinstance(c, ReserveTrades)]
    assert reserve.voidable
    village.pending.clear()
    village.settle_slot_without_it()
    facts = village.step(reserve)
    assert [f.reasons for f in facts if isinstance(f, TradesRefused)] == [(Refusal.GATE_CLOSED,)]
    assert [f.trade for f in facts if isinstance(f, TradeVoided)] == [traded.trade]


def test_an_old_journal_whose_reservations_were_not_voidable_replays_as_it_was():
    village = Village()
    village.match(100, 3_000_000)
    (reserve,) = [c for c in village.pending if isinstance(c, ReserveTrades)]
    village.step(withdraw_everything(village, "acc-1"), follows=False)
    old = ReserveTrades(reserve.zone, reserve.slot, reserve.trades)
    facts = village.core.step(old, village.now_ns)
    assert not any(isinstance(fact, TradesRefused | TradesReserved) for fact in facts)
    assert follow(facts) == []


def test_one_grant_for_many_is_what_many_grants_are():
    one, many = Village(), Village()
    one.step(GrantAllowances("tiny", ("acc-0", "acc-1"), (5, 7)))
    many.step(GrantAllowance("tiny", "acc-0", 5))
    many.step(GrantAllowance("tiny", "acc-1", 7))
    assert one.zone_state() == many.zone_state()


def test_the_match_itself_is_reserved_when_the_money_is_there():
    village = Village()
    traded = village.match(100, 3_000_000, Side.SELL)
    facts = village.run_following()
    (reserved,) = [fact for fact in facts if isinstance(fact, TradesReserved)]
    assert [terms.trade for terms in reserved.trades] == [traded.trade]
    assert isinstance(traded, Traded)
