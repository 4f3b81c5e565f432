"""Verbs that train nothing: the network of a genome, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from command_line import Cli, said

from evonas.cli.app import app


def test_a_network_is_shown_block_by_block(evonas: Cli, tiny_file: Path) -> None:
    code, out, err = evonas("show", "space", tiny_file, "objective.max_macs=200000")
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    counted = [row[2].replace(",", "") for row in rows if len(row) > 3]
    *blocks, whole = [int(text) for text in counted if text]
    assert sum(blocks) == whole > 0
    assert "settings: tap=" in out
    assert "the limit of 200,000 multiply-adds" in out


def test_the_seed_and_the_genome_choose_the_network(evonas: Cli) -> None:
    words = ("show", "space", "master_module", "--input", "32x8x8", "--outputs", 2)
    first, other = evonas(*words)[1], evonas(*words, "--seed", 1)[1]
    assert first != other
    assert "master_module on a map of 32x8x8" in first
    middle = ",".join(["0.5"] * 19)
    again = [evonas(*words, "--genome", middle, "--seed", seed)[1] for seed in (0, 1)]
    assert again[0] == again[1] != first
    assert f"genome: {middle}" in again[0].replace("\n", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--genome", "0.1,0.2"], "genome: expected 19 numbers, one for each gene (tap, stem,"),
        (["--genome", ",".join(["2"] * 19)], "genome: expected numbers in [0, 1], got 2"),
        (["--genome", "best"], "--genome 'best': expected random, or numbers in [0, 1]"),
        (["--input", "64x16"], "--input '64x16': expected channels x height x width"),
        (["seed=1"], "seed=1: master_module is a search space, which has no settings"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, words: list[str], expected: str) -> None:
    assert expected in said(evonas("show", "space", "master_module", *words))


def test_what_is_no_space_is_refused(evonas: Cli, tmp_path: Path) -> None:
    assert "expected a search space or an experiment" in said(evonas("show", "space", "nowhere"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "list.yaml" in said(evonas("show", "space", "list.yaml"))


def test_validate_takes_the_options_of_search(evonas: Cli, tiny_file: Path) -> None:
    options = ["--optimizer", "ga", "--budget", "7", "--seed", "5", "--fidelity", "racing"]
    code, out, err = evonas("validate", tiny_file, *options, "--workers", "1", "--inherit")
    assert (code, err) == (0, "")
    assert re.search(r"^trainings: .*\b7 ", out, re.MULTILINE), out
    line = said(evonas("validate", tiny_file, "--budget", "9", "budget=8"))
    assert line.startswith("budget=8 and --budget 9 contradict each other")
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    of_search, of_validate = ({p.name for p in verbs[v].params} for v in ("search", "validate"))
    assert of_search - of_validate == {"run_dir", "resume", "begin_with", "as_json"}


def test_genes_of_a_recipe_are_counted_and_win_over_values_without_effect(
    evonas: Cli, tiny_file: Path
) -> None:
    words = ["recipe.task.output=[bins,angles]", "task.output=bins"]
    code, out, err = evonas("validate", tiny_file, *words)
    assert (code, err) == (0, "")
    assert re.search(r"task\.output +choice +bins, angles", out)
    assert "task.output=bins has no effect, since task.output is a gene of the recipe" in out
    code, out, err = evonas("validate", tiny_file, "recipe.task.outptu=[bins]")
    assert code == 2
    assert "recipe: task head_pose has no option 'outptu': did you mean 'output'?" in out + err


def test_validate_says_everything_that_is_wrong(evonas: Cli, tiny_file: Path) -> None:
    code, out, err = evonas("validate", tiny_file)
    assert (code, err) == (0, "")
    assert out.startswith("tiny: every value, file and part is usable; nothing was trained\n")
    assert "\ntrainings: " in out
    code, out, err = evonas("validate", tiny_file, "budget=0", "training.epoch=1")
    assert code == 2
    assert "budget: " in out
    assert "'training.epoch'" in out
    assert err.count("\n") == 1
    words = ("optimizer=cmaa", "backbone.weights=nowhere", "data.identities=1")
    code, out, err = evonas("validate", tiny_file, *words)
    assert code == 2
    for word in ("nowhere", "data.identities"):
        assert word in out
    assert err.count("\n") == 1
    assert "experiment 'tiny': " in err
    assert "more: see `evonas validate`" in err
