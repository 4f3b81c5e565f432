"""``objective.error=loss``: the loss on validation images in the place of the task's metric."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import Cli, said
from finished_search import new, of, read

from evonas.core.settings import ObjectiveSettings

LOSS = "objective.error=loss"


def test_the_default_is_the_metric_of_the_task() -> None:
    assert ObjectiveSettings().error == "metric"


def test_a_search_multiplies_the_loss(evonas: Cli, tiny_file: Path, run: Path) -> None:
    """Trained to the same bits as without it; only what is minimised is another."""
    words = ("objective.mode=soft", "objective.weight=0.07", LOSS, "finals.seeds=1")
    folder, out = new(evonas, tiny_file, *words, finals=2)
    trials = of(folder, "ok")
    plain = {trial.digest: trial for trial in of(run, "ok")}
    assert len(trials) == 6
    for trial in trials:
        loss = trial.metrics["held_out_loss"]
        assert trial.fitness == pytest.approx(loss * (2 * trial.macs / 10e6) ** 0.07, rel=1e-12)
        assert trial.curve == (round(loss, 6),)
        kept = {k: v for k, v in trial.metrics.items() if k != "held_out_loss"}
        assert kept == plain[trial.digest].metrics
    assert not any("held_out_loss" in trial.metrics for trial in plain.values())
    assert read(folder / "environment.json")["error"] == {"metric": "held_out_loss", "unit": ""}
    finals = {trial.digest for trial in of(folder, "final")}
    assert finals == {t.digest for t in sorted(trials, key=lambda trial: trial.value)[:2]}
    best = read(folder / "best.json")
    assert best["digest"] in finals
    assert best["fitness"] == min(trial.value for trial in of(folder, "final"))
    errors = [one["axes"]["error"] for one in read(folder / "front.json")["front"]]
    assert set(errors) <= {trial.metrics["held_out_loss"] for trial in trials}
    assert f"Best: held_out_loss {best['metrics']['held_out_loss']:.3f} at " in out
    loss = r"held_out_loss \d\.\d{3}, over the winner's folds \d\.\d{3} at "
    assert re.search(f"Trained the same way, pooled features .*: {loss}", out)


def test_a_race_is_decided_by_the_loss(evonas: Cli, tiny_file: Path) -> None:
    words = ("--fidelity=racing", "training.epochs=2", "fidelity.rung=0.5", "objective.weight=0")
    folder, _ = new(evonas, tiny_file, *words, LOSS)
    ended, stopped = of(folder, "ok"), of(folder, "stopped")
    assert len(ended) == len(stopped) == 3
    for generation in {trial.generation for trial in stopped}:
        rungs = [[t.rung for t in rows if t.generation == generation] for rows in (ended, stopped)]
        assert max(rungs[0]) <= min(rungs[1])
    assert all(trial.metrics["held_out_loss"] == trial.rung for trial in stopped)


def test_retraining_testing_and_reporting_follow(evonas: Cli, tiny_file: Path) -> None:
    folder, _ = new(evonas, tiny_file, LOSS, "retraining.epochs=2")
    code, out, err = evonas("retrain", folder / "best.json", "--ranking", 4)
    assert code == 0, err
    assert "held_out_loss: the task's loss on these images, without a unit" in out
    assert "networks are too few to say" in " ".join(out.split())
    content = read(folder / "retrained" / "comparison.json")
    winner = content["contenders"][0]
    (result,) = winner["results"]
    assert result["held_out_loss"] == pytest.approx(min(winner["curves"][0]), abs=1e-6)
    searched = {t.digest: t.metrics["held_out_loss"] for t in of(folder, "ok")}
    assert winner["searched"] in searched.values()
    (constant,) = (c for c in content["contenders"] if c["name"] == "constant")
    assert "held_out_loss" not in constant["results"][0]
    text = (folder / "retrained" / "comparison.md").read_text("utf-8")
    assert "| constant | - |" in text
    assert "nan" not in text
    assert evonas("report", folder)[0] == 0
    assert "held_out_loss" in (folder / "report.html").read_text("utf-8")
    words = ("synthetic_faces", "seed=77", "identities=4", "images_per_identity=4", "train=0.5")
    code, out, err = evonas("test", folder / "retrained", *words)
    assert code == 0, err
    assert "held_out_loss" not in out


def test_another_error_is_another_run(evonas: Cli, tiny_file: Path, run: Path) -> None:
    """Its epochs were chosen otherwise, and its losses were never measured."""
    folder, out = new(evonas, tiny_file, LOSS, "--optimizer", "ga", "--budget", 8, "--from", run)
    assert f"The results of {run} do not hold here (objective.error: 'metric' -> 'loss')" in out
    assert len(of(folder, "suggested")) == 2
    code, _, err = evonas("search", "--resume", "--run-dir", run, "--budget", 7, LOSS)
    assert code == 2
    assert "objective.error: 'metric' -> 'loss'" in err


def test_a_table_has_no_losses(evonas: Cli, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("a,error\n1,2.0\n2,3.0\n", "utf-8")
    table = {"file": str(tmp_path / "known.csv"), "genes": ["a"], "error": "error"}
    experiment = {"name": "known", "budget": 2, "optimizer": "random", "table": table}
    (tmp_path / "known.yaml").write_text(json.dumps(experiment), "utf-8")
    line = said(evonas("search", tmp_path / "known.yaml", LOSS))
    assert line == (
        "objective.error=loss: a table has one error, in its column, and no losses: take "
        "objective.error=metric"
    )


def test_an_unknown_error_is_refused(evonas: Cli, tiny_file: Path) -> None:
    line = said(evonas("search", tiny_file, "objective.error=accuracy"))
    assert "objective.error: input should be 'metric' or 'loss', got 'accuracy'" in line
