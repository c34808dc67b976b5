"""The run in figures: one JSON object for programs, Prometheus text for monitors."""

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily

from cloud.store.views import Views
from cloud.writer import Writer
from protos.clock import SECOND_NS, Clock


def summary(writer: Writer, views: Views) -> dict[str, Any]:
    """What happened since the journal began. Everything is counted from facts."""
    totals = views.totals
    newest = views.blocks[-1] if views.blocks else None
    return {
        "readings": {"accepted": totals.readings},
        "batches": totals.batches,
        "durable": {row.device: row.seq for row in views.gateways.values()},
        "offers": totals.offers,
        "trades": totals.trades,
        "refused": dict(sorted(totals.refused.items())),
        "slots_settled": totals.slots_settled,
        "ledger_sums": writer.core.bank.sums(),
        "conservation_error_wh": totals.conservation_error_wh,
        "minted_wh": totals.minted_wh,
        "burned_wh": totals.burned_wh,
        "blocks": totals.blocks,
        "root": newest.root.hex() if newest else "",
        "bids": {"submitted": totals.bids_answered, "accepted": totals.bids_accepted},
        "dispatches": {
            "sent": totals.leases_sent,
            "confirmed": totals.leases_confirmed,
            "reverted": totals.leases_reverted,
        },
        "commands": writer.commands,
    }


def metrics(writer: Writer, views: Views, clock: Clock) -> str:
    """Prometheus text. No gateway ids as labels: a fleet would make thousands of series."""
    registry = CollectorRegistry()
    registry.register(_Counters(views, writer))
    gauges = {
        "gridtokenx_gateways": len(views.gateways),
        "gridtokenx_log_leaves": views.leaves,
        "gridtokenx_alarms_unacknowledged": sum(
            not row.acknowledged for row in views.alarms.values()
        ),
        "gridtokenx_newest_reading_age_seconds": _age_s(views, clock),
        "gridtokenx_writer_healthy": int(writer.problem is None),
    }
    for name, value in gauges.items():
        Gauge(name, name.replace("_", " "), registry=registry).set(value)
    return generate_latest(registry).decode()


class _Counters:
    """Counters whose values live in the views; collected when somebody asks."""

    def __init__(self, views: Views, writer: Writer) -> None:
        self._views = views
        self._writer = writer

    def collect(self) -> Any:
        totals = self._views.totals
        for name, value in (
            ("gridtokenx_readings", totals.readings),
            ("gridtokenx_batches", totals.batches),
            ("gridtokenx_offers", totals.offers),
            ("gridtokenx_trades", totals.trades),
            ("gridtokenx_slots_settled", totals.slots_settled),
            ("gridtokenx_minted_wh", totals.minted_wh),
            ("gridtokenx_burned_wh", totals.burned_wh),
            ("gridtokenx_blocks", totals.blocks),
            ("gridtokenx_bids_accepted", totals.bids_accepted),
            ("gridtokenx_leases_sent", totals.leases_sent),
            ("gridtokenx_leases_reverted", totals.leases_reverted),
            ("gridtokenx_commands", self._writer.commands),
        ):
            yield CounterMetricFamily(name, name.replace("_", " "), value=value)
        refused = CounterMetricFamily("gridtokenx_refused", "Refusals by reason", labels=["reason"])
        for reason, count in sorted(totals.refused.items()):
            refused.add_metric([reason], count)
        yield refused


def _age_s(views: Views, clock: Clock) -> float:
    newest = max((row.seen_ns for row in views.gateways.values()), default=0)
    return (clock.now_ns() - newest) / SECOND_NS if newest else 0.0
