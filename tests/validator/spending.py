"""Sixty-four gateways and an operator spend one account's money at once, over gRPC and HTTP.

The aggregator is the shipped process on a real journal; it is killed with SIGKILL again and again.
Gateways reconnect and send again what was not receipted, the operator repeats every transfer until
it is answered. What happened is judged afterwards by `tests/oracle/history.py`.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.app import App
from cloud.commands import CreateSite, Deposit, EnrolDevice, IssueToken
from cloud.config import load_config
from cloud.remote import Operator, RemoteError
from protos.clock import SystemClock, slot_at
from protos.ids import effect_id
from protos.messages import Offer, OfferBatch, Side
from tests.gate.conftest import Cloud, Gateway
from tests.oracle.history import History

ROOT = Path(__file__).resolve().parent.parent.parent
PRICE = 3_000_000
MONEY = 600_000
"""Of the account that everybody spends: some 190 offers of 1 Wh."""
OFFERS = 4
"""In one signed envelope."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Site:
    """The process, its files and the gateways that are enrolled there."""

    def __init__(self, directory, spenders):
        self.state = directory / "state"
        self.config = directory / "cloud.toml"
        names = ("http_port", "gateway_port", "enrolment_port", "utility_port")
        self.ports = dict(zip(names, free_ports(4), strict=True))
        lines = [f'state_dir = "{self.state}"', *(f"{n} = {p}" for n, p in self.ports.items())]
        zone = '[[zones]]\nname = "rural"\nnetwork = "rural"\n'
        self.config.write_text("\n".join(lines) + "\n" + zone)
        self.spenders = spenders
        self.kills = 0
        self.process = None
        self.output = (directory / "said").open("ab")

    async def enrol(self):
        """Everybody's account, key and certificate, made by the aggregator's own machines."""
        app = App(load_config(self.config), SystemClock())
        await app.start()
        remote = Cloud(
            SimpleNamespace(
                authority=SimpleNamespace(certificate_pem=app.authority.certificate_pem)
            ),
            SimpleNamespace(gateway_port=self.ports["gateway_port"]),
        )
        self.gateways = []
        for number in range(self.spenders + 1):
            key = Ed25519PrivateKey.from_private_bytes((number + 1).to_bytes(32, "big"))
            gateway = Gateway(remote, key)
            account = "boon" if number == self.spenders else "anna"
            name, token = f"home-{number}", bytes([number]) * 32
            for command in (
                CreateSite(name, "rural", 1 + 7 * number, account),
                IssueToken(token, name),
                EnrolDevice(token, gateway.public),
            ):
                await app.writer.submit(command)
            gateway.chain = app.authority.device_chain(gateway.csr(), gateway.device)
            self.gateways.append(gateway)
        await app.writer.settle()
        for account, amount in (("anna", MONEY), ("boon", 10**12)):
            await app.writer.submit(Deposit(f"first/{account}", account, amount))
        await app.writer.settle()
        bank = app.writer.core.bank
        self.names = {bank.account_number(name): name for name in ("anna", "boon")}
        await app.stop()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloud", "serve", "--config", str(self.config)],
            cwd=ROOT,
            stdout=self.output,
            stderr=self.output,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    async def listening(self, within_s=300):
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the aggregator ended by itself"
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.ports["gateway_port"])
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise TimeoutError("the aggregator does not listen")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.kills += 1

    async def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, 60)
        self.output.close()
        return status

    @property
    def operator(self):
        return Operator(f"http://127.0.0.1:{self.ports['http_port']}", self.state)


class Spender:
    """One gateway that signs offers until it is told to stop, whatever happens to the other side."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.sent = []
        self.number = 0
        self.durable = 0

    def offer(self, slot, side, energy_wh):
        offers = []
        for _ in range(OFFERS):
            self.number += 1
            offers.append(Offer(self.number, slot, side, energy_wh, PRICE))
        self.sent.append(self.gateway.seal(OfferBatch(tuple(offers))))

    async def spend(self, slot, stop, side=Side.BUY, energy_wh=1):
        """Offers, one after another; returns once the last of them is durable."""
        while True:
            try:
                await self._session(slot, stop, side, energy_wh)
            except (grpc.aio.AioRpcError, AssertionError, TimeoutError, asyncio.InvalidStateError):
                await asyncio.sleep(0.1)
            else:
                return
            finally:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await self.gateway.close()

    async def _session(self, slot, stop, side, energy_wh):
        welcome = await self.gateway.connect()
        self.durable = welcome.durable_seq
        for sealed in self.sent[self.durable :]:
            await self.gateway.send(sealed)
        while not (stop.is_set() and self.sent):
            self.offer(slot, side, energy_wh)
            await self.gateway.send(self.sent[-1])
            await self._receipted()
        if self.durable < self.gateway.seq:
            await self._receipted()

    async def _receipted(self):
        await self.gateway.receipted(self.gateway.seq)
        self.durable = self.gateway.seq


async def withdraw(site, stop, draw, done):
    """The operator moves the same money away and back, and reserves it; each is repeated till answered."""
    number = 0
    while not stop.is_set() or number % 4:
        number += 1
        kind = ("move", "pending", "post", "move")[number % 4]
        pair = ("boon", "anna") if number % 4 == 0 else ("anna", "boon")
        one = {
            "id": effect_id("spend", number),
            "debit": pair[0],
            "credit": pair[1],
            "amount": draw.randint(1, 20_000),
            "kind": kind,
            "timeout_s": 3 if kind == "pending" else 0,
        }
        if kind == "post":
            one |= {"pending_id": effect_id("spend", number - 1), "amount": 1}
        body = {"transfers": [one], "hour": done["hour"]}
        while True:
            try:
                answer = await asyncio.to_thread(site.operator.post, "/api/transfers", body)
            except RemoteError:
                await asyncio.sleep(0.1)
            else:
                done["answered"] += 1
                done["refused"] += len(answer["refused"])
                break


async def progress(everybody, done, steps, within_s=60):
    """Waits until so many envelopes and answers have come; a kill then falls among more of them."""

    def steps_done():
        return sum(one.durable for one in everybody) + done["answered"]

    before, deadline = steps_done(), time.monotonic() + within_s
    while steps_done() < before + steps and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


async def run(directory, spenders, kills, seed=1, between_s=(0.0, 0.3)):
    """Lets them spend while the aggregator is killed; returns what the checker found and figures."""
    draw, site = random.Random(seed), Site(directory, spenders)
    await site.enrol()
    now_ns = SystemClock().now_ns()
    slot, stop, done = slot_at(now_ns) + 8, asyncio.Event(), {"answered": 0, "refused": 0}
    done["hour"] = now_ns // 3_600_000_000_000
    site.start()
    await site.listening()
    everybody = [Spender(gateway) for gateway in site.gateways]
    tasks = [asyncio.create_task(one.spend(slot, stop)) for one in everybody[:-1]]
    tasks.append(asyncio.create_task(everybody[-1].spend(slot, stop, Side.SELL, 25)))
    tasks.append(asyncio.create_task(withdraw(site, stop, draw, done)))
    try:
        for _ in range(kills):
            await progress(everybody, done, draw.randint(1, spenders))
            await asyncio.sleep(draw.uniform(*between_s))
            site.kill()
            site.start()
            await site.listening()
        await progress(everybody, done, 2 * spenders)
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
        await asyncio.sleep(4)
        status = await site.end()
    finally:
        if site.process.poll() is None:
            site.process.kill()
    checked = History(site.state / "journal.db", site.names)
    offers = sum(one.number for one in everybody)
    return checked, {
        "kills": site.kills,
        "offers": offers,
        "transfers": done["answered"],
        "transfers_refused": done["refused"],
        "trades": len(checked.traded),
        "trades_voided": len(checked.voided),
        "operations": checked.operations,
        "anomalies": len(checked.anomalies),
        "status": status,
    }


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True)
    history, figures = asyncio.run(run(where, int(sys.argv[2]), int(sys.argv[3])))
    print("\n".join(history.anomalies[:20]))
    print(json.dumps(figures))
