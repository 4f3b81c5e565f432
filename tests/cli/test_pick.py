"""Retraining what was picked of a front or a ranking."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Cli, said
from finished_search import of, read


def test_one_network_of_a_front_is_retrained(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "front.json", "--pick", "cheapest:999", "--out", "o")
    assert (code, err) == (0, "")
    chosen = read(run / "front.json")["front"][0]
    assert (
        f"cheapest:999: {chosen['digest']}, error {chosen['metrics']['mae']:.3f} and "
        f"{chosen['macs']} multiply-adds"
    ) in out
    content = read(run.parent / "o" / "comparison.json")
    assert content["winner"] == chosen["architecture"]
    winner = content["contenders"][0]
    assert (winner["name"], winner["searched"]) == ("winner", chosen["metrics"]["mae"])
    assert (run.parent / "o" / "winner.safetensors").is_file()


def test_the_knee_of_a_front_is_retrained(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "front.json", "--pick", "knee")
    assert (code, err) == (0, "")
    winner = read(run / "retrained-knee" / "comparison.json")["winner"]
    assert winner in [network["architecture"] for network in read(run / "front.json")["front"]]
    assert "knee: " in out


def test_any_network_of_the_journal_is_retrained_by_the_first_digits_of_its_digest(
    evonas: Cli, run: Path
) -> None:
    chosen = max(of(run, "ok"), key=lambda trial: trial.value)  # neither winner nor finalist
    code, out, err = evonas("retrain", run, "--pick", chosen.digest[:6], "baselines=[]")
    assert (code, err) == (0, "")
    assert f"{chosen.digest[:6]}: {chosen.digest}, error {chosen.metrics['mae']:.3f} and" in out
    content = read(run / f"retrained-{chosen.digest[:8]}" / "comparison.json")
    assert content["winner"] == chosen.architecture
    assert content["contenders"][0]["searched"] == chosen.metrics["mae"]


def test_a_digest_that_names_no_network_or_several_is_refused(evonas: Cli, run: Path) -> None:
    line = said(evonas("retrain", "run", "--pick", "0123456789abcdef"))
    assert line.startswith("--pick 0123456789abcdef: run trained no network with such a digest: ")
    journal = run / "journal.jsonl"
    for number, trial in enumerate(of(run, "ok")[:2]):
        text = journal.read_text("utf-8").replace(trial.digest, f"{number:016x}")
        journal.write_text(text, "utf-8")
    line = said(evonas("retrain", "run", "--pick", "000"))
    assert line.startswith("--pick 000: 2 networks of run begin so: 0000000000000000, ")
    assert line.endswith(": give more digits")


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        (
            "front.json",
            [],
            "run/front.json: a front holds several networks: choose with --pick knee, "
            "cheapest:ERROR or best:MACS, or the first digits of a digest",
        ),
        (
            "front.json",
            ["--pick", "best"],
            "--pick best: expected knee, cheapest:ERROR or best:MACS, or the first digits of",
        ),
        ("front.json", ["--pick", "best:1"], "--pick best:1: no network of run/front.json has"),
        (
            "best.json",
            ["--pick", "knee"],
            "run/best.json: --pick knee chooses from a front.json, and this holds one network",
        ),
    ],
)
def test_a_pick_that_does_not_fit_is_refused(
    evonas: Cli, run: Path, file: str, words: list[str], expected: str
) -> None:
    line = said(evonas("retrain", f"run/{file}", *words))
    assert line.startswith(expected)
    assert not (run / "retrained").exists()


def test_an_experiment_has_nothing_to_pick(evonas: Cli, tiny_file: Path) -> None:
    assert "--pick" in said(evonas("retrain", tiny_file, "--pick", "knee"))


def test_an_experiment_has_no_ranking(evonas: Cli, tiny_file: Path) -> None:
    line = said(evonas("retrain", tiny_file, "--ranking", 3))
    assert line == "--ranking needs the best.json of a search, got an experiment"


def test_a_ranking_needs_the_journal(evonas: Cli, run: Path) -> None:
    (run / "journal.jsonl").unlink()
    line = said(evonas("retrain", run / "best.json", "--ranking", 3))
    assert line == f"{run}: holds no run: journal.jsonl cannot be read"


def test_further_networks_of_the_ranking_tell_whether_short_trainings_rank_as_long_ones(
    evonas: Cli, run: Path
) -> None:
    code, out, err = evonas("retrain", run / "best.json", "--ranking", 3)
    assert (code, err) == (0, "")
    content = read(run / "retrained" / "comparison.json")
    contenders = content["contenders"]
    searched = {t.digest: t.metrics["mae"] for t in of(run, "ok")}
    ranks = sorted(searched.values())
    more = [one for one in contenders if one["name"].startswith("number ")]
    places = {"number 1 of 6", "number 3 of 6", "number 4 of 6", "number 6 of 6"}
    assert len(more) in (2, 3), "the winner may be one of the three"
    assert {one["name"] for one in more} <= places
    for one in more:
        place = int(one["name"].removeprefix("number ").removesuffix(" of 6"))
        assert one["searched"] == ranks[place - 1]
    winner = contenders[0]
    assert winner["searched"] == searched[read(run / "best.json")["digest"]]
    known = [one for one in contenders if one["searched"] is not None]
    assert content["rank_correlation"]["networks"] == len(known) >= 4
    assert -1 <= content["rank_correlation"]["spearman"] <= 1
    line = f"Do short trainings rank as long ones? {len(known)} networks are too few to say"
    assert line in out
    assert line in (run / "retrained" / "comparison.md").read_text("utf-8")


def test_a_rank_correlation_of_few_networks_is_not_said_unasked(
    evonas: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evonas.report.ranking._LEAST", 2)
    code, out, err = evonas("retrain", run / "best.json")
    assert (code, err) == (0, "")
    assert read(run / "retrained" / "comparison.json")["rank_correlation"]["networks"] == 2
    assert "Rank correlation" not in out
    assert "rank as long ones" not in out


def test_without_three_networks_there_is_no_rank_correlation(evonas: Cli, run: Path) -> None:
    code, out, err = evonas("retrain", run / "best.json", "baselines=[]")
    assert (code, err) == (0, "")
    assert read(run / "retrained" / "comparison.json")["rank_correlation"] is None
    assert "Rank correlation" not in out
