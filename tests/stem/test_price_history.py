"""Recorded publications on the command line: taken once, refused with a cure, learned from."""

from datetime import date

import pytest

from cloud.__main__ import main
from cloud.feeds.intervals import PACIFIC, trade_day
from cloud.learning import read_head
from cloud.store.prices import PriceStore, Series
from cloud.venues.days import CAISO_NODE, caiso_zip, pjm_json
from cloud.venues.years import PLACES
from cloud.vpp.prices import DAY_NS
from protos.clock import ENVIRONMENT
from tests.stem.test_value_pump import DAYS, NOW, PASSES, model_of
from tests.vpp.made_store import CAISO, fill

DAY = date(2025, 11, 2)
"""A day of 25 hours."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """It is always `NOW`."""
    monkeypatch.setenv(ENVIRONMENT, f"0.0:0:{NOW}")


@pytest.fixture
def files(tmp_path):
    found = []
    for market in ("DAM", "RTPD"):
        path = tmp_path / f"{market}.zip"
        path.write_bytes(caiso_zip(DAY, market))
        found.append(str(path))
    return found


def taken(tmp_path, *files, source="caiso"):
    return main(["prices", "--directory", str(tmp_path), "--source", source, *files])


def test_publications_are_stored_with_their_bytes_and_a_second_time_change_nothing(
    tmp_path, files, capsys
):
    assert taken(tmp_path, *files) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "caiso DAM TH_SP15_GEN-APND, 2025-11-02 to 2025-11-02: 25 of 25 intervals" in first
    assert "caiso RTPD TH_SP15_GEN-APND" in second
    assert "100 of 100 intervals, 500 values new, 0 corrected" in second
    assert taken(tmp_path, *files) == 0
    assert capsys.readouterr().out.count(" 0 values new, 0 corrected") == 2
    store = PriceStore(tmp_path / "prices.db", read_only=True)
    series = Series("caiso", "RTPD", CAISO_NODE)
    known = store.latest(series, trade_day(DAY, PACIFIC))
    assert len(known) == 100
    assert {price.version for price in known} == {1}
    hashes = {fetch[2] for fetch in store.fetches("caiso")}
    assert {store.archived(digest) for digest in hashes} == {
        caiso_zip(DAY, "DAM"),
        caiso_zip(DAY, "RTPD"),
    }
    store.close()


def test_a_file_that_is_no_publication_is_named_and_the_ones_before_it_stay(
    tmp_path, files, capsys
):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    assert taken(tmp_path, files[0], str(wrong)) == 2
    assert str(wrong) in capsys.readouterr().err
    store = PriceStore(tmp_path / "prices.db", read_only=True)
    assert len(store.latest(Series("caiso", "DAM", CAISO_NODE), trade_day(DAY, PACIFIC))) == 25
    store.close()


def test_a_price_that_is_not_the_sum_of_its_parts_is_not_taken(tmp_path, capsys):
    body = pjm_json(DAY, "RT").replace(b'"total_lmp_rt": ', b'"total_lmp_rt": 1', 1)
    path = tmp_path / "rt.json"
    path.write_bytes(body)
    assert taken(tmp_path, str(path), source="pjm") == 2
    assert "not the sum of their parts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prices", "--directory", ".", "--source", "nowhere", "x"], "known: caiso, pjm"),
        (["prices", "--directory", "no-dir", "--source", "pjm", "x"], "name the aggregator's"),
        (["learn", "--directory", "no-dir", "--venue", "caiso"], "no price store"),
        (["learn", "--directory", "no-dir", "--venue", "ercot"], "known: caiso, pjm"),
        (["learn", "--directory", ".", "--venue", "pjm", "--power-w", "0"], "amounts above 0"),
    ],
)
def test_a_slip_is_named_with_its_cure(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_too_few_days_say_how_many_there_are_and_how_to_bring_more(tmp_path, files, capsys):
    taken(tmp_path, *files)
    assert main(["learn", "--directory", str(tmp_path), "--venue", "caiso"]) == 2
    error = capsys.readouterr().err
    assert "1 days of caiso's prices in the store" in error
    assert "gridtokenx prices" in error


def test_learning_by_hand_shows_both_figures(tmp_path, capsys):
    fill(tmp_path, DAYS, place=PLACES[0], seed=PASSES)
    assert main(["learn", "--directory", str(tmp_path), "--venue", "caiso"]) == 0
    said = capsys.readouterr().out
    head = read_head(model_of(tmp_path))
    assert f"{DAYS} days of prices at {CAISO.node}" in said
    assert f"earned {head.learned_share_per_mille} per mille" in said
    assert f"plain programme {head.plain_share_per_mille}: it is used" in said
    assert head.made_ns == NOW
    assert NOW % DAY_NS == 0
