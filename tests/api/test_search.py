"""``evonas.search`` from Python: its result, its callbacks, and what ends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import evonas
from evonas import InputError
from evonas.api.resuming import stored
from evonas.core.experiment import Experiment, changed, load
from evonas.core.settings import FinalsSettings
from evonas.errors import RunError
from evonas.runs.finals import Outcome
from evonas.runs.run_store import Trial, is_open, read_journal
from evonas.space import Architecture


class Listener(evonas.Callback):
    """Notes what it is told; raises a given error at a given moment."""

    def __init__(self, moment: str = "", error: BaseException | None = None) -> None:
        self.told: list[tuple[str, Any]] = []
        self._moment, self._error = moment, error

    def _note(self, moment: str, value: Any = None) -> None:
        self.told.append((moment, value))
        if moment == self._moment and self._error is not None:
            raise self._error

    def of(self, moment: str) -> list[Any]:
        return [value for name, value in self.told if name == moment]

    def on_message(self, line: str) -> None:
        self._note("message", line)

    def on_start(self, start: evonas.SearchStart) -> None:
        self._note("start", start)

    def on_trial(self, trial: Trial) -> None:
        self._note("trial", trial)

    def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
        self._note("generation", (generation, list(trials)))

    def on_stage(self, stage: str, trainings: int) -> None:
        self._note("stage", (stage, trainings))

    def on_end(self, result: evonas.SearchResult) -> None:
        self._note("end", result)

    def on_stop(self, error: BaseException, message: str) -> None:
        self._note("stop", (error, message))


@pytest.fixture
def small(tiny_experiment: Experiment) -> Experiment:
    return tiny_experiment.changed(
        budget=4, optimizer={"population_size": 2}, finals={"networks": 1, "seeds": 1}
    )


def rows(folder: Path) -> list[Trial]:
    return read_journal(folder)


def test_an_experiment_is_loaded_with_changes_as_the_command_line_has_them() -> None:
    words = ["budget=8", "training.epochs=3", "optimizer=ga", "objective.max_macs=1000000"]
    made = evonas.Experiment.load(
        "quickstart",
        budget=8,
        training={"epochs": 3},
        optimizer="ga",
        objective={"max_macs": 1_000_000},
    )
    assert made == load("quickstart", words)
    assert made.training.learning_rate == 3e-3, "the section's other keys stay"
    assert made == evonas.Experiment.load("quickstart").changed(
        **{"budget": 8, "training.epochs": 3, "optimizer": {"name": "ga"}},
        objective={"max_macs": 1e6},
    )
    assert made.optimizer.options == {}, "options of the file's optimizer are for that alone"
    paths = made.changed(features={"cache": Path("a") / "b"}, space={"tap": ("block2", "block3")})
    assert paths.features.cache == "a/b"
    assert paths.space.options["tap"] == ["block2", "block3"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bugdet": 3}, "unknown key 'bugdet': did you mean 'budget'"),
        ({"budget": "many"}, "budget: input should be a valid integer.*got 'many'"),
        ({"training": {"epochs": 0}}, "training.epochs: .*got '0'"),
        ({"seed": {"a": 1}}, "seed.a: expected a section seed, got 0"),
        (
            {"training": {"epochs": 3}, "training.epochs": 4},
            "training.epochs=3 and training.epochs=4 contradict each other",
        ),
    ],
)
def test_wrong_changes_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evonas.Experiment.load("quickstart", **changes)
    with pytest.raises(InputError, match=r"unknown experiment 'quikstart': .*'quickstart'"):
        evonas.Experiment.load("quikstart")


def test_a_search_gives_what_its_files_hold(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    result = evonas.search(small, run_dir=str(tmp_path / "run"), callbacks=[listener])
    assert capsys.readouterr() == ("", ""), "nothing is printed"
    best = json.loads((tmp_path / "run/best.json").read_text("utf-8"))
    assert result.best.architecture.to_dict() == best["architecture"]
    assert (result.best.digest, result.best.macs) == (best["digest"], best["macs"])
    assert result.best.error == best["metrics"][result.metric]
    assert (result.best.params, result.best.seeds) == (best["params"], best["seeds"])
    assert (result.metric, result.unit) == ("mae", "degrees")
    assert result.trials == rows(tmp_path / "run")
    front = json.loads((tmp_path / "run/front.json").read_text("utf-8"))["front"]
    assert [one.digest for one in result.pareto_front] == [one["digest"] for one in front]
    assert result.experiment.budget == 4
    assert evonas.load_run(tmp_path / "run").best == result.best
    assert evonas.load_run(result.best_file) == result

    (start,) = listener.of("start")
    assert (start.run_dir, start.metric, start.trained) == (tmp_path / "run", "mae", 0)
    seen = listener.of("trial")
    assert sorted(seen, key=lambda trial: trial.place) == result.trials
    assert [number for number, _ in listener.of("generation")] == [0, 1]
    in_generations = [trial for _, some in listener.of("generation") for trial in some]
    assert in_generations == [trial for trial in result.trials if not trial.repeat]
    assert [stage for stage, _ in listener.of("stage")] == ["finals", "baselines"]
    assert listener.of("end") == [result]
    assert not listener.of("stop")
    assert listener.told[-1][0] == "end"
    assert "networks of space" in listener.of("message")[0]


def test_a_result_is_a_table_and_a_page(run: Path, tmp_path: Path) -> None:
    result = evonas.load_run(run)
    table = result.trials_dataframe()
    assert len(table) == len(result.trials) > 0
    trained = table[table.status == "ok"]
    assert trained["fitness"].min() == min(t.value for t in result.trials if t.succeeded)
    first = result.trials[0]
    assert table["metrics.mae"][0] == first.metrics["mae"]
    assert table["settings.tap"][0] == first.architecture["settings"]["tap"]
    page = result.report(tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert result.best.digest in page.read_text("utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        result.report(run / "journal.jsonl" / "page.html")


def test_without_pandas_the_table_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"needs pandas.*pip install pandas, or take"):
        evonas.load_run(run).trials_dataframe()


def test_a_search_is_resumed_and_begins_with_another(
    run: Path, source: tuple[Path, str], tmp_path: Path
) -> None:
    before = rows(run)
    listener = Listener()
    with pytest.raises(InputError, match="already holds a run: go on with --resume"):
        evonas.search(evonas.load_run(run).experiment, run_dir=run)
    longer = evonas.load_run(run).experiment.changed(budget=7)
    result = evonas.search(longer, run_dir=run, resume=True, callbacks=[listener])
    assert rows(run)[:1] == before[:1]
    new = listener.of("trial")
    assert len([trial for trial in new if trial.trained]) == 1
    assert {trial.place for trial in new}.isdisjoint(trial.place for trial in before)
    assert listener.of("start")[0].trained == 6
    again = evonas.search(None, run_dir=run, resume=True)
    assert again.best == result.best

    other = tmp_path / "other"
    warm = evonas.search(
        longer.changed(budget=2, seed=9, finals={"networks": 0}), run_dir=other, warm_start=again
    )
    taken = [trial for trial in warm.trials if trial.status == "earlier"]
    assert {trial.digest for trial in taken} == {t.digest for t in again.trials if t.trained}


@pytest.mark.parametrize("moment", ["start", "trial", "generation", "stage"])
def test_a_callback_that_raises_ends_the_search_and_loses_nothing(
    moment: str, small: Experiment, tmp_path: Path
) -> None:
    whole = evonas.search(small, run_dir=tmp_path / "whole")
    error = ZeroDivisionError("mine")
    broken, other = Listener(moment, error), Listener()
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        evonas.search(small, run_dir=tmp_path / "run", callbacks=[other, broken])
    assert caught.value is error
    for listener in (broken, other):
        ((why, how),) = listener.of("stop")
        assert why is error
        assert f"go on with evonas search --resume --run-dir {tmp_path / 'run'}" in how
        assert not listener.of("end")
    known = rows(tmp_path / "run")
    assert known == sorted(other.of("trial"), key=lambda trial: trial.place), "all are written"
    assert not is_open(tmp_path / "run")
    assert "ended: ZeroDivisionError: mine" in (tmp_path / "run/log.txt").read_text("utf-8")
    on = Listener()
    result = evonas.search(None, run_dir=tmp_path / "run", resume=True, callbacks=[on])
    assert result.best == whole.best
    assert [_untimed(t) for t in result.trials] == [_untimed(t) for t in whole.trials]
    again = {trial.place for trial in on.of("trial")}
    assert again.isdisjoint(trial.place for trial in known), "no network is trained twice"
    for _, some in on.of("generation"):
        assert again & {trial.place for trial in some}, "what is only replayed is not reported"


def test_an_error_after_the_search_leaves_a_finished_run(small: Experiment, tmp_path: Path) -> None:
    listener = Listener("end", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        evonas.search(small, run_dir=tmp_path / "run", callbacks=[listener])
    assert evonas.load_run(tmp_path / "run").best.seeds == 1
    assert not is_open(tmp_path / "run")


def test_a_stop_says_how_to_go_on(small: Experiment, tmp_path: Path) -> None:
    def broken(error: BaseException, message: str) -> None:
        raise ValueError("in on_stop")

    first, second = Listener("trial", KeyboardInterrupt()), Listener()
    first.on_stop = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        evonas.search(small, run_dir=tmp_path / "run", callbacks=[first, second])
    ((_, how),) = second.of("stop")
    assert how.startswith("Stopped after 1 networks; nothing is lost. Go on with:\n  evonas search")
    assert caught.value.__notes__ == ["Listener.on_stop raised ValueError: in on_stop"]


def test_a_run_error_names_the_way_to_go_on(small: Experiment, tmp_path: Path) -> None:
    listener = Listener("generation", RunError("disk"))
    with pytest.raises(RunError, match="disk; nothing that is done is lost, go on with evonas sea"):
        evonas.search(small, run_dir=tmp_path / "run", callbacks=[listener])


def test_misuse_is_refused_before_anything_is_there(
    tiny: dict[str, Any], tiny_experiment: Experiment, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for arguments, words in (
        ({"resume": True}, "--resume needs --run-dir: which run is to go on"),
        ({"resume": True, "run_dir": run}, "holds no run to resume"),
        (
            {"resume": True, "run_dir": run, "warm_start": tmp_path},
            "--from is for a new run: one that is resumed knows what it began with",
        ),
        ({"run_dir": run, "warm_start": tmp_path}, "expected the folder of a run, found no exper"),
        ({"run_dir": run, "callbacks": [Listener]}, "callbacks: expected objects of subclasses"),
    ):
        with pytest.raises(InputError, match=words):
            evonas.search(tiny_experiment, **arguments)
        assert not run.exists()
    with pytest.raises(InputError, match="expected an experiment, got none"):
        evonas.search(None, run_dir=run)
    with pytest.raises(InputError, match="unknown optimizer 'cmaa': did you mean 'cma'"):
        evonas.search(tiny_experiment.changed(optimizer="cmaa"), run_dir=run)
    assert not run.exists()


def test_a_run_that_is_none_or_is_damaged_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such run"):
        evonas.load_run(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no run: journal.jsonl cannot be read"):
        evonas.load_run(tmp_path)
    best = json.loads((run / "best.json").read_text("utf-8"))
    for change, words in (
        ({"format": 99}, "expected a best.json or front.json of format 1, got 99"),
        ({"metrics": {"other": 1.0}}, "best.json: has no 'mae', which environment.json calls"),
        ({"macs": "many"}, "best.json"),
        ({"digest": "0" * 16}, "the digest does not fit the architecture"),
    ):
        (run / "best.json").write_text(json.dumps({**best, **change}), encoding="utf-8")
        with pytest.raises(InputError, match=words):
            _ = evonas.load_run(run).best
    (run / "front.json").write_text('{"format": 1, "front": [3]}', encoding="utf-8")
    with pytest.raises(InputError, match="expected networks in 'front', got 3"):
        _ = evonas.load_run(run).pareto_front


def test_a_run_of_an_older_version_is_read(run: Path) -> None:
    """Before 0.2.0 neither the error's name nor the warnings stood in environment.json."""
    environment = json.loads((run / "environment.json").read_text("utf-8"))
    del environment["error"], environment["warnings"]
    (run / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    text = yaml.safe_load((run / "experiment.yaml").read_text("utf-8"))
    del text["quantize"], text["probe"]
    (run / "experiment.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    older = [{k: v for k, v in line.items() if k not in ("curve", "at", "rung")} for line in lines]
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    result = evonas.load_run(run)
    assert (result.metric, result.unit) == ("mae", "")
    assert result.best.error == result.best.metrics["mae"]
    assert result.experiment == changed(result.experiment, [])


def test_the_live_view_prints_what_the_command_line_prints(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evonas.search(small, run_dir=tmp_path / "run", callbacks=[evonas.LiveView()])
    out = capsys.readouterr().out
    assert "4/4 trained, 0 repeats, 0 failed" in out.replace("\n", " ")
    assert "Finals: at most 1 further training(s)" in out
    assert "Next:" not in out


def _untimed(trial: Trial) -> dict[str, Any]:
    return {k: v for k, v in trial.row().items() if k not in ("seconds", "at")}


def test_a_run_that_is_older_than_races_goes_on_with_fixed_finals(
    small: evonas.Experiment, tmp_path: Path
) -> None:
    plain = small.model_dump(mode="json")
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({**plain, "finals": {"networks": 3, "seeds": 3}}), "utf-8")
    old = FinalsSettings(method="fixed", networks=3, seeds=3, validation="search")
    assert stored(tmp_path, []).finals == old
    assert stored(tmp_path, ["finals.method=race", "finals.budget=7"]).finals.budget == 7
    file.write_text(yaml.safe_dump(plain), "utf-8")
    assert stored(tmp_path, []) == small


def test_finals_keep_the_images_that_judge_them(small: Experiment, tmp_path: Path) -> None:
    few = small.changed(budget=2, finals={"networks": 1, "seeds": 1})
    evonas.search(few, run_dir=tmp_path / "run")
    other = few.changed(finals={"networks": 1, "seeds": 2, "validation": "search"})
    with pytest.raises(InputError, match=r"finals\.validation: 'folds' -> 'search'"):
        evonas.search(other, run_dir=tmp_path / "run", resume=True)
    more = few.changed(finals={"networks": 1, "seeds": 2})
    evonas.search(more, run_dir=tmp_path / "run", resume=True)
    assert [row.fold for row in rows(tmp_path / "run") if row.repeat] == [1, 2]


def test_a_probe_of_the_taps_is_a_hint_that_a_resumed_run_keeps(
    small: Experiment, features: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hinted = small.changed(optimizer="surrogate").changed(optimizer={"population_size": 2})
    whole, half, off = tmp_path / "whole", tmp_path / "half", tmp_path / "off"

    def said(one: Experiment, folder: Path, resume: bool = False) -> list[str]:
        listener = Listener()
        evonas.search(one, run_dir=folder, resume=resume, callbacks=[listener])
        return [line for line in listener.of("message") if line.startswith("Probe of taps: ")]

    def genomes(folder: Path) -> list[Any]:
        return [trial.genome for trial in rows(folder) if not trial.repeat]

    line = said(hinted, whole)
    prior = json.loads((whole / "environment.json").read_text())["tap_prior"]
    best, worst = sorted(prior, key=prior.__getitem__)
    assert {best, worst} == {"block3", "block4"}
    errors = f"{best} {prior[best]:.3g}, {worst} {prior[worst]:.3g} degrees"
    assert line == [f"Probe of taps: {errors}: a hint to the strategy."]

    said(hinted.changed(budget=2), half)
    monkeypatch.setattr("evonas.workflows.components.tap_errors", lambda *_: {"block3": 99.0})
    assert said(hinted, half, resume=True) == line
    assert genomes(half) == genomes(whole)

    assert said(hinted.changed(tap_prior=False), off) == []
    assert "tap_prior" not in json.loads((off / "environment.json").read_text())
    assert said(small.changed(budget=1), tmp_path / "random") == []


def test_baselines_stand_on_the_tap_of_the_winner_that_is_named(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that is not the network of the lowest mean, as with ``finals.prefer=cost``."""
    own = Outcome.of
    seen: list[str] = []

    def turned(*arguments: Any) -> Outcome:
        found = own(*arguments)
        return Outcome(found.finalists[::-1], found.cheaper, found.leader)

    def heads(components: Any, winner: Architecture) -> tuple[()]:
        seen.append(winner.digest)
        return ()

    monkeypatch.setattr(Outcome, "of", turned)
    monkeypatch.setattr("evonas.workflows.baseline_stage.standard_heads", heads)
    evonas.search(
        small.changed(budget=4, finals={"networks": 3, "seeds": 2}), run_dir=tmp_path / "run"
    )
    assert {*seen} == {json.loads((tmp_path / "run" / "best.json").read_text())["digest"]}
