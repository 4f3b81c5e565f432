"""``evonas pipeline``: the verbs in a row, each done once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli, said

from evonas.api import pipeline, steps
from evonas.api.retrained_model import RetrainedModel

FEW = (
    *("budget=3", "finals.networks=0", "probe.keep=1", "prune.threshold=0.3"),
    *("prune.training.epochs=1", "quantize.road=onnx", "quantize.images=16"),
    # Heads with weights enough that 8 bits save more than a file's frame takes.
    *("space.end=flatten", "space.stride1=1", "space.stem=48"),
)


@pytest.fixture
def words(tiny_file: Path) -> tuple[object, ...]:
    """The command on the tiny experiment."""
    return ("pipeline", tiny_file, "--run-dir", tiny_file.parent / "row", *FEW)


def test_every_step_leaves_its_result_and_the_table_says_what_is_left(
    words: tuple[object, ...], evonas: Cli, tiny_file: Path
) -> None:
    code, out, wrong = evonas(*words)
    assert (code, wrong) == (0, "")
    folder = tiny_file.parent / "row"
    content = {
        name: json.loads((folder / name).read_text("utf-8"))
        for name in ("probe/probe.json", "search/best.json", "pruned/prune.json", "int8/test.json")
    }
    # the search stood on the tap that the probe recommended, and so does what is pruned
    (tap,) = content["probe/probe.json"]["taps"]
    assert content["search/best.json"]["architecture"]["settings"]["tap"] == tap
    assert content["pruned/prune.json"]["tap"] == tap
    # what was reported of the integers is what the test of their file gives
    quantized = json.loads((folder / "int8/quantize.json").read_text("utf-8"))
    (tested,) = content["int8/test.json"]
    assert tested["repeats"][0]["mae"] == pytest.approx(quantized["after"]["mae"], abs=1e-4)
    table = (folder / "pipeline.md").read_text("utf-8")
    figures = [row.split("|")[2:6] for row in table.splitlines() if row.startswith("| ")][2:]
    sizes = [float(size) for _, _, size, _ in figures]
    assert sizes[0] > sizes[1] > sizes[2]
    assert f"{quantized['after']['mae']:.2f}" in figures[2][3]
    heads = next(row for row in table.splitlines() if row.startswith("| network"))
    assert heads.endswith("| MB | mae | mae_yaw | mae_pitch | mae_roll | geodesic |")
    assert "[6/6] evaluate" in out

    code, again, _ = evonas(*words)
    assert code == 0
    assert again.count("done before") == 6
    assert (folder / "pipeline.md").read_text("utf-8") == table


@pytest.mark.slow
def test_what_was_stopped_goes_on_from_the_step_that_it_was_in(
    words: tuple[object, ...], evonas: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RetrainedModel, "prune", stopped)
        code, out, _ = evonas(*words)
    assert code == 130
    assert "stopped in step prune: the same command goes on from here" in out
    code, out, _ = evonas(*words)
    assert code == 0
    assert out.count("done before") == 3


def test_a_folder_of_another_experiment_is_refused(
    words: tuple[object, ...], evonas: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_steps", lambda *arguments: [])
    evonas(*words)
    wrong = said(evonas(*words, "seed=9"))
    assert "holds results of another experiment (seed: 3 -> 9)" in wrong


def test_a_table_has_nothing_to_prune(evonas: Cli) -> None:
    wrong = said(evonas("pipeline", "nas_bench_macro", "table.file=nowhere.csv"))
    assert "a search in a table has no backbone to probe or prune" in wrong


def test_a_folder_from_before_an_option_existed_goes_on(
    words: tuple[object, ...], evonas: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key that an older version did not write has its default."""
    monkeypatch.setattr(pipeline, "_steps", lambda *arguments: [])
    evonas(*words)
    (file,) = tmp_path.rglob(steps.EXPERIMENT)
    content = json.loads(file.read_text("utf-8"))
    del content["objective"]["error"]
    file.write_text(json.dumps(content), "utf-8")
    _, _, err = evonas(*words)
    assert "holds results of another experiment" not in err
    assert "objective.error: 'metric' -> 'loss'" in said(evonas(*words, "objective.error=loss"))
