"""The main job, run as the README says it is run, and checked by the tools it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SLOTS = 3


def gridtokenx(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "cloud", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One headless run: its directory and its last line."""
    directory = tmp_path_factory.mktemp("demo") / "state"
    done = gridtokenx(
        "demo", "--headless", "--speed", "60", "--homes", "20", "--slots", str(SLOTS), "--json",
        "--directory", directory,
    )  # fmt: skip
    return directory, json.loads(done.stdout.splitlines()[-1])


def test_the_last_line_holds_every_figure_and_every_promise(demo):
    _, result = demo
    assert set(result) >= {
        "readings", "offers", "trades", "refused", "slots_settled", "ledger_sums",
        "conservation_error_wh", "minted_wh", "burned_wh", "blocks", "root", "bids",
        "dispatches", "commands", "replay_equal",
    }  # fmt: skip
    assert set(result["readings"]) == {"accepted", "duplicated", "lost"}
    assert result["readings"]["accepted"] > 10_000
    assert (result["readings"]["duplicated"], result["readings"]["lost"]) == (0, 0)
    assert result["offers"] > 0
    assert result["trades"] > 0
    assert result["slots_settled"] == SLOTS
    assert not any(result["ledger_sums"].values())
    assert result["conservation_error_wh"] == 0
    assert result["minted_wh"] > 0
    assert result["blocks"] >= 10
    assert set(result["bids"]) == {"submitted", "accepted"}
    assert result["bids"]["accepted"] >= 1
    assert set(result["dispatches"]) == {"sent", "confirmed", "reverted"}
    assert result["replay_equal"] is True


def test_the_journal_replays_to_the_published_root(demo):
    directory, result = demo
    done = gridtokenx(
        "replay", "--verify", "--json", "--config", directory / "cloud.toml",
        "--journal", directory / "cloud" / "journal.db",
    )  # fmt: skip
    replayed = json.loads(done.stdout)
    assert replayed["verified"] is True
    assert replayed["commands"] == result["commands"]
    assert replayed["commands_per_s"] > 0


def test_a_household_s_receipt_verifies_offline(demo):
    directory, _ = demo
    done = gridtokenx("verify", directory / "home-01.receipt", "--json")
    statement = json.loads(done.stdout)
    assert statement["valid"] is True
    assert statement["Statement"]["account"] == "home-01"


def test_any_changed_byte_of_the_receipt_is_found(demo, tmp_path):
    """Every byte in this process; three of them through the command line as well."""
    from protos.receipt import ReceiptError, verify

    directory, _ = demo
    path = directory / "home-01.receipt"
    key = path.with_name(path.name + ".key").read_text().strip()
    good = path.read_bytes()
    verify(good, key)
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 0x04
        with pytest.raises(ReceiptError):
            verify(bytes(bad), key)
    for place in (0, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 0x04
        forged = tmp_path / "forged.receipt"
        forged.write_bytes(bytes(bad))
        done = gridtokenx("verify", forged, "--key", key, check=False)
        assert done.returncode == 1
        assert "NOT valid" in done.stderr


def test_a_demo_that_cannot_start_says_what_to_do():
    for arguments, words in (
        (("--homes", "0"), "1 to 1000"),
        (("--speed", "0"), "0.1 to 600"),
        (("--slots", "-1"), "runs on"),
    ):
        done = gridtokenx("demo", *arguments, check=False)
        assert done.returncode == 2
        assert words in done.stderr


def test_replaying_nothing_says_where_a_journal_comes_from(tmp_path):
    done = gridtokenx("replay", "--journal", tmp_path / "absent.db", check=False)
    assert done.returncode == 2
    assert "gridtokenx demo" in done.stderr
