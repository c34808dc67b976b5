"""An operator's past of prices: recorded publications into the store, and learning from them by hand.

`prices` takes files as a venue publishes them; taking one again changes nothing. `learn` does what
the aggregator does once a day, and shows what came of it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.store.prices import PriceStore


def add_history_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prices = commands.add_parser("prices", help="take recorded price publications into the store")
    prices.add_argument("--directory", type=Path, required=True, help="the aggregator's state_dir")
    prices.add_argument("--source", required=True, help="whose format it is: caiso, pjm")
    prices.add_argument("files", nargs="+", type=Path, metavar="FILE")
    prices.set_defaults(run=_prices)

    learn = commands.add_parser("learn", help="learn from past prices what stored energy is worth")
    learn.add_argument("--directory", type=Path, required=True, help="the aggregator's state_dir")
    learn.add_argument("--venue", required=True, help="caiso, pjm")
    learn.add_argument("--node", default="", help="default: where the desk trades")
    learn.add_argument("--energy-wh", type=int, default=12_600, help="of storage; with the power")
    learn.add_argument("--power-w", type=int, default=8_000, help="it says how many hours it lasts")
    learn.add_argument("--json", action="store_true")
    learn.set_defaults(run=_learn)


def _prices(options: argparse.Namespace) -> int:
    for line in take_files(options.directory, options.source, options.files):
        print(line)
    return 0


def take_files(directory: Path, source: str, files: Sequence[Path]) -> list[str]:
    """Each file's prices into the store of `directory`, and one line on each series of it.

    Raises ValueError with the file's name where it is no such publication; the files before it are
    then stored.
    """
    from cloud.feeds.prices import PARSERS
    from cloud.learning import PRICES_FILE
    from cloud.store.prices import PriceStore
    from protos.clock import clock_from_environment

    if source not in PARSERS:
        raise ValueError(f"no prices of {source!r} can be read; known: {', '.join(PARSERS)}")
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} does not exist; name the aggregator's state_dir")
    now_ns = clock_from_environment().now_ns()
    store = PriceStore(directory / PRICES_FILE)
    try:
        return [line for file in files for line in _take(store, source, file, now_ns)]
    finally:
        store.close()


def _take(store: "PriceStore", source: str, file: Path, now_ns: int) -> list[str]:
    from cloud.feeds.intervals import Interval, trade_date, trade_day
    from cloud.feeds.prices import PARSERS, PUBLISHED
    from cloud.feeds.quality import TOTAL
    from cloud.feeds.rows import FeedError
    from cloud.store.prices import Series

    body = file.read_bytes()
    zone, _ = PUBLISHED[source]
    lines = []
    try:
        rows = PARSERS[source](body).rows
        series = sorted({(row.market, row.place) for row in rows if row.item == TOTAL})
        if not series:
            raise ValueError(f"{file}: no prices (item {TOTAL}) are in it")
        for market, place in series:
            mine = [row for row in rows if (row.market, row.place) == (market, place)]
            prices = [row for row in mine if row.item == TOTAL]
            days = [trade_date(row.start_ns, zone) for row in prices]
            span = Interval(trade_day(min(days), zone).start_ns, trade_day(max(days), zone).end_ns)
            step_ns = prices[0].end_ns - prices[0].start_ns
            got = store.take(Series(source, market, place), mine, span, step_ns, body, now_ns)
            lines.append(
                f"{file.name}: {source} {market} {place}, {min(days)} to {max(days)}:"
                f" {got.received} of {got.expected} intervals,"
                f" {got.fresh} values new, {got.corrected} corrected"
            )
    except FeedError as error:
        raise ValueError(f"{file}: {error}") from error
    return lines


def _learn(options: argparse.Namespace) -> int:
    from cloud.learning import learn_to_file, model_path, product_named, said
    from cloud.vpp.curve import WEAR_MICRO_PER_MWH
    from cloud.vpp.learned import NoLightgbm
    from cloud.vpp.optimum import Plant
    from protos.clock import clock_from_environment

    if options.energy_wh <= 0 or options.power_w <= 0:
        raise ValueError("--energy-wh and --power-w: write amounts above 0")
    product = product_named(options.venue, options.node)
    plant = Plant(options.energy_wh, options.power_w, options.power_w, WEAR_MICRO_PER_MWH)
    now_ns = clock_from_environment().now_ns()
    try:
        learned = learn_to_file(options.directory, product, plant, now_ns)
    except NoLightgbm as error:
        print(f"gridtokenx: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({name: getattr(learned, name) for name in learned.__struct_fields__}))
    else:
        print(f"{learned.days} days of prices at {product.node}; {said(learned)}")
        if learned.kept:
            print(f"{model_path(options.directory, product)} written; the aggregator asks it")
    return 0 if learned.kept else 1
