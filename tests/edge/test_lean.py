"""What the agent's process leaves out, puts off and gives back, each in a process of its own."""

import asyncio
import gc
import subprocess
import sys
from pathlib import Path

from edge import process
from edge.lean import _unchanged

ROOT = Path(__file__).parents[2]
FULL = """
import os, sys
from pathlib import Path
from edge.lean import give_back, load_without_tls, unchanged_pages, put_off_what_reading_does_not_need
load_without_tls()
put_off_what_reading_does_not_need()
import edge.process, edge.devices.catalog, edge.devices.modbus.bus, edge.outbox
"""
RESIDENT = """
def resident():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1])
"""


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", FULL + code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.split()


def test_what_was_put_off_is_there_when_it_is_touched():
    said = run(
        "from protos import gateway_pb2\n"
        "later = type(gateway_pb2).__name__\n"
        "hello = gateway_pb2.Hello(device_id='x').SerializeToString()\n"
        "print(later, type(gateway_pb2).__name__, hello.hex())\n"
        "import protos.gateway_pb2 as again\n"
        "print(again is gateway_pb2, hasattr(again, 'nonsense'))"
    )
    assert said == ["_Later", "module", "0a0178", "True", "False"]


def test_a_module_that_does_not_exist_is_missed_by_the_import_itself():
    said = run(
        "from edge.lean import load_at_first_use\n"
        "load_at_first_use('edge.no_such_module')\n"
        "try:\n    import edge.no_such_module\nexcept ImportError as error:\n    print(error.name)"
    )
    assert said == ["edge.no_such_module"]


def test_memory_is_given_back_and_everything_still_works_afterwards(tmp_path):
    first, second, *rest = run(
        RESIDENT
        + "import asyncio, grpc.aio\n"
        + f"directory = Path({str(tmp_path)!r})\n"
        + "from edge.keys import load_or_create_signer\n"
        "from edge.outbox import Outbox\n"
        "async def work(name):\n"
        "    box = await Outbox.open(directory / name, load_or_create_signer(directory), 1 << 22)\n"
        "    seq = await box.append([b'x'] * 3)\n"
        "    await box.close()\n"
        "    return seq\n"
        "asyncio.run(work('one'))\n"
        "before, seen = resident(), unchanged_pages()\n"
        "assert not give_back(frozenset()), 'nothing was seen before'\n"
        "assert give_back(seen)\n"
        "print(before, resident(), asyncio.run(work('two')), give_back(unchanged_pages()))"
    )
    assert int(second) < int(first) - 4_000, "kB"
    assert rest == ["3", "True"]


def test_a_page_that_is_in_no_file_is_never_given_back():
    text = """\
1000-2000 r-xp 00000000 08:01 1    /lib/unchanged.so
Rss:                  40 kB
Anonymous:             0 kB
2000-3000 r--p 00000000 08:01 1    /lib/relocated.so
Anonymous:             4 kB
3000-4000 rw-p 00000000 08:01 1    /lib/writable.so
Anonymous:             0 kB
4000-5000 r--p 00000000 00:00 0
Anonymous:             0 kB
5000-6000 r-xp 00000000 00:00 0    [vdso]
Anonymous:             0 kB
6000-7000 r--p 00000000 08:01 1    /etc/ld.so.cache
Anonymous:             0 kB
7000-8000 r--p 00000000 08:01 1    /lib/libc.so.6
Anonymous:             0 kB
8000-9000 r-xp 00000000 08:01 1    /lib/gone.so (deleted)
Anonymous:             0 kB
"""
    assert list(_unchanged(text.splitlines())) == [
        (0x1000, 0x2000, "/lib/unchanged.so"),
        (0x7000, 0x8000, "/lib/libc.so.6"),
    ]


async def test_the_collector_is_on_again_once_the_start_is_over(monkeypatch, peers):
    monkeypatch.setattr(process, "SETTLED_S", 0.0)
    gc.disable()
    chore = asyncio.create_task(process._stay_small())
    try:
        await peers.eventually(gc.isenabled)
    finally:
        chore.cancel()
        await asyncio.gather(chore, return_exceptions=True)
        gc.unfreeze()
        gc.enable()
