"""Searches with a logger: what stands in the log, beside an unchanged journal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import Cli, said
from finished_search import BUDGET, new, of, read
from logs import READ, accumulated, client_of, mlflow, tensorboard, texts

from evonas.core.experiment import changed, check
from evonas.errors import InputError

BOTH = "logger=[tensorboard, mlflow]"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def untimed(folder: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "at")} for row in rows]


def test_the_log_is_the_journal(evonas: Cli, tiny_file: Path) -> None:
    folder, _ = new(evonas, tiny_file, BOTH, "finals.seeds=2", finals=2)
    trials = of(folder, "ok")
    fitness = [(n, trial.fitness) for n, trial in enumerate(trials, start=1)]
    assert len(fitness) == BUDGET
    assert mlflow(folder)["fitness"] == fitness
    assert dict(tensorboard(folder)["fitness"]) == pytest.approx(dict(fitness), rel=1e-6)
    for name in READ:
        found = READ[name](folder)
        assert [value for _, value in found["macs"]] == [trial.macs for trial in trials]
        assert found["best_fitness"][-1][1] == pytest.approx(min(t.value for t in trials))

    best = read(folder / "best.json")
    client, run = client_of(folder)
    assert run.info.status == "FINISHED"
    assert run.data.tags["winner"] == best["digest"]
    assert run.data.params["training.epochs"] == "1"
    assert run.data.params["space.tap"] == '["block3", "block4"]'
    kept = client.list_artifacts(run.info.run_id)
    assert [artifact.path for artifact in kept] == ["best.json"]
    ((step, text),) = texts(folder, "winner")
    assert step == BUDGET
    assert f"| digest | {best['digest']} |" in text
    assert [
        f"| digest | {t.digest} |" in text
        for t, (_, text) in zip(trials, texts(folder, "trial"), strict=True)
    ] == [True] * BUDGET


def test_a_logger_changes_nothing_else(evonas: Cli, tiny_file: Path) -> None:
    folder, _ = new(evonas, tiny_file)
    folder.rename(folder.with_name("plain"))
    logged, _ = new(evonas, tiny_file, BOTH)
    assert untimed(logged) == untimed(folder.with_name("plain"))


def test_a_larger_budget_and_a_second_logger_go_on(evonas: Cli, tiny_file: Path) -> None:
    folder, _ = new(evonas, tiny_file, "logger=tensorboard", "budget=3")
    words = ("--resume", "--run-dir", folder, "--budget", 5, BOTH)
    assert evonas("search", *words)[0] == 0
    for name in READ:
        assert [step for step, _ in READ[name](folder)["seconds"]] == [1, 2, 3, 4, 5], name
    (_, run), winners = client_of(folder), texts(folder, "winner")
    assert evonas("search", *words)[0] == 0
    assert client_of(folder)[1].info.run_id == run.info.run_id
    assert texts(folder, "winner") == winners  # it told nothing new
    assert evonas("search", *words[:-1], "logger=none")[0] == 0


def test_a_stopped_search_is_marked(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evonas.report.live_view import SearchView

    folder = tiny_file.parent / "new"
    with monkeypatch.context() as patch:
        whole = SearchView.show

        def stop(self: SearchView, trial: object) -> None:
            whole(self, trial)  # type: ignore[arg-type]
            if self.trained == 4:
                raise KeyboardInterrupt

        patch.setattr(SearchView, "show", stop)
        assert evonas("search", tiny_file, "--run-dir", folder, BOTH)[0] == 130
    assert client_of(folder)[1].info.status == "KILLED"
    before = {name: READ[name](folder)["seconds"] for name in READ}
    assert all(len(steps) == 4 for steps in before.values())  # as many as the journal has
    assert evonas("search", "--resume", "--run-dir", folder)[0] == 0
    assert client_of(folder)[1].info.status == "FINISHED"
    for name in READ:
        after = READ[name](folder)["seconds"]
        assert [step for step, _ in after] == [1, 2, 3, 4, 5, 6]
        assert after[: len(before[name])] == before[name]


def test_mlflows_own_variable_names_another_place(
    evonas: Cli, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "central").as_uri())
    folder, _ = new(evonas, tiny_file, "logger=mlflow")
    assert not (folder / "mlflow").exists()
    assert len(mlflow(folder)["fitness"]) == BUDGET
    assert list((tmp_path / "central").glob("*/*/metrics/fitness"))


def test_genes_go_into_the_tab_of_hyperparameters(evonas: Cli, tiny_file: Path) -> None:
    from tensorboard.plugins.hparams.metadata import (
        SESSION_START_INFO_TAG,
        parse_session_start_info_plugin_data,
    )

    folder, _ = new(evonas, tiny_file, "logger=tensorboard", "logger.hparams=true")
    for trial in of(folder, "ok"):
        found = accumulated(folder / "tensorboard" / "trials" / trial.digest)
        (told,) = [event.value for event in found.Scalars("fitness")]
        assert told == pytest.approx(trial.fitness, rel=1e-6)
        content = found.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
        genes = parse_session_start_info_plugin_data(content).hparams
        assert genes["stem"].number_value == trial.architecture["settings"]["stem"]
        assert genes["tap"].string_value == trial.architecture["settings"]["tap"]


def test_a_missing_package_is_said_before_anything_is_done(
    evonas: Cli, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    answer = said(evonas("search", tiny_file, "--run-dir", tiny_file.parent / "new", BOTH))
    assert "pip install 'evonas[mlflow]'" in answer
    assert not (tiny_file.parent / "new").exists()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("logger=tensorbord", "unknown logger 'tensorbord': did you mean 'tensorboard'"),
        ("logger=[mlflow, mlflow]", "logger: expected each name once, got"),
        ("logger=5", "logger: "),
        ("logger={name: tensorboard, hparams: some}", "logger.hparams: input should be a valid b"),
        ("logger={name: mlflow, hparams: true}", "unknown key logger.hparams of logger 'mlflow'"),
    ],
)
def test_bad_values_are_named(evonas: Cli, tiny_file: Path, word: str, message: str) -> None:
    assert message in said(evonas("search", tiny_file, word))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("tensorboard", ["tensorboard"]),
        ("[mlflow, tensorboard]", ["mlflow", "tensorboard"]),
        ("{name: tensorboard, hparams: true}", ["tensorboard"]),
        ("none", []),
        ("[]", []),
        ("", []),
    ],
)
def test_one_or_a_list_or_none(tiny: dict[str, object], value: str, names: list[str]) -> None:
    found = changed(check(tiny, "tests"), [f"logger={value}"])
    assert [part.name for part in found.logger] == names
    assert check(found.model_dump(mode="json"), "tests") == found


def test_a_part_needs_a_name(tiny: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"logger\.0\.name"):
        check({**tiny, "logger": {"hparams": True}}, "tests")
