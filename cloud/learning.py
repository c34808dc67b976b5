"""The process aside that learns what stored energy is worth, and tells it for an hour to come.

    python -m cloud.learning learn --directory STATE --venue caiso ...   trains, tries, writes a model
    python -m cloud.learning tell --directory STATE --venue caiso ...    one hour's table from it

Reads the price store as it stands and writes nothing but the model's file. The last line on standard
output is one JSON object; an answer that is not one is a sentence on standard error and a status
above 2, so that a pump can tell them apart. Runs at low priority: the aggregator goes first.
"""

import argparse
import fcntl
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np

from cloud.feeds.intervals import HOUR_NS, Interval
from cloud.feeds.prices import PUBLICATIONS, published_ns
from cloud.store.durable import write_durably
from cloud.store.prices import PriceStore, Series
from cloud.vpp.bids import OFFERED, Product
from cloud.vpp.curve import WEAR_MICRO_PER_MWH
from cloud.vpp.desk import BID_WINDOW_NS
from cloud.vpp.history import DAY_H, History, known_at_gates
from cloud.vpp.learned import DAYS_MAX, NoLightgbm, TooShort, ValueModel, learn, loaded
from cloud.vpp.optimum import HOUR_S, Plant
from cloud.vpp.stochastic import PRICE_MAX_MICRO
from cloud.vpp.trial import TRIAL_DAYS, TRIED_DAYS_MIN, Trial, known_days, tried
from cloud.vpp.valued import SPREADS, Told
from protos.clock import MINUTE_NS, SECOND_NS, clock_from_environment

TELL_AHEAD_NS = 15 * MINUTE_NS
"""An hour's worth is told so long before its bid is due."""

NICE = 10
PRICES_FILE = "prices.db"
RECENT_DAYS = 21
"""What is known at a gate reaches back no further than a fortnight."""

TOO_SHORT, NO_LIGHTGBM, NO_MODEL, NO_ANSWER, BUSY = range(3, 8)
"""The process's status where there is nothing to use."""

MICRO = 1_000_000


class UnusableModelError(Exception):
    """This file is no model that may be asked; the message says why."""


class NoAnswerError(Exception):
    """The model cannot speak of this hour; the message says why."""


class BusyError(OSError):
    """Another process learns for the same node."""


class Learned(msgspec.Struct, frozen=True):
    """What came of learning. Shares are of what perfect foresight earned over the trial's weeks."""

    days: int
    learned_share_per_mille: int
    plain_share_per_mille: int
    kept: bool


class Table(msgspec.Struct, frozen=True):
    """The worth of energy in one hour, as `ValueEnergy` takes it."""

    prices_micro: tuple[int, ...]
    worth_micro: tuple[tuple[int, ...], ...]


class Head(msgspec.Struct, frozen=True):
    """The first line of a model's file: what a pump wants to know without the package."""

    made_ns: int
    lead_s: int
    energy_wh: int
    discharge_w: int
    days: int
    learned_share_per_mille: int
    plain_share_per_mille: int
    sha256: str


def lead_ns(product: Product) -> int:
    """How long before an hour its worth is told, and so what may be known of prices by then."""
    return product.gate_lead_ns + BID_WINDOW_NS + TELL_AHEAD_NS


def model_path(directory: Path, product: Product) -> Path:
    """Two lines of JSON: the head, and the model."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"worth-{product.venue}-{product.node}")
    return directory / f"{name}.jsonl"


def read_head(path: Path) -> Head:
    """Raises FileNotFoundError, UnusableModelError."""
    with path.open("rb") as file:
        return _head(file.readline(4_096))


def read_model(path: Path, product: Product) -> ValueModel:
    """Raises UnusableModelError, NoLightgbm."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        raise UnusableModelError(f"no model of {product.venue} has been learned") from None
    first, _, body = octets.partition(b"\n")
    head = _head(first)
    if sha256(body).hexdigest() != head.sha256:
        raise UnusableModelError("its content is damaged")
    try:
        model = loaded(body.decode())
    except ValueError as error:
        raise UnusableModelError(str(error)) from error
    if model.lead_s * SECOND_NS != lead_ns(product) or model.step_s * SECOND_NS != product.step_ns:
        raise UnusableModelError("it was learned for another gate or step")
    return model


def _head(line: bytes) -> Head:
    try:
        return msgspec.json.decode(line, type=Head)
    except msgspec.DecodeError as error:
        raise UnusableModelError(f"its first line is not a model's: {error}") from None


def history_of(store: PriceStore, product: Product, now_ns: int, days_max: int) -> History:
    """What the store holds of a product's prices: real time that is over, day ahead as it stands.

    From a midnight on, `days_max` days back at most; NaN where nothing is held. Raises TooShort where
    there is nothing at all.
    """
    day_ns = DAY_H * HOUR_NS
    since_ns = (now_ns - days_max * day_ns) // day_ns * day_ns
    step_ns = product.step_ns
    series = Series(product.venue, PUBLICATIONS[product.market], product.node)
    held = [
        known
        for known in store.as_of(series, Interval(since_ns, now_ns), now_ns)
        if known.end_ns - known.start_ns == step_ns
        and known.end_ns <= now_ns
        and known.start_ns % step_ns == 0
    ]
    if not held:
        raise TooShort(
            f"no {product.market} prices of {product.node} in the store: bring some with gridtokenx"
            " prices"
        )
    begins_ns = held[0].start_ns // day_ns * day_ns
    real = np.full((now_ns - begins_ns) // step_ns, np.nan)
    for known in held:
        real[(known.start_ns - begins_ns) // step_ns] = known.value_micro / MICRO
    hours = (now_ns - begins_ns) // HOUR_NS + 2 * DAY_H
    ahead = np.full(hours, np.nan)
    span = Interval(begins_ns, begins_ns + hours * HOUR_NS)
    for known in store.as_of(Series(product.venue, product.ahead, product.node), span, now_ns):
        if known.end_ns - known.start_ns == HOUR_NS:
            ahead[(known.start_ns - begins_ns) // HOUR_NS] = known.value_micro / MICRO
    public = [published_ns(product.venue, begins_ns + hour * HOUR_NS) for hour in range(hours)]
    public_s = np.array(public, dtype=np.int64) // SECOND_NS
    return History(step_ns // SECOND_NS, begins_ns // SECOND_NS, real, ahead, public_s)


def learn_to_file(directory: Path, product: Product, plant: Plant, now_ns: int) -> Learned:
    """A model for the plant if its trial is passed; else none, and an old one is removed.

    Raises TooShort, NoLightgbm, BusyError, FileNotFoundError where there is no price store.
    """
    history = _stored(directory, product, now_ns, DAYS_MAX)
    lead_s = lead_ns(product) // SECOND_NS
    if known_days(history) < TRIED_DAYS_MIN:
        raise TooShort(
            f"{known_days(history)} days of {product.venue}'s prices in the store; the worth of"
            f" energy is learned from {TRIED_DAYS_MIN} on: bring more with gridtokenx prices"
        )
    with (directory / "learning.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another process is learning in this directory") from None
        trial = tried(plant, history, lead_s)
        path = model_path(directory, product)
        if trial.is_passed:
            _write(path, learn(plant, history, lead_s), trial, now_ns, known_days(history))
        else:
            path.unlink(missing_ok=True)
    shares = trial.learned_share_per_mille, trial.plain_share_per_mille
    return Learned(known_days(history), *shares, trial.is_passed)


def _write(path: Path, model: ValueModel, trial: Trial, now_ns: int, days: int) -> None:
    body = model.dumped().encode()
    head = Head(
        now_ns,
        model.lead_s,
        model.plant.energy_wh,
        model.plant.discharge_w,
        days,
        trial.learned_share_per_mille,
        trial.plain_share_per_mille,
        sha256(body).hexdigest(),
    )
    write_durably(path, msgspec.json.encode(head) + b"\n" + body, 0o600)


def table_of(directory: Path, product: Product, starts_ns: int, now_ns: int) -> Table:
    """The worth of energy in one hour. Raises UnusableModelError, NoAnswerError, TooShort,
    NoLightgbm, FileNotFoundError.
    """
    model = read_model(model_path(directory, product), product)
    history = _stored(directory, product, now_ns, RECENT_DAYS)
    hour = starts_ns // HOUR_NS - history.starts_s // HOUR_S
    known = known_at_gates(history, np.array([hour]), model.lead_s)
    if not np.isfinite(known.reference[0]):
        raise NoAnswerError("no price of this hour is expected yet")
    spreads = [
        spread
        for spread in SPREADS
        if abs(known.reference[0] + spread * known.unit[0]) * MICRO <= PRICE_MAX_MICRO - 1
    ]
    prices, worth = model.table(history, hour, spreads)
    told = Told(tuple(prices.tolist()), tuple(map(tuple, worth.tolist())))
    if not told.is_sound:
        raise NoAnswerError("the prices of this hour are beyond what the desk reckons with")
    return Table(told.prices_micro, told.worth_micro)


def _stored(directory: Path, product: Product, now_ns: int, days_max: int) -> History:
    store = PriceStore(directory / PRICES_FILE, read_only=True)
    try:
        return history_of(store, product, now_ns, days_max)
    finally:
        store.close()


def product_named(venue: str, node: str = "") -> Product:
    """The desk's product at a venue, at its own node or another. Raises ValueError."""
    found = next((one for one in OFFERED if one.venue == venue), None)
    if found is None:
        known = ", ".join(one.venue for one in OFFERED)
        raise ValueError(f"the desk bids at no venue {venue!r}; known: {known}")
    if node in {"", found.node}:
        return found
    return Product(venue, node, found.market, found.ahead, found.gate_lead_ns, found.step_ns)


def said(learned: Learned) -> str:
    """A trial's outcome in one sentence."""
    return (
        f"over the last {TRIAL_DAYS} days the learned worth of energy earned"
        f" {learned.learned_share_per_mille} per mille of foresight, the plain programme"
        f" {learned.plain_share_per_mille}: it is {'used' if learned.kept else 'not used'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with suppress(OSError):  # where the machine forbids it, the learning has no lower priority
        os.nice(NICE)
    try:
        product = product_named(options.venue, options.node)
        now_ns = options.now_ns or clock_from_environment().now_ns()
        answer: Table | Learned
        if options.task == "tell":
            answer = table_of(options.directory, product, options.starts_ns, now_ns)
        else:
            plant = Plant(
                options.energy_wh, options.charge_w, options.discharge_w, options.wear_micro_per_mwh
            )
            answer = learn_to_file(options.directory, product, plant, now_ns)
    except _REFUSALS as error:
        print(error, file=sys.stderr)
        return next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    print(msgspec.json.encode(answer).decode())
    return 0


_STATUS: dict[type[Exception], int] = {
    TooShort: TOO_SHORT,
    NoLightgbm: NO_LIGHTGBM,
    UnusableModelError: NO_MODEL,
    FileNotFoundError: NO_ANSWER,
    NoAnswerError: NO_ANSWER,
    BusyError: BUSY,
}
_REFUSALS = tuple(_STATUS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloud.learning")
    tasks = parser.add_subparsers(dest="task", required=True)
    for name in ("learn", "tell"):
        task = tasks.add_parser(name)
        task.add_argument("--directory", type=Path, required=True)
        task.add_argument("--venue", required=True)
        task.add_argument("--node", default="")
        task.add_argument("--now-ns", type=int, default=0)
    tasks.choices["tell"].add_argument("--starts-ns", type=int, required=True)
    learning = tasks.choices["learn"]
    for key in ("energy-wh", "charge-w", "discharge-w"):
        learning.add_argument(f"--{key}", type=int, required=True)
    learning.add_argument("--wear-micro-per-mwh", type=int, default=WEAR_MICRO_PER_MWH)
    return parser


if __name__ == "__main__":
    sys.exit(main())
