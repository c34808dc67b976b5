"""The embedded aggregator: wires machines, writer, gate and pumps, and owns their start and stop.

A pump stands between a fact and a command and does what a machine may not: it waits, calls a venue
or a solver, and hands the outcome back as a command. Every pump repeats what was left undone when
the process died, because the machines remember and the commands are idempotent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from cloud.commands import (
    AdvanceDesk,
    AdvanceZone,
    DeclareCurrencies,
    OpenDesk,
    OpenZone,
    PromiseFirm,
    SealBlock,
    StateStorage,
    ZoneRules,
)
from cloud.config import CloudConfig, ZoneConfig
from cloud.congestion_pump import CongestionPump
from cloud.facts import (
    Awarded,
    AwardMetered,
    BidPrepared,
    BlockSealed,
    DeskHalted,
    GateClosed,
    ReserveMetered,
    ReservePrepared,
    Telemetry,
    Traded,
)
from cloud.forecast.sky import Place
from cloud.gate.authority import CertificateAuthority
from cloud.gate.enrolment import EnrolmentGate
from cloud.gate.gateways import GatewayGate
from cloud.gate.http import HttpServices, make_http, operator_token
from cloud.gate.links import GateProcesses
from cloud.gate.market_news import TOLD, MarketNews
from cloud.gate.markets import MarketServices
from cloud.gate.screen import Screen
from cloud.gate.server import GateServers, Ports, serve
from cloud.gate.switchboard import Switchboard
from cloud.gate.utility import UtilityGate
from cloud.gate.vpp import VppGate
from cloud.gridwork import GridWork
from cloud.homes_pump import HomesPump
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.naming import SUBJECTS, Naming
from cloud.pumps import MarketStores, Wholesale
from cloud.signatures import fast_checker
from cloud.start import SnapshotPump, begin, load_networks, log_key
from cloud.store.journal import JOURNAL_FILE, SqliteJournal
from cloud.store.keyring import FileKeys
from cloud.value_pump import ValuePump
from cloud.venues.replayed import replayed
from cloud.writer import Writer, WriterStoppedError
from protos.clock import SECOND_NS, Clock, slot_at
from protos.limits import BLOCK_NS

TICK_S = 1.0
"""How often the machines are told the time, in the machine's own seconds."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Listening:
    """Where a started aggregator can be reached."""

    http_port: int
    gateway_port: int
    enrolment_port: int
    utility_port: int


class App:
    """One aggregator in one process."""

    def __init__(self, config: CloudConfig, clock: Clock) -> None:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.clock = clock
        self.networks = load_networks(config)
        self.journal = SqliteJournal(config.state_dir / JOURNAL_FILE)
        self.reader = SqliteJournal(config.state_dir / JOURNAL_FILE, read_only=True)
        self.signer = CheckpointSigner(config.origin, log_key(config.state_dir))
        begun = begin(config, self.networks, self.journal)
        self.core = begun.core
        self.writer = Writer(
            self.core, self.journal, clock, self._sign_block, fast_checker(), begun.found
        )
        self.views = begun.remembered.views
        self.writer.listen(self.views.update)
        self.authority = CertificateAuthority(config.state_dir / "ca")
        self.switchboard = Switchboard(self.writer, self.authority, clock, self.views.glimpse)
        self.gateways = GatewayGate(self.switchboard, clock)
        self.gates: GateProcesses | None = None
        self.enrolment = EnrolmentGate(self.writer, self.authority, "")
        self.congestion = CongestionPump(self.writer, clock, _places(config))
        self.utility = UtilityGate(
            self.writer, self.views, clock, self.congestion.flows, begun.remembered.orders
        )
        self.screen = Screen(self.views, clock, self.core.zones)
        self.market_stores = MarketStores(config.state_dir)
        self.market_news = MarketNews()
        self.wholesale = Wholesale(
            self.writer,
            clock,
            self.market_stores,
            self._market_alarm,
            replayed([Path(one) for one in config.desk.oasis_files]),
        )
        self.homes = HomesPump(self.writer, clock)
        self.values = ValuePump(self.writer, clock, config.state_dir, self._market_alarm)
        self._market_services = MarketServices(
            self.writer,
            clock,
            self.market_stores.prices,
            self.market_stores.settlements,
            self.wholesale,
        )
        self.gridwork = GridWork(self.writer, clock, self.networks, config.grid)
        self.snapshots = SnapshotPump(config, self.writer, begun.found.commands)
        self._pumps: list[asyncio.Task[None]] = []
        self._servers: GateServers | None = None
        self._http: uvicorn.Server | None = None

    async def start(self) -> Listening:
        """Recovers, opens the ports and starts the pumps."""
        replayed = await self.writer.start()
        log.info("replayed %d commands", replayed)
        self.writer.listen(self.gridwork.listen, GateClosed, Traded)
        self.writer.listen(self.congestion.listen, Telemetry)
        await self._open_books()
        await self.gridwork.open()
        config = self.config
        gateway_port = await self._open_gates()
        self._servers = await serve(
            Ports(config.host, config.enrolment_port, gateway_port, config.utility_port),
            self.authority,
            self.enrolment,
            None if self.gates else self.gateways,
            self.utility,
            VppGate(self._market_services, self.market_news, operator_token(config.state_dir)),
        )
        http_port = await self._start_http()
        self.wholesale.restore()
        self.writer.listen(
            self.wholesale.listen,
            *(BidPrepared, ReservePrepared, Awarded, AwardMetered, ReserveMetered, DeskHalted),
        )
        self.writer.listen(self.wholesale.regulation.listen, Telemetry, ReservePrepared, Awarded)
        self.writer.listen(self.market_news.listen, *TOLD)
        if config.desk.homes_first:
            self.writer.listen(self.homes.listen, Telemetry)
        for name, pump in (
            ("ticks", self._ticks),
            ("blocks", self._blocks),
            ("referee", self.gridwork.referee),
            ("surveys", self.gridwork.surveys),
            ("congestion", self.congestion.run),
            ("loops", self.gridwork.loops),
            ("estimates", self.gridwork.estimates),
            ("prices", self.wholesale.prices),
            ("bids", self.wholesale.bids),
            ("awards", self.wholesale.awards),
            ("regulation", self.wholesale.regulation.run),
            ("screen", self.screen.run),
            *((("homes", self.homes.run),) if config.desk.homes_first else ()),
            *((("values", self.values.run),) if config.desk.learn_worth else ()),
            *((("snapshots", self.snapshots.run),) if config.snapshot_commands else ()),
            *self._reserves(),
            *self._naming(),
        ):
            self._pumps.append(asyncio.create_task(self._supervised(name, pump), name=name))
        return Listening(
            http_port,
            self._servers.gateway_port,
            self._servers.enrolment_port,
            self._servers.utility_port,
        )

    async def stop(self) -> None:
        """Lets the gateways go, applies what is queued, closes the journal."""
        if self._http is not None:
            self._http.should_exit = True
        await self.gateways.drain()
        if self.gates is not None:
            await self.gates.stop()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self.gridwork.close()
        if self._servers is not None:
            await self._servers.stop(grace_s=0.5)
        if self.writer.problem is None:
            await self.writer.submit(SealBlock())
        await self.writer.stop()
        self.reader.close()
        self.market_stores.close()

    async def failed(self) -> BaseException:
        """Waits for the first pump or the writer to fail; the process then restarts by replay."""
        while True:
            for pump in self._pumps:
                if pump.done() and not pump.cancelled() and pump.exception() is not None:
                    problem = pump.exception()
                    assert problem is not None
                    return problem
            if self.writer.problem is not None:
                return self.writer.problem
            await asyncio.sleep(TICK_S)

    async def _open_books(self) -> None:
        """The first commands of a new journal."""
        for zone in self.config.zones:
            if not self.core.zones[zone.name].is_open:
                await self.writer.submit(
                    OpenZone(
                        zone.name,
                        self.networks[zone.name].sha256,
                        slot_at(self.clock.now_ns()),
                        _rules(zone),
                    )
                )
        if not self.core.desk.is_open:
            desk = self.config.desk
            await self.writer.submit(
                OpenDesk(desk.power_max_w, desk.exposure_max_micro, desk.power_min_w)
            )
            await self.writer.submit(PromiseFirm(is_on=True))
        if not self.core.desk.rules.states_storage:
            await self.writer.submit(StateStorage(is_on=True))
        zones = sorted({zone.currency for zone in self.config.zones})
        rate = self.config.desk.rate_micro if len(zones) == 1 else 0
        await self.writer.submit(
            DeclareCurrencies("/".join(zones), self.config.desk.currency, rate)
        )

    async def _open_gates(self) -> int:
        """The gateways' port: still to be opened by this process, or served by others."""
        config = self.config
        if config.gate_processes == 1:
            self.switchboard.halls.append(self.gateways)
            return config.gateway_port
        self.gates = GateProcesses(
            self.switchboard,
            self.authority,
            config.gate_processes,
            config.host,
            config.gateway_port,
        )
        port = await self.gates.start()
        self._pumps.append(asyncio.create_task(self.gates.failed(), name="gates"))
        return port

    async def _start_http(self) -> int:
        services = HttpServices(
            self.writer,
            self.views,
            self.screen,
            self.clock,
            self.config,
            self.authority,
            self.signer,
            self.reader,
            self._market_services,
            self.market_news,
        )
        settings = uvicorn.Config(
            make_http(services),
            host=self.config.host,
            port=self.config.http_port,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._http = uvicorn.Server(settings)
        task = asyncio.create_task(self._http.serve(), name="http")
        self._pumps.append(task)
        while not self._http.started:
            if task.done():
                raise OSError(
                    f"cannot listen on {self.config.host}:{self.config.http_port}; "
                    "set http_port or stop what uses it"
                )
            await asyncio.sleep(0.01)
        port: int = self._http.servers[0].sockets[0].getsockname()[1]
        return port

    def _naming(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Pseudonyms in the log, where the configuration asks for them."""
        days = self.config.pseudonym_days
        if not days:
            return []
        keys = FileKeys(self.config.state_dir / SUBJECTS)
        return [("names", Naming(self.writer, keys, self.clock, days).run)]

    def _reserves(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Tomorrow's reserves, where the configuration asks for them."""
        if not self.config.desk.plan_reserves:
            return []
        # The solver is loaded only where it is used.
        from cloud.reserve_pump import ReservePump

        pump = ReservePump(self.core.desk, self.clock, self.writer.submit, self._market_alarm)
        return [("reserves", pump.run)]

    async def _supervised(self, name: str, pump: Callable[[], Awaitable[None]]) -> None:
        try:
            await pump()
        except WriterStoppedError:
            log.info("%s stopped with the writer", name)

    async def _ticks(self) -> None:
        while True:
            for zone in self.core.zones:
                await self.writer.submit(AdvanceZone(zone))
            await self.writer.submit(AdvanceDesk())
            await asyncio.sleep(TICK_S)

    async def _blocks(self) -> None:
        """Roots follow the machine's own seconds, whatever the demo's speed."""
        while True:
            await asyncio.sleep(BLOCK_NS / SECOND_NS)
            await self.writer.submit(SealBlock())

    def _market_alarm(self, key: str, priority: int, at_ns: int, source: str, text: str) -> None:
        """Of prices or of their learning: on the screen, and news for whoever listens."""
        self.views.alarm(key, priority, at_ns, source, text)
        self.market_news.tell("Alert", at_ns, {"key": key, "source": source, "message": text})

    def _sign_block(self, block: BlockSealed) -> bytes:
        return self.signer.sign_block(block).encode()


def _rules(zone: ZoneConfig) -> ZoneRules:
    return ZoneRules(
        currency=zone.currency,
        tick_micro_per_kwh=zone.tick_micro_per_kwh,
        fallback_export_micro_per_kwh=zone.fallback_export_micro_per_kwh,
        fallback_import_micro_per_kwh=zone.fallback_import_micro_per_kwh,
        gate_closure_s=zone.gate_closure_s,
        metering_deadline_s=zone.metering_deadline_s,
        grid_fee_bps=zone.grid_fee_bps,
        trading_fee_bps=zone.trading_fee_bps,
        auction_s=zone.auction_s,
        grid_fee_micro_per_kwh=zone.grid_fee_micro_per_kwh,
        vat_bps=zone.vat_bps,
        power_flow=zone.power_flow,
        orders_free=zone.orders_free,
        orders_per_trade_max=zone.orders_per_trade_max,
        opening_s=zone.opening_s,
        three_phase=zone.three_phase,
        auction_rounds=zone.auction_rounds,
        bank_unsold=zone.bank_unsold,
        areas=zone.grid_areas(),
        wheeling_micro_per_kwh=zone.wheeling_matrix(),
        post_rounding=True,
    )


def _places(config: CloudConfig) -> dict[str, Place]:
    """Where the zones lie that say so."""
    return {
        zone.name: Place(zone.latitude_mdeg / 1_000, zone.longitude_mdeg / 1_000)
        for zone in config.zones
        if zone.latitude_mdeg or zone.longitude_mdeg
    }
