"""Roots on a real EVM (py-evm in this process, behind a JSON-RPC port of its own), through crashes."""

import contextlib
import http.server
import json
import sys
import threading
import types
import warnings
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.__main__ import main
from cloud.anchor.payload import MAGIC, NO_ANCHOR, Anchor, AnchorError, decode_anchor
from cloud.anchor.publisher import (
    STATE_FILE,
    Publisher,
    anchors_back,
    check_anchors,
    newest_root,
)
from cloud.ledger.checkpoint import CheckpointSigner
from cloud.ledger.log import TransparencyLog
from cloud.store.journal import JOURNAL_FILE, SqliteJournal
from protos.receipt import Checkpoint

RECURSION = sys.getrecursionlimit()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("web3", reason="web3 is not installed (pip install 'gridtokenx[anchor]')")
    pytest.importorskip("eth_tester", reason="eth-tester is not installed (it is among dev)")
    from eth_tester import EthereumTester, PyEVMBackend
    from eth_utils import ValidationError
    from web3 import EthereumTesterProvider, Web3

    from cloud.anchor.evm import EvmChain, open_chain

# py-evm's parts allow themselves a recursion deeper than the stack: other tests must not inherit it.
sys.setrecursionlimit(RECURSION)
pytestmark = pytest.mark.filterwarnings("ignore")
KEY = bytes(range(1, 33))
SIGNER = CheckpointSigner("grid.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))


class Node:
    """An EVM with one rich account, mining by hand or with every transaction."""

    def __init__(self):
        self.tester = EthereumTester(backend=PyEVMBackend())
        self.provider = EthereumTesterProvider(self.tester)
        self.web3 = Web3(self.provider)
        self.chain = EvmChain(self.web3, KEY)
        rich = self.web3.eth.accounts[0]
        self.web3.eth.send_transaction({"from": rich, "to": self.chain.address, "value": 10**18})

    def count(self):
        """Transactions of our account in blocks."""
        return self.chain.nonce()


@pytest.fixture
def node():
    return Node()


class Log:
    """A journal file with leaves and signed roots."""

    def __init__(self, directory):
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.journal = SqliteJournal(directory / JOURNAL_FILE)
        self.tree = TransparencyLog()
        self.blocks = 0

    def grow(self, leaves=7):
        first = self.tree.size
        fresh = [b"leaf %d" % number for number in range(first, first + leaves)]
        for leaf in fresh:
            self.tree.append(leaf)
        self.journal.append_leaves(first, fresh)
        self.blocks += 1
        note = SIGNER.sign(self.tree.size, self.tree.root())
        self.journal.put_checkpoint(self.blocks, self.tree.size, note.encode())
        return newest_root(self.journal)


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path / "state")
    yield made
    made.journal.close()


def anchored(node, log, rounds=1):
    """A publisher that has put so many roots on the chain."""
    publisher = Publisher(node.chain, log.directory)
    for _ in range(rounds):
        root = log.grow()
        publisher.step(root)
        publisher.step(root)
    return publisher


def check(node, log, newest):
    return check_anchors(node.chain, newest, log.journal, SIGNER.key.name)


def test_a_root_is_on_the_chain_with_origin_size_and_hash(node, log):
    publisher = anchored(node, log)
    mined = node.chain.mined(publisher.state.newest)
    anchor = decode_anchor(mined.data)
    assert anchor == Anchor(newest_root(log.journal), NO_ANCHOR)
    assert (anchor.checkpoint.origin, anchor.checkpoint.size) == ("grid.example/log", 7)
    assert mined.is_own
    assert publisher.step(newest_root(log.journal)) == "root of 7 leaves is anchored"
    assert node.count() == 1


def test_each_anchor_names_the_one_before(node, log):
    publisher = anchored(node, log, rounds=4)
    sizes = [a.checkpoint.size for _, a in anchors_back(node.chain, publisher.state.newest)]
    assert sizes == [28, 21, 14, 7]
    assert check(node, log, publisher.state.newest) == []


class CutOffError(Exception):
    """The process died here."""


class Dying:
    """The chain, but the process dies before, in or after one of its calls."""

    def __init__(self, chain, call, when):
        self._chain, self._call, self._when = chain, call, when

    def __getattr__(self, name):
        inner = getattr(self._chain, name)
        if name != self._call:
            return inner

        def dying(*arguments):
            if self._when == "before":
                raise CutOffError
            inner(*arguments)
            raise CutOffError

        return dying


@pytest.mark.parametrize("call", ["nonce", "sign", "send", "mined"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_makes_no_second_transaction_and_loses_none(node, log, call, when):
    publisher = anchored(node, log)
    root = log.grow()
    if call == "mined":
        publisher.step(root)
    with pytest.raises(CutOffError):
        Publisher(Dying(node.chain, call, when), log.directory).step(root)
    for _ in range(3):
        publisher = Publisher(node.chain, log.directory)
        publisher.step(root)
    assert (publisher.state.size, publisher.state.pending) == (14, None)
    assert node.count() == 2
    assert check(node, log, publisher.state.newest) == []


def test_a_transaction_that_waits_for_its_block_is_sent_again_and_counts_once(node, log):
    node.tester.disable_auto_mine_transactions()
    publisher = Publisher(node.chain, log.directory)
    first, _ = log.grow(), publisher.step(newest_root(log.journal))
    log.grow()
    with contextlib.suppress(AnchorError):  # the node may say that it has it already
        Publisher(node.chain, log.directory).step(newest_root(log.journal))
    node.tester.mine_block()
    publisher = Publisher(node.chain, log.directory)
    assert "anchored in block" in publisher.step(newest_root(log.journal))
    assert (publisher.state.size, node.count()) == (first.size, 1)


def test_a_transaction_that_another_of_the_key_overtook_is_made_anew(node, log):
    publisher = Publisher(node.chain, log.directory)
    root = log.grow()
    with pytest.raises(CutOffError):
        Publisher(Dying(node.chain, "send", "before"), log.directory).step(root)
    other, raw = node.chain.sign(node.chain.nonce(), b"something else")
    node.chain.send(raw)
    publisher = Publisher(node.chain, log.directory)
    assert "overtaken" in publisher.step(root)
    publisher.step(root)
    publisher.step(root)
    assert publisher.state.size == root.size
    assert publisher.state.newest != other


def test_one_changed_leaf_is_found_by_every_anchor_over_it(node, log):
    newest = anchored(node, log, rounds=3).state.newest
    log.journal._db.execute("update leaf set body = x'00' where position = 8")
    problems = check(node, log, newest)
    assert len(problems) == 2
    assert all("another root" in problem for problem in problems)


def test_a_cut_log_is_shorter_than_its_anchor(node, log):
    newest = anchored(node, log, rounds=2).state.newest
    log.journal._db.execute("delete from leaf where position >= 10")
    assert ["has a root of 14 leaves, the log only 10" in p for p in check(node, log, newest)] == [
        True
    ]


def test_an_anchor_of_another_log_or_key_is_no_witness(node, log):
    newest = anchored(node, log).state.newest
    (problem,) = check_anchors(node.chain, newest, log.journal, "other.example/log")
    assert "is about the log grid.example/log" in problem
    stranger = EvmChain(node.web3, bytes([9] * 32))
    with pytest.raises(AnchorError, match="is not by"):
        check_anchors(stranger, newest, log.journal, SIGNER.key.name)
    with pytest.raises(AnchorError, match="is not on the chain"):
        check_anchors(node.chain, bytes([7] * 32), log.journal, SIGNER.key.name)


def test_another_key_or_chain_does_not_go_on_with_what_is_on_disk(node, log):
    anchored(node, log)
    with pytest.raises(AnchorError, match="use that key and chain"):
        Publisher(EvmChain(node.web3, bytes([9] * 32)), log.directory)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", MAGIC + bytes(72), MAGIC + bytes(72) + b"two words", b"gtxa\x02" + bytes(72) + b"a",
     MAGIC + bytes(72) + b"\xff", MAGIC + bytes(72) + b"a" * 257],
)  # fmt: skip
def test_data_that_is_no_anchor_is_refused(data):
    with pytest.raises(AnchorError, match="no anchor"):
        decode_anchor(data)


def test_an_anchor_is_read_back_as_it_was_written():
    anchor = Anchor(Checkpoint("a/log", (1 << 62) - 1, bytes(range(32))), bytes(range(32, 64)))
    assert decode_anchor(anchor.encode()) == anchor
    assert decode_anchor(replace(anchor, previous=NO_ANCHOR).encode()).previous == NO_ANCHOR


# ---- the command, over JSON-RPC ------------------------------------------------------------------


@pytest.fixture
def rpc(node):
    """The node's address: its own JSON-RPC answers behind a real port."""

    bare = types.SimpleNamespace(as_tuple_of_middleware=tuple)
    answer_to = node.provider.request_func(node.web3, bare)

    class Door(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = answer_to(asked["method"], asked["params"])
            except ValidationError as error:
                answer = {"error": {"code": -32000, "message": str(error)}}
            octets = Web3.to_json({"jsonrpc": "2.0", **answer, "id": asked["id"]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_):
            """Nothing is printed."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def words(rpc, log, tmp_path):
    key = tmp_path / "anchor.key"
    key.write_text("0x" + KEY.hex() + "\n")
    return ["anchor", "--rpc", rpc, "--key", str(key), "--state-dir", str(log.directory)]


def test_the_command_anchors_and_checks(words, node, log, capsys, monkeypatch):
    monkeypatch.setattr("cloud.anchor.command.LOOK_S", 0.01)
    log.grow()
    assert main([*words, "--once"]) == 0
    assert "anchored in block" in capsys.readouterr().out
    assert main([*words, "--once"]) == 0
    assert node.count() == 1
    assert main([*words, "--check"]) == 0
    assert "verified" in capsys.readouterr().out
    log.journal._db.execute("update leaf set body = x'00' where position = 2")
    assert main([*words, "--check"]) == 1
    assert "another root" in capsys.readouterr().out
    newest = json.loads((log.directory / STATE_FILE).read_bytes())["newest"]
    (log.directory / STATE_FILE).unlink()
    assert main([*words, "--check", "--newest", f"0x{newest}"]) == 1


def test_wrong_use_says_what_to_do(words, log, tmp_path, capsys):
    log.grow()

    def said(*changed):
        assert main([*words, *changed]) == 2
        return capsys.readouterr().err

    assert "nothing was anchored yet" in said("--check")
    assert "no http address" in said("--rpc", "ws://x")
    assert "no EVM node answers" in said("--rpc", "http://127.0.0.1:9")
    (tmp_path / "bad").write_text("secret")
    assert "64 hex digits" in said("--key", str(tmp_path / "bad"))
    assert "no key at" in said("--key", str(tmp_path / "none"))
    assert "no journal" in said("--state-dir", str(tmp_path / "none"))


def test_the_key_file_names_the_account(rpc, node, tmp_path):
    (tmp_path / "k").write_text(KEY.hex())
    assert open_chain(rpc, tmp_path / "k").address == node.chain.address


def test_an_account_without_money_says_so_and_leaves_nothing_behind(words, log, tmp_path, capsys):
    log.grow()
    (tmp_path / "poor").write_text("09" * 32)
    assert main([*words, "--once", "--key", str(tmp_path / "poor")]) == 2
    assert "cannot afford" in capsys.readouterr().err
