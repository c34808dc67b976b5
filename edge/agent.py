"""One gateway, wired: pollers, sampling, outbox, uplink, steering, offers and the certificate.

Must never let one part's trouble end another: a dead device, a dead cloud and a full disk are each
survived alone. Only a forked chain ends the agent, after every setpoint has been undone.
"""

import asyncio
import logging
import os
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.certificate import Certificate
from edge.checkpoints import CheckpointError, Checkpoints
from edge.config import MEGABYTE, Config
from edge.devices.device import Device, DeviceSpec, Sample
from edge.dispatch import Dispatch
from edge.enrol import EnrolmentError, enrol, load_enrolment, load_identity
from edge.health import Status, serve_status
from edge.home import FRESH_POLLS, Home, shown, steerable
from edge.keys import KeyFileError, load_or_create_signer, load_signer
from edge.outbox import ChainForked, Outbox, OutboxError
from edge.poller import Opener, Poller
from edge.sampling import Sampling
from edge.steering import REFRESH_S, Steering, speed_of
from edge.terms import Terms
from edge.trading import Trading
from edge.uplink import LinkDown, Uplink
from protos.clock import MINUTE_NS, SECOND_NS, Clock
from protos.codec import encode_payload
from protos.ids import DeviceId
from protos.messages import (
    Lease,
    LeaseReport,
    LeaseReports,
    OfferOutcome,
    Quality,
    Refusal,
    Role,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import grpc.aio

OUTBOX = "outbox.db"
REVERSION = "reversion.json"
SOCKET = "agent.sock"
FORK_NOTE = "fork"
CHECKPOINT_NOTE = "checkpoint"
CHECKPOINT_NS = 60 * MINUTE_NS
ALARMS_KEPT = 16
FIRST_READING_S = 0.5
DRAIN_S = 2.0
"""How long, in real seconds, a stopping agent waits for the receipt of its last envelopes."""

gateway_name: ContextVar[str] = ContextVar("gateway_name", default="")
log = logging.getLogger("edge.agent")


class AgentStopped(Exception):
    """This gateway cannot go on without a person. The message says what to do."""


class Agent:
    """Made by `Agent.open`, runs until its stop event, closed by `run` itself."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        opener: Opener,
        device: DeviceId,
        outbox: Outbox,
        certificate: Certificate,
    ) -> None:
        self._config = config
        self._clock = clock
        self._outbox = outbox
        self._certificate = certificate
        self._boot_id = int.from_bytes(os.urandom(8), "big") >> 1
        self._device_id = device
        self._alarms: dict[str, int] = {}
        self._checkpoints = Checkpoints(outbox.text_note(CHECKPOINT_NOTE))
        self._checkpoint_kept_ns = 0
        sampling = self._config.sampling
        period_s = sampling.period_s
        self._pollers = [
            Poller(
                _remembering(spec, config.agent.state_dir),
                opener,
                self._clock,
                period_s,
                sampling.read_timeout_s,
            )
            for spec in self._config.devices
        ]
        self._home = Home(self._pollers, int(FRESH_POLLS * period_s * SECOND_NS))
        self._sampling = Sampling(
            self._outbox, self._clock, period_s, sampling.sweeps_per_batch, self._boot_id
        )
        refresh_ns = int(REFRESH_S * speed_of(self._clock) * SECOND_NS)
        self._dispatch = Dispatch(
            self._device_id, self._config.battery.reserve_per_mille, refresh_ns, config.droop
        )
        self._steering = Steering(
            self._dispatch,
            self._clock,
            self._config.agent.state_dir / REVERSION,
            self._device,
            lambda: self._home.measured(self._clock.monotonic_ns()),
            self._report,
        )
        self._steering.load_record()
        self._trading = Trading(
            self._device_id, self._config, self._outbox, self._clock, self._home
        )
        self._uplink = Uplink(
            self._device_id, self._boot_id, self._outbox, self._clock, self._connect, self
        )

    @classmethod
    async def open(cls, config: Config, clock: Clock, opener: Opener) -> "Agent":
        """Loads keys, certificate and outbox; enrols first where the config brings a token.

        Raises KeyFileError, EnrolmentError, OutboxError, AgentStopped.
        """
        state_dir = config.agent.state_dir
        enrolment = load_enrolment(state_dir)
        if enrolment is None:
            token = _token(config)
            cloud = config.cloud
            signer = load_or_create_signer(state_dir, config.key)
            enrolment = await enrol(
                state_dir, token, cloud.enrolment, cloud.ca, cloud.server_name, signer
            )
        else:
            signer = load_signer(state_dir, config.key)
        outbox = await Outbox.open(
            state_dir / OUTBOX,
            signer,
            config.outbox.size_mb * MEGABYTE,
            config.outbox.ballast_mb * MEGABYTE,
        )
        fork = outbox.text_note(FORK_NOTE)
        if fork:
            await outbox.close()
            raise AgentStopped(_fork_advice(fork))
        certificate = Certificate(state_dir, config.cloud, enrolment, signer)
        return cls(config, clock, opener, signer.device, outbox, certificate)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; every default is restored and every reading sealed before it
        returns. Raises AgentStopped.
        """
        gateway_name.set(self._config.agent.name)
        state_dir = self._config.agent.state_dir
        server = await serve_status(state_dir / SOCKET, self.status)
        local = await self._serve_local()
        log.info("agent starts", extra={"device": self._device_id, "boot_id": self._boot_id})
        pollers = [asyncio.create_task(poller.run(self._heard)) for poller in self._pollers]
        uplink = asyncio.create_task(self._uplink_after_first_reading())
        try:
            await self._run_parts(stop, uplink, pollers)
        finally:
            await self._steering.stop()
            await self._sampling.flush()
            await self._uplink.drain(DRAIN_S)
            await _cancel([*pollers, uplink])
            server.close()
            if local is not None:
                local.close()
            (state_dir / SOCKET).unlink(missing_ok=True)
            await self._outbox.close()
            log.info("agent ends", extra={"unreceipted": self._outbox.waiting})

    async def _serve_local(self) -> asyncio.Server | None:
        """A page that cannot be served is an alarm; the readings go on."""
        port = self._config.local.port
        if not port:
            return None
        from edge.local import serve_local

        try:
            return await serve_local(port, self.status)
        except OSError as error:
            self._alarm("no local page", f"port {port}: {error.strerror}; change local.port")
            return None

    async def _run_parts(
        self,
        stop: asyncio.Event,
        uplink: "asyncio.Task[None]",
        pollers: "list[asyncio.Task[None]]",
    ) -> None:
        """Until one part ends: none does but by `stop`, a fork, or a broken invariant."""
        parts: list[Coroutine[Any, Any, object]] = [
            self._sampling.run(len(self._pollers)),
            self._steering.run(),
            self._certificate.run(),
            self._follow_certificate(),
            stop.wait(),
        ]
        if self._config.offers.enabled:
            parts.append(self._trading.run())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            everything = [*tasks, uplink, *pollers]
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ChainForked as error:
            await self._remember_fork(str(error))
            raise AgentStopped(_fork_advice(str(error))) from error
        finally:
            await _cancel(tasks)

    async def _uplink_after_first_reading(self) -> None:
        """The transport takes a while to load; what is read meanwhile is safe on the disk."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READING_S):
                await self._sampling.started.wait()
        await self._uplink.run()

    async def _remember_fork(self, problem: str) -> None:
        try:
            await self._outbox.append([], {FORK_NOTE: problem})
        except OutboxError as error:
            # The next start will find the same fork at the cloud's Welcome.
            log.warning("fork not noted", extra={"problem": str(error)})

    async def _follow_certificate(self) -> None:
        while True:
            await self._certificate.renewed.wait()
            self._certificate.renewed.clear()
            self._uplink.reconnect()

    def _connect(self) -> "grpc.aio.Channel":
        from edge.channel import open_channel

        cloud = self._config.cloud
        try:
            identity = load_identity(self._config.agent.state_dir)
        except (EnrolmentError, KeyFileError) as error:
            raise LinkDown(str(error)) from error
        return open_channel(self._certificate.address, cloud.ca, cloud.server_name, identity)

    def _device(self, name: str) -> Device | None:
        return next((item.device for item in self._pollers if item.spec.name == name), None)

    def _heard(self, poller: Poller, sample: Sample, qualities: tuple[Quality, ...]) -> None:
        self._sampling.heard(poller, sample, qualities)
        if poller.count.reads == 1:
            item = steerable(poller)
            if item is not None:
                self._dispatch.add(item)
                self._steering.wake()
        if poller.spec.role is Role.GRID:
            self._trading.observe(steered=self._dispatch.holding > 0)
            if self._config.droop.enabled:
                self._steering.wake()

    async def _report(self, reports: list[LeaseReport]) -> None:
        try:
            await self._outbox.append([encode_payload(LeaseReports(tuple(reports)))])
        except OutboxError as error:
            self._alarm("lease reports lost", str(error))

    def _alarm(self, what: str, problem: str) -> None:
        """Counted for health; logged the first time, so that a storm does not fill the disk."""
        if what not in self._alarms and len(self._alarms) < ALARMS_KEPT:
            log.error(what, extra={"problem": problem})
        if what in self._alarms or len(self._alarms) < ALARMS_KEPT:
            self._alarms[what] = self._alarms.get(what, 0) + 1

    def _age_s(self, poller: Poller) -> int | None:
        """How long ago the device last answered, on the agent's clock."""
        if poller.latest is None:
            return None
        return (self._clock.monotonic_ns() - poller.latest.monotonic_ns) // SECOND_NS

    # ---- what comes down ------------------------------------------------------------------

    def welcomed(self, terms: Terms, skew_ns: int) -> None:
        self._trading.terms = terms
        self._sampling.cloud_time(skew_ns)

    def cloud_time(self, skew_ns: int) -> None:
        self._sampling.cloud_time(skew_ns)

    def leased(self, lease: Lease) -> None:
        self._steering.give(lease)

    def offer_changed(self, outcome: OfferOutcome) -> None:
        self._trading.outcome(outcome)

    def market_moved(self, slot: int, price_micro_per_kwh: int) -> None:
        log.debug("market", extra={"slot": slot, "price": price_micro_per_kwh})

    def refused(self, seq: int, reason: int, text: str) -> None:
        name = Refusal(reason).name if reason in list(Refusal) else str(reason)
        self._alarm(f"envelope refused, {name}", f"number {seq}: {text}")

    def checkpoint(self, note: bytes) -> None:
        from protos.receipt import ReceiptError, open_checkpoint, parse_key

        try:
            if self._config.cloud.log_key:
                open_checkpoint(note.decode(), parse_key(self._config.cloud.log_key))
            self._checkpoints.take(note)
        except (CheckpointError, ReceiptError, UnicodeDecodeError) as error:
            self._alarm("the cloud's log contradicts itself", str(error))
            return
        now_ns = self._clock.monotonic_ns()
        if not self._checkpoint_kept_ns or now_ns - self._checkpoint_kept_ns > CHECKPOINT_NS:
            self._checkpoint_kept_ns = now_ns
            self._outbox.keep_note(CHECKPOINT_NOTE, self._checkpoints.text)

    # ---- what is said about it ------------------------------------------------------------

    def status(self) -> Status:
        """The status document: numbers, and for each trouble the sentence that names it."""
        outbox, link, sampling = self._outbox, self._uplink.count, self._sampling
        return {
            "name": self._config.agent.name,
            "device": self._device_id,
            "site": self._certificate.enrolment.site,
            "zone": self._certificate.enrolment.zone,
            "certificate": {
                "left_s": self._certificate.left_s,
                "problem": self._certificate.problem,
            },
            "uplink": {
                "connected": link.connected,
                "streams": link.streams,
                "sent": link.sent,
                "receipts": link.receipts,
                "refusals": link.refusals,
                "rewinds": link.rewinds,
                "problem": link.problem,
            },
            "outbox": {
                "head_seq": outbox.head_seq,
                "durable_seq": outbox.durable_seq,
                "waiting": outbox.waiting,
                "used_per_mille": outbox.used_per_mille,
                "stride": outbox.stride,
                "commits": outbox.commits,
            },
            "sampling": {
                "sweeps": sampling.sweeps,
                "thinned": sampling.thinned,
                "lost": sampling.lost,
                "clock_steps": sampling.clock_steps,
                "clock_quality": sampling.clock_quality.name,
                "problem": sampling.problem,
            },
            "dispatch": {
                "holding": self._dispatch.holding,
                "idle": self._dispatch.is_idle,
                "droop_per_mille": self._dispatch.droop_per_mille,
                "leases": self._dispatch.standing(self._clock.now_ns()),
            },
            "offers": {
                "open": self._trading.open_offers,
                "traded_wh": self._trading.traded_wh,
                "refused": self._trading.refused,
            },
            "log_size": self._checkpoints.size,
            "devices": {
                poller.spec.name: {
                    "reads": poller.count.reads,
                    "failures": poller.count.failures,
                    "failing": poller.count.failing,
                    "problem": poller.count.problem,
                    "age_s": self._age_s(poller),
                    "role": poller.spec.role.name,
                    "profile": poller.spec.profile,
                    "values": shown(poller),
                }
                for poller in self._pollers
            },
            "alarms": dict(self._alarms),
        }


async def _cancel(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _token(config: Config) -> str:
    cloud = config.cloud
    if cloud.token_file is None or not cloud.enrolment:
        raise EnrolmentError(
            f"{config.agent.state_dir} holds no enrolment; run: gridtokenx-edge enrol --token TOKEN"
            f" --cloud HOST:PORT --ca {cloud.ca} --state-dir {config.agent.state_dir}"
        )
    try:
        return cloud.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"{cloud.token_file}: {error}; put the token there") from error


def _fork_advice(problem: str) -> str:
    return (
        f"the chain of this key is forked: {problem}; nothing more is sent under it."
        " Ask the operator to revoke it, then: gridtokenx-edge enrol --fresh --token TOKEN"
    )


def _remembering(spec: DeviceSpec, state_dir: Path) -> DeviceSpec:
    """What a driver learns of a device's gaps outlives a restart, unless the installer said where."""
    return replace(spec, options={"holes_dir": str(state_dir), **spec.options})
