"""What an account is for: the assets each kind may hold, how far each may fall, and what it may do.

Data alone; `cloud.ledger.accounts` holds every account to it.
"""

from enum import StrEnum

from cloud.ledger.columns import CLAIM, CO2, GC, GT, GTX, MONEY


class Kind(StrEnum):
    """What an account is for; it fixes which assets it may hold and how far each may fall."""

    PROSUMER = "prosumer"
    CONSUMER = "consumer"
    UTILITY = "utility"
    GRID = "grid"
    FUND = "fund"
    PROVIDER = "provider"
    CLEARING = "clearing"
    MINT = "mint"
    FURNACE = "furnace"
    ISSUER = "issuer"
    TREASURY = "treasury"
    VALIDATOR = "validator"
    INSURANCE = "insurance"
    VENUE = "venue"
    ROUNDING = "rounding"


TRADING = (Kind.PROSUMER, Kind.CONSUMER)
"""Kinds that may trade energy and have meters."""

OPENABLE = (*TRADING, Kind.VALIDATOR)
"""Kinds that anybody may be given; the others belong to the bank."""

TRANSFERABLE = (*OPENABLE, Kind.PROVIDER, Kind.ISSUER)
"""Kinds between which transfers in bulk may run; all others move by their own rules alone."""

Floors = dict[str, int | None]
_CUSTOMER: Floors = {GT: 0, MONEY: 0, GTX: 0, GC: 0, CO2: 0, CLAIM: None}
_FUND: Floors = {MONEY: 0, GTX: 0}
FLOORS: dict[Kind, Floors] = {
    Kind.PROSUMER: _CUSTOMER,
    Kind.CONSUMER: _CUSTOMER,
    # Under zero in GT it stands in for tokens that a correction took back from a home without them.
    Kind.UTILITY: {GT: None, MONEY: None, CLAIM: 0},
    Kind.GRID: {MONEY: 0},
    Kind.FUND: _FUND,
    Kind.TREASURY: _FUND,
    Kind.INSURANCE: _FUND,
    Kind.VALIDATOR: {MONEY: 0, GTX: 0},
    Kind.VENUE: {MONEY: None},
    Kind.ROUNDING: {MONEY: None},
    Kind.PROVIDER: {MONEY: None},
    Kind.CLEARING: {GT: 0, MONEY: 0},
    Kind.MINT: {GT: None, GTX: None},
    Kind.FURNACE: {GT: 0, GTX: 0},
    Kind.ISSUER: {GC: None, CO2: None},
}
"""The lowest spendable balance by asset; None is no floor, an absent asset cannot be held."""

FUND_KINDS = {"validators": Kind.FUND, "treasury": Kind.TREASURY, "insurance": Kind.INSURANCE}
"""What the takers of the trading fee are."""

PURPOSE: dict[Kind, str] = {
    Kind.PROSUMER: "trades energy both ways, is metered and settled, holds every asset",
    Kind.CONSUMER: "as a prosumer, for a home that only takes energy",
    Kind.UTILITY: "supplies and takes what was not delivered, advances what a correction takes back",
    Kind.GRID: "gets the grid operator's fees and the congestion rent",
    Kind.FUND: "collects the validators' part of fees and bound stake",
    Kind.TREASURY: "gets its share of the trading fee",
    Kind.INSURANCE: "gets its share of the trading fee",
    Kind.VALIDATOR: "an organisation that validates: holds stake, gets rewards, does not trade energy",
    Kind.VENUE: "a wholesale market's payments on their way to the homes",
    Kind.ROUNDING: "bears the micro-units by which rounding asks for more than a margin holds",
    Kind.PROVIDER: "money comes in and goes out here; its debt is what it holds for all others",
    Kind.CLEARING: "what a settlement run moves, empty before and after each",
    Kind.MINT: "tokens come from here; its debt is all that was ever made",
    Kind.FURNACE: "burned tokens end here",
    Kind.ISSUER: "certificates and grams of carbon come from here and return when retired",
}
"""For people: what an account of the kind is there for."""


def kind_record(kind: Kind) -> dict[str, object]:
    """A kind for whoever asks: its purpose, its floors by asset (None for none), what it may do."""
    return {
        "kind": kind.value,
        "purpose": PURPOSE[kind],
        "floors": dict(FLOORS[kind]),
        "may_trade": kind in TRADING,
        "may_transfer": kind in TRANSFERABLE,
        "is_openable": kind in OPENABLE,
    }
