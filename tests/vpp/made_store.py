"""A price store with days of made prices, taken in as publications are."""

import numpy as np

from cloud.feeds.intervals import HOUR_NS, Interval
from cloud.feeds.prices import PUBLICATIONS
from cloud.feeds.rows import Row
from cloud.store.prices import PriceStore, Series
from cloud.venues.years import HARD_PLACES, make_prices
from cloud.vpp.bids import OFFERED

CAISO = OFFERED[0]
DAY_NS = 24 * HOUR_NS
MIDNIGHT = 1_784_073_600 * 1_000_000_000
"""2026-07-15T00:00Z"""

FINE_PER_HOUR = 12


def fill(
    directory,
    days,
    ends_ns=MIDNIGHT + DAY_NS,
    place=HARD_PLACES[1],
    product=CAISO,
    seed=7,
    come_true=False,
):
    """`days` days until `ends_ns`, a midnight; the day-ahead prices of one more. Returns the file.

    `come_true`: real time is what the day ahead said, so that nothing is left to learn.
    """
    prices = make_prices(place, days + 1, seed)
    begins_ns = ends_ns - days * DAY_NS
    per_step = FINE_PER_HOUR * product.step_ns // HOUR_NS
    real = prices.real[:days].reshape(-1, per_step).mean(axis=1)
    if come_true:
        real = np.repeat(prices.ahead[:days].reshape(-1), HOUR_NS // product.step_ns)
    path = directory / "prices.db"
    store = PriceStore(path)
    for market, values, step_ns in (
        (PUBLICATIONS[product.market], np.rint(real), product.step_ns),
        (product.ahead, prices.ahead.reshape(-1), HOUR_NS),
    ):
        rows = [
            Row(
                product.venue,
                "made",
                market,
                product.node,
                item,
                start_ns,
                start_ns + step_ns,
                value,
            )
            for step, value in enumerate(values.astype(int).tolist())
            for start_ns in (begins_ns + step * step_ns,)
            for item in ("LMP", "MCE")
        ]
        span = Interval(rows[0].start_ns, rows[-1].end_ns)
        series = Series(product.venue, market, product.node)
        store.take(series, rows, span, step_ns, f"made {market}".encode(), begins_ns)
    store.close()
    return path
