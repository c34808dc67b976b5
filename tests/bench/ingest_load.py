"""The load: gateways that speak raw bytes, sealed beforehand, to an aggregator of its own.

    python -m tests.bench.ingest_load DIRECTORY [SITE [GATE_PROCESSES]]

Starts the measured side (`ingest_site`, or the bare floor `ingest_floor`), runs its flows one after
another and prints one JSON object of figures; with gates in processes of their own, the first one. What is measured is the processor time of that side
alone (user and system, all its processes and threads), which holds when other work shares the
machine; latencies are this machine's, with that work.

GRIDTOKENX_BENCH_GATEWAYS says how many gateways send at 1 to 3 batches a second, and
GRIDTOKENX_BENCH_STREAMS how many are connected when everybody is told something.
"""

import asyncio
import gc
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from protos import gateway_pb2 as pb
from protos.codec import encode_payload
from protos.ids import DeviceId, device_id
from protos.limits import UNACKNOWLEDGED_BATCHES_MAX
from protos.seal import GENESIS, link, seal
from tests.bench.ingest_traffic import (
    OFFERS,
    batches,
    offer_payloads,
    private_key,
    public_key,
    register_map,
)

GATEWAYS = int(os.environ.get("GRIDTOKENX_BENCH_GATEWAYS", "400"))
STREAMS = max(GATEWAYS, int(os.environ.get("GRIDTOKENX_BENCH_STREAMS", "1000")))
CONNECTIONS = 16
OFFERING = range(CONNECTIONS, 2 * CONNECTIONS)
RECEIPT_PAUSE_MS = 1_000
"""As the agent has it. Those that offer keep a small window and so want every receipt."""

WINDOW = UNACKNOWLEDGED_BATCHES_MAX
PIPELINED_BATCHES = 500
RATES_HZ = (1, 2, 3)
PACED_S = 8
OFFER_BATCHES = 80
OFFER_WINDOW = 4
OFFER_PACED_S = 4
CONNECTS_AT_ONCE = 8
NEWS_BYTES = 1_024
NEWS_PREFIX = b"bench "
NEWS_ROUNDS = 5
NEWS_LOAD_S = 8
CONNECT = "/gridtokenx.gateway.v1.GatewayService/Connect"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# ---- who sends it ------------------------------------------------------------------------------


@dataclass
class Gateway:
    """One connection with its own key and chain; everything it will say is sealed beforehand."""

    number: int
    channel: Any
    seq: int = 0
    previous: bytes = GENESIS
    call: Any = None
    durable: int = 0
    receipted: asyncio.Event = field(default_factory=asyncio.Event)
    sent_at: dict[int, float] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    told_at_ns: int = 0
    told_ns: int = 0
    ready: list[bytes] = field(default_factory=list)
    offers: int = 0
    outcomes: int = 0
    reader: Any = None

    def __post_init__(self) -> None:
        self.key = private_key(self.number)
        self.device: DeviceId = device_id(public_key(self.number))

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)

    def prepare(self, payloads: Iterable[bytes]) -> None:
        """Seals the next envelopes of the chain."""
        for payload in payloads:
            sealed = seal(self, self.seq + 1, self.previous, payload)
            self.seq, self.previous = sealed.seq, link(self.device, sealed)
            body = pb.SealedPayload(
                seq=sealed.seq,
                previous=sealed.previous,
                payload=payload,
                signature=sealed.signature,
            )
            self.ready.append(pb.ConnectRequest(sealed=body).SerializeToString())

    async def connect(self) -> None:
        self.call = self.channel.stream_stream(CONNECT)()
        hello = pb.Hello(
            device_id=self.device,
            agent_version="bench",
            boot_id=1,
            receipt_pause_ms=0 if self.number in OFFERING else RECEIPT_PAUSE_MS,
        )
        await self.call.write(pb.ConnectRequest(hello=hello).SerializeToString())
        await self.call.read()
        self.reader = asyncio.create_task(self._read())

    async def send_all(self, window: int) -> None:
        """As fast as receipts allow."""
        sent = self.durable
        for envelope in self.ready:
            while sent - self.durable >= window:
                self.receipted.clear()
                await self.receipted.wait()
            sent += 1
            self.sent_at[sent] = time.perf_counter()
            await self.call.write(envelope)
        self.ready.clear()
        await self.settle(sent)

    async def send_paced(self, period_s: float, phase_s: float) -> None:
        """One envelope a period, whatever the receipts do."""
        due, sent = time.perf_counter() + phase_s, self.durable
        for envelope in self.ready:
            await asyncio.sleep(due - time.perf_counter())
            sent += 1
            # From when it was due: a late sender must not hide a slow server.
            self.sent_at[sent] = due
            await self.call.write(envelope)
            due += period_s
        self.ready.clear()
        await self.settle(sent)

    async def settle(self, seq: int) -> None:
        while self.durable < seq:
            self.receipted.clear()
            await self.receipted.wait()

    async def confirmed(self) -> None:
        while self.outcomes < self.offers:
            self.receipted.clear()
            await self.receipted.wait()

    async def _read(self) -> None:
        with suppress(asyncio.CancelledError):
            while (data := await self.call.read()) is not grpc.aio.EOF:
                self._take(pb.ConnectResponse.FromString(data))

    def _take(self, message: pb.ConnectResponse) -> None:
        now = time.perf_counter()
        kind = message.WhichOneof("body")
        if kind == "receipt":
            for seq in range(self.durable + 1, message.receipt.durable_seq + 1):
                sent_at = self.sent_at.pop(seq, None)
                if sent_at is not None and not self.offers:
                    self.waits_s.append(now - sent_at)
            self.durable = max(self.durable, message.receipt.durable_seq)
            self.receipted.set()
        elif kind == "offers":
            self._confirm(message.offers.outcomes, now)
        elif kind == "checkpoint" and message.checkpoint.note.startswith(NEWS_PREFIX):
            self.told_at_ns = int(message.checkpoint.note.split(b" ")[1])
            self.told_ns = time.monotonic_ns()
        elif kind == "refusal":
            raise AssertionError(f"refused: {message.refusal}")

    def _confirm(self, outcomes: Sequence[pb.OfferOutcome], now: float) -> None:
        """The first word on an offer; later ones (a fill of what rested) are not waited for."""
        for outcome in outcomes:
            if outcome.state == pb.OFFER_STATE_REFUSED:
                raise AssertionError(f"offer {outcome.number}: {outcome.refused.name}")
            if outcome.number > self.outcomes:
                self.outcomes = outcome.number
                batch, rest = divmod(outcome.number, OFFERS)
                if rest == 0 and (sent_at := self.sent_at.pop(-batch, None)) is not None:
                    self.waits_s.append(now - sent_at)
        self.receipted.set()


class Load:
    """All gateways of one run, and the process they burden."""

    def __init__(
        self, directory: Path, site: str = "ingest_site", streams: int = STREAMS, gates: int = 1
    ) -> None:
        self.site = subprocess.Popen(
            [sys.executable, "-m", f"tests.bench.{site}", directory, str(streams), str(gates)],
            stdout=subprocess.PIPE,
        )
        if gates == 1:
            stay_on(self.site.pid, 0)
            stay_on(0, 1)
        assert self.site.stdout is not None
        assert self.site.stdout.readline() == b"ready\n"
        given = json.loads((directory / "gateways.json").read_text())
        self._given = given
        self.gateways = [Gateway(number, self._channel(number)) for number in range(streams)]
        self.map = encode_payload(register_map())

    def _channel(self, number: int) -> Any:
        given = self._given
        credentials = grpc.ssl_channel_credentials(
            given["roots"].encode(), given["key"].encode(), given["chains"][number].encode()
        )
        return grpc.aio.secure_channel(f"127.0.0.1:{given['port']}", credentials)

    def cpu_s(self) -> float:
        """Of the whole measured side."""
        children = Path(f"/proc/{self.site.pid}/task/{self.site.pid}/children").read_text().split()
        return self.writer_cpu_s() + sum(map(_cpu_s, children))

    def writer_cpu_s(self) -> float:
        """Of the process with the journal alone."""
        return _cpu_s(self.site.pid)

    def rss_mib(self) -> float:
        lines = Path(f"/proc/{self.site.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    async def close(self) -> None:
        for gateway in self.gateways:
            if gateway.call is not None:
                gateway.call.cancel()
                gateway.reader.cancel()
        self.site.terminate()
        try:
            await asyncio.to_thread(self.site.wait, 10)
        except subprocess.TimeoutExpired:
            self.site.kill()

    # ---- flows ---------------------------------------------------------------------------------

    async def connect(self, gateways: Sequence[Gateway]) -> dict[str, float]:
        """All of them, a few at once, with the register map sent."""
        cpu, began, rss = self.cpu_s(), time.perf_counter(), self.rss_mib()
        for start in range(0, len(gateways), CONNECTS_AT_ONCE):
            few = gateways[start : start + CONNECTS_AT_ONCE]
            await asyncio.gather(*(gateway.connect() for gateway in few))
        seconds = time.perf_counter() - began
        count = max(1, len(gateways))
        found = {
            "connects_per_s": count / seconds,
            "connect_cpu_us": 1e6 * (self.cpu_s() - cpu) / count,
            "stream_kib": 1024 * (self.rss_mib() - rss) / count,
        }
        for gateway in gateways:
            gateway.prepare([self.map])
        await asyncio.gather(*(gateway.send_all(1) for gateway in gateways))
        return found

    async def pipelined(self) -> dict[str, float]:
        gateways = self.gateways[:CONNECTIONS]
        payloads = self._sweeps(PIPELINED_BATCHES)
        for gateway in gateways:
            gateway.prepare(payloads)
        cpu, writer_cpu, began = self.cpu_s(), self.writer_cpu_s(), time.perf_counter()
        await asyncio.gather(*(gateway.send_all(WINDOW) for gateway in gateways))
        count = len(gateways) * PIPELINED_BATCHES
        found = self._cost(count, cpu, began)
        return found | {"writer_us": 1e6 * (self.writer_cpu_s() - writer_cpu) / count}

    async def gateway_like(self) -> dict[str, float]:
        """Gateways at 1 to 3 batches a second, out of step, with pushes in between."""
        draw = random.Random(7)
        senders = self.gateways[:GATEWAYS]
        rates = [RATES_HZ[number % len(RATES_HZ)] for number in range(GATEWAYS)]
        payloads = self._sweeps(PACED_S * max(RATES_HZ))
        for gateway, rate in zip(senders, rates, strict=True):
            gateway.waits_s.clear()
            gateway.prepare(payloads[-PACED_S * rate :])
        cpu, began = self.cpu_s(), time.perf_counter()
        sending = asyncio.gather(
            *(
                gateway.send_paced(1 / rate, draw.uniform(0, 1 / rate))
                for gateway, rate in zip(senders, rates, strict=True)
            )
        )
        await sending
        found = self._cost(PACED_S * sum(rates), cpu, began)
        waits = sorted(wait for gateway in senders for wait in gateway.waits_s)
        found["p50_ms"] = 1e3 * waits[len(waits) // 2]
        found["p99_ms"] = 1e3 * waits[len(waits) * 99 // 100]
        return found

    async def news(self) -> dict[str, float]:
        """Milliseconds from the cloud's word to the last gateway's ear: median of a few."""
        found = []
        cpu = self.cpu_s()
        for _ in range(NEWS_ROUNDS):
            before = time.monotonic_ns()
            self.site.send_signal(signal.SIGUSR1)
            while any(gateway.told_ns < before for gateway in self.gateways):
                await asyncio.sleep(0.002)
            last = max(gateway.told_ns for gateway in self.gateways)
            found.append((last - self.gateways[0].told_at_ns) / 1e6)
        told = NEWS_ROUNDS * len(self.gateways)
        return {
            "last_ms": sorted(found)[len(found) // 2],
            "cpu_us": 1e6 * (self.cpu_s() - cpu) / told,
        }

    async def news_under_load(self, batch_us: float) -> dict[str, float]:
        """The same while batches that cost `batch_us` each keep half a core of the site busy."""
        per_s = 0.5e6 / batch_us
        senders = self.gateways[:GATEWAYS]
        period_s = len(senders) / per_s
        payloads = self._sweeps(max(1, int(NEWS_LOAD_S / period_s)))
        for gateway in senders:
            gateway.prepare(payloads)
        cpu, began = self.cpu_s(), time.perf_counter()
        sending = asyncio.gather(
            *(g.send_paced(period_s, period_s * g.number / len(senders)) for g in senders)
        )
        await asyncio.sleep(NEWS_LOAD_S / 4)
        found = await self.news()
        found["busy"] = (self.cpu_s() - cpu) / (time.perf_counter() - began)
        await sending
        return found | {"per_s": per_s}

    async def offers(self) -> dict[str, float]:
        gateways = self.gateways[OFFERING.start : OFFERING.stop]
        paced = max(1, OFFER_BATCHES)
        slot = int(time.time()) // 900 + 4
        for gateway in gateways:
            gateway.payloads = offer_payloads(gateway.number, OFFER_BATCHES + paced, slot)
            gateway.prepare(gateway.payloads[:OFFER_BATCHES])
            gateway.offers = OFFER_BATCHES * OFFERS
        cpu, began = self.cpu_s(), time.perf_counter()
        await asyncio.gather(*(self._offer(gateway) for gateway in gateways))
        count = len(gateways) * OFFER_BATCHES * OFFERS
        found = self._cost(count, cpu, began)
        # Half of what a core carries, or of what the machine let it have.
        rate = min(1e6 / found["cpu_us"], found["per_s"]) / 2
        period_s = len(gateways) * OFFERS / rate
        steps = min(paced, int(OFFER_PACED_S / period_s))
        for gateway in gateways:
            gateway.waits_s.clear()
            gateway.prepare(gateway.payloads[OFFER_BATCHES : OFFER_BATCHES + steps])
            gateway.offers += steps * OFFERS
        await asyncio.gather(
            *(self._offer_paced(g, period_s, period_s * g.number / len(gateways)) for g in gateways)
        )
        waits = sorted(wait for gateway in gateways for wait in gateway.waits_s)
        found["paced_per_s"] = rate
        found["p50_ms"] = 1e3 * waits[len(waits) // 2]
        found["p99_ms"] = 1e3 * waits[len(waits) * 99 // 100]
        return found

    async def _offer(self, gateway: Gateway) -> None:
        await gateway.send_all(OFFER_WINDOW)
        await gateway.confirmed()

    async def _offer_paced(self, gateway: Gateway, period_s: float, phase_s: float) -> None:
        due = time.perf_counter() + phase_s
        first = OFFER_BATCHES + 1
        for batch, envelope in enumerate(gateway.ready, start=first):
            await asyncio.sleep(due - time.perf_counter())
            gateway.sent_at[-batch] = due
            await gateway.call.write(envelope)
            due += period_s
        gateway.ready.clear()
        await gateway.confirmed()

    def _sweeps(self, count: int) -> list[bytes]:
        return [encode_payload(b) for b in batches(count, 1, int(time.time() * 1000), count)]

    def _cost(self, count: int, cpu_s: float, began: float) -> dict[str, float]:
        return {
            "count": count,
            "cpu_us": 1e6 * (self.cpu_s() - cpu_s) / count,
            "per_s": count / (time.perf_counter() - began),
        }


def _cpu_s(process: int | str) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def stay_on(process: int, cpu: int) -> None:
    """One core for the aggregator, another for its load, where there are two."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) > 1:
        os.sched_setaffinity(process, {usable[cpu]})


async def run(load: Load, site: str, gates: int) -> dict[str, Any]:
    """All flows of a measured side once, with how long each took."""
    found: dict[str, Any] = {"gateways": GATEWAYS, "streams": len(load.gateways), "seconds": {}}

    async def measure(name: str, flow: Coroutine[Any, Any, dict[str, float]]) -> None:
        began = time.perf_counter()
        found[name] = await flow
        found["seconds"][name] = round(time.perf_counter() - began, 1)

    await measure("connect", load.connect(load.gateways[:GATEWAYS]))
    await measure("pipelined", load.pipelined())
    if gates == 1:
        await measure("gateway_like", load.gateway_like())
    if gates == 1 and site == "ingest_site":
        # Only now: what everybody is told between would count as a cost of batches.
        await measure("connect_rest", load.connect(load.gateways[GATEWAYS:]))
        await measure("news", load.news())
        cost_us = found["gateway_like"]["cpu_us"]
        await measure("news_under_load", load.news_under_load(cost_us))
        await measure("offers", load.offers())
        found["rss_mib"] = load.rss_mib()
    return found


async def main() -> None:
    """All flows once; the figures as the last line."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    site = sys.argv[2] if len(sys.argv) > 2 else "ingest_site"
    gates = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    is_whole = site == "ingest_site" and gates == 1
    began = time.perf_counter()
    load = Load(Path(sys.argv[1]), site, STREAMS if is_whole else GATEWAYS, gates)
    # The load's own pauses would count as the aggregator's.
    gc.disable()
    opened_s = round(time.perf_counter() - began, 1)
    try:
        found = await run(load, site, gates)
    finally:
        await load.close()
    found["seconds"]["open"] = opened_s
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main())
