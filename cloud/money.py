"""The bank's part of the command line: what an operator types about money, tokens and stake.

Decides nothing: it turns words into the aggregator's HTTP commands and statements into tables.
Amounts of MONEY and GTX are decimals with at most six places, GT and GC whole Wh, CO2 whole grams.
"""

import argparse
import csv
import io
import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from cloud.commands import ZoneRules
from cloud.config import load_config
from cloud.facts import Statement
from cloud.ledger.privacy import pseudonym
from cloud.naming import SUBJECTS, period_at
from cloud.remote import Operator
from cloud.store.keyring import FileKeys
from cloud.store.statements import statements, zone_rules
from protos.clock import SECOND_NS, SystemClock, slot_at, slot_start_ns
from protos.ids import AccountId, effect_id
from protos.units import BPS

DECIMAL_ASSETS = ("MONEY", "GTX")
MICRO = 1_000_000
SLOT_MAX = 1 << 40
PERIODS_MAX = 1_000
"""How far back pseudonyms are looked for."""


def add_bank_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """account, deposit, transfer, statement and stake."""
    account = _remote(commands, "account", "an account's kind and balances")
    account.add_argument("account", nargs="?", help="default: all kinds and what each may do")
    account.add_argument("--open", metavar="KIND", help="open it first, as such as validator")
    account.add_argument("--zone", default="", help="of an account that is opened")
    account.set_defaults(bank=_account)

    deposit = _remote(commands, "deposit", "money that the provider holds for an account")
    deposit.add_argument("account")
    deposit.add_argument("amount", help="in the zone's currency, such as 12.50")
    deposit.add_argument(
        "--id", required=True, help="makes it happen once, such as a bank reference"
    )
    deposit.set_defaults(bank=_deposit)

    retire = _remote(commands, "retire", "burn banked tokens for energy that their holder took")
    retire.add_argument("account")
    retire.add_argument("amount", help="in Wh")
    retire.add_argument("--id", required=True, help="makes it happen once")
    retire.set_defaults(bank=_retire)

    transfer = _remote(commands, "transfer", "move, reserve, capture or free an asset")
    transfer.add_argument("debit", help="who pays; @provider for money that comes in")
    transfer.add_argument("credit", help="who gets")
    transfer.add_argument("amount")
    transfer.add_argument("--id", required=True, help="makes it happen once")
    transfer.add_argument("--asset", default="MONEY")
    transfer.add_argument("--kind", default="move", choices=("move", "pending", "post", "void"))
    transfer.add_argument("--of", help="the id of the pending transfer to post or void")
    transfer.add_argument(
        "--timeout", type=int, default=0, metavar="SECONDS", help="of a pending one"
    )
    transfer.set_defaults(bank=_transfer)

    statement = commands.add_parser("statement", help="an account's settled slots")
    statement.add_argument("account")
    statement.add_argument("--from", dest="first", help="date, time (UTC) or slot; default: all")
    statement.add_argument("--to", dest="last", help="inclusive")
    statement.add_argument("--format", default="csv", choices=("csv", "json"))
    statement.add_argument("--output", type=Path, help="default: the screen")
    statement.add_argument("--state-dir", type=Path, default=Path(".demo/cloud"))
    statement.add_argument("--config", type=Path, help="where it says that the log has pseudonyms")
    statement.set_defaults(bank=_statement)
    erase = _remote(commands, "erase", "destroy the secret behind an account's pseudonyms")
    erase.add_argument("account")
    erase.add_argument(
        "--ground", required=True, help="stands in the log, such as 'asked 2026-03-01'"
    )
    erase.set_defaults(bank=_erase)
    _add_stake(commands)


def _add_stake(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    stake = _remote(commands, "stake", "supply, validators, bonds and rewards of GTX")
    what = stake.add_subparsers(dest="what", metavar="WHAT")
    stake.set_defaults(bank=_stake)
    supply = what.add_parser("supply", help="let GTX come into being, once")
    supply.add_argument("--inflation-bps", type=int, default=500)
    supply.add_argument("--decay-per-mille", type=int, default=900)
    supply.add_argument("--slash-per-mille", type=int, default=50)
    supply.add_argument("--unbonding", type=int, default=21 * 24 * 3_600, metavar="SECONDS")
    validator = what.add_parser("validator", help="whose cosignatures stand for an account")
    validator.add_argument("account")
    validator.add_argument("key", help="name+hash+base64, as validator-key prints it")
    grant = what.add_parser("grant", help="GTX from a slice of the genesis supply")
    grant.add_argument("slice")
    grant.add_argument("account")
    grant.add_argument("amount")
    grant.add_argument("--id", required=True)
    for name, text in (("bond", "bind GTX to a validator"), ("unbond", "ask for it back")):
        one = what.add_parser(name, help=text)
        one.add_argument("account")
        one.add_argument("validator")
        one.add_argument("amount")
        one.add_argument("--id", required=True)
    slash = what.add_parser("slash", help="burn a validator's bond on evidence")
    slash.add_argument("evidence", type=Path)
    rewards = what.add_parser("rewards", help="share out the validators' fund")
    rewards.add_argument("--asset", default="MONEY", choices=DECIMAL_ASSETS)
    rewards.add_argument("--id", required=True)
    inflate = what.add_parser("inflate", help="make a past year's GTX")
    inflate.add_argument("year", type=int)


def _remote(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text)
    command.add_argument("--url", default="http://127.0.0.1:8080", help="of the aggregator")
    command.add_argument("--state-dir", type=Path, default=Path(".demo/cloud"))
    return command


def amount_of(text: str, asset: str) -> int:
    """A typed amount in the ledger's unit. Raises ValueError that says how to write it."""
    try:
        units = Decimal(text) * (MICRO if asset in DECIMAL_ASSETS else 1)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no amount; write digits such as 12.50") from None
    if not units.is_finite() or units != units.to_integral_value() or units < 0:
        places = "at most six decimals" if asset in DECIMAL_ASSETS else "a whole number"
        raise ValueError(f"{text!r} is no amount of {asset}; write {places}, not negative")
    return int(units)


def transfer_id(text: str) -> str:
    """The ledger's id of a typed one; 32 hex digits are one already."""
    return text if re.fullmatch("[0-9a-f]{32}", text) else effect_id("cli/transfer", text)


def slot_of(text: str | None, default: int) -> int:
    """A slot number, or the slot in which a date or time (UTC) lies. Raises ValueError."""
    if text is None:
        return default
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write 2026-03-01, 2026-03-01T10:15 or a slot"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return slot_at(int(moment.timestamp()) * SECOND_NS)


def _account(options: argparse.Namespace) -> str:
    operator = Operator(options.url, options.state_dir)
    if options.account is None:
        return operator.get("/api/account-kinds")
    if options.open:
        body = {"account": options.account, "kind": options.open, "zone": options.zone}
        operator.post("/api/accounts", body)
    return operator.get(f"/api/accounts/{options.account}")


def _retire(options: argparse.Namespace) -> str:
    body = {
        "retire_id": options.id,
        "account": options.account,
        "energy_wh": amount_of(options.amount, "GT"),
    }
    return _said(options, "/api/retirements", body)


def _deposit(options: argparse.Namespace) -> str:
    body = {
        "deposit_id": options.id,
        "account": options.account,
        "amount_micro": amount_of(options.amount, "MONEY"),
    }
    return _said(options, "/api/deposits", body)


def _transfer(options: argparse.Namespace) -> str:
    one: dict[str, Any] = {
        "id": transfer_id(options.id),
        "debit": options.debit,
        "credit": options.credit,
        "asset": options.asset,
        "amount": amount_of(options.amount, options.asset),
        "kind": options.kind,
        "timeout_s": options.timeout,
    }
    if options.of:
        one["pending_id"] = transfer_id(options.of)
    answer = Operator(options.url, options.state_dir).post("/api/transfers", {"transfers": [one]})
    if answer["refused"]:
        (refused,) = answer["refused"]
        raise ValueError(f"refused: {refused['reason']}: {refused['advice']}")
    return json.dumps(answer)


def _erase(options: argparse.Namespace) -> str:
    body = {"account": options.account, "ground": options.ground}
    return _said(options, "/api/erasures", body)


def _stake(options: argparse.Namespace) -> str:
    match options.what:
        case None:
            return Operator(options.url, options.state_dir).get("/api/stake")
        case "supply":
            return _said(
                options,
                "/api/stake/supply",
                {
                    "inflation_bps": options.inflation_bps,
                    "decay_per_mille": options.decay_per_mille,
                    "slash_per_mille": options.slash_per_mille,
                    "unbonding_s": options.unbonding,
                },
            )
        case "validator":
            body = {"account": options.account, "key": options.key}
            return _said(options, "/api/stake/validators", body)
        case "grant":
            return _said(
                options,
                "/api/stake/grants",
                {
                    "grant_id": options.id,
                    "slice_name": options.slice,
                    "account": options.account,
                    "amount": amount_of(options.amount, "GTX"),
                },
            )
        case "bond" | "unbond":
            return _said(
                options,
                f"/api/stake/{options.what}s",
                {
                    "id": options.id,
                    "account": options.account,
                    "validator": options.validator,
                    "amount": amount_of(options.amount, "GTX"),
                },
            )
        case "slash":
            text = options.evidence.read_text(encoding="utf-8")
            return _said(options, "/api/stake/slashes", {"evidence": text})
        case "rewards":
            body = {"reward_id": options.id, "asset": options.asset}
            return _said(options, "/api/stake/rewards", body)
    return _said(options, "/api/stake/inflation", {"year": options.year})


def _said(options: argparse.Namespace, path: str, body: dict[str, Any]) -> str:
    answer = Operator(options.url, options.state_dir).post(path, body)
    return ", ".join(answer["done"]) or "nothing to do: this came before"


def _statement(options: argparse.Namespace) -> str:
    first, last = slot_of(options.first, 0), slot_of(options.last, SLOT_MAX)
    if first > last:
        raise ValueError(f"--from {options.first} lies after --to {options.last}")
    journal = options.state_dir / "journal.db"
    found = statements(journal, _names(options), first, last)
    rules = zone_rules(journal)
    rows = [_row(position, fact, rules.get(fact.zone, ZoneRules())) for position, fact in found]
    if options.format == "json":
        text = json.dumps({"account": options.account, "statements": rows, "total": _total(rows)})
    else:
        text = _table(rows)
    if options.output is None:
        return text
    options.output.write_text(text + "\n", encoding="utf-8")
    return f"{options.output} written: {len(rows)} statements"


def _names(options: argparse.Namespace) -> list[str]:
    """The account's own name, and those that its secret makes of it in all periods so far."""
    config = load_config(options.config)
    secret = FileKeys(options.state_dir / SUBJECTS).get(options.account)
    if not config.pseudonym_days or secret is None:
        return [options.account]
    now = period_at(SystemClock().now_ns(), config.pseudonym_days)
    account = AccountId(options.account)
    return [account, *(pseudonym(secret, account, now + 1 - n) for n in range(PERIODS_MAX))]


def _row(position: int, fact: Statement, rules: ZoneRules) -> dict[str, Any]:
    """One statement. Energy is the slot as it stood; money and tokens what the revision changed.

    `vat_micro` is the tax contained in what the account paid.
    """
    row: dict[str, Any] = {
        "slot_starts": datetime.fromtimestamp(
            slot_start_ns(fact.slot) // SECOND_NS, UTC
        ).isoformat(),
        "leaf": position,
    }
    row |= {name: getattr(fact, name) for name in Statement.__struct_fields__}
    paid = max(0, -fact.money_micro)
    return row | {"currency": rules.currency, "vat_micro": contained_tax(paid, rules.vat_bps)}


def contained_tax(paid_micro: int, rate_bps: int) -> int:
    """The tax in a price that contains it, halves rounded up: paid * rate / (1 + rate)."""
    whole = BPS + rate_bps
    return (2 * paid_micro * rate_bps + whole) // (2 * whole)


def _total(rows: list[dict[str, Any]]) -> dict[str, int]:
    """What all revisions together changed, and the energy of each slot's last word."""
    newest = {(row["zone"], row["slot"]): row for row in rows}
    total = {
        name: sum(row[name] for row in rows)
        for name in (
            "money_micro",
            "fees_micro",
            "wheeling_micro",
            "vat_micro",
            "minted_wh",
            "burned_wh",
            "banked_wh",
        )
    }
    for name in ("import_wh", "export_wh", "delivered_bought_wh", "delivered_sold_wh"):
        total[name] = sum(row[name] for row in newest.values())
    return total


def _table(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = ["slot_starts", "leaf", *Statement.__struct_fields__, "currency", "vat_micro"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
