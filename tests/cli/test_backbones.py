"""The verb that shows what a backbone offers and what that costs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Cli, said

from evonas.core import registry
from evonas.estimation.cost.complexity import count
from evonas.models.full_network import TruncatedBackbone

_MODULE = ["torch_module", "input_size=32", "random=1"]
_CONVNET = [*_MODULE, "callable=small_modules:ConvNet"]


def test_help_shows_an_example(evonas: Cli) -> None:
    code, out, _ = evonas("backbones", "show", "--help")
    assert code == 0
    assert "Example: evonas backbones show" in " ".join(out.split())
    assert "show" in evonas("backbones", "--help")[1]
    assert "backbones" in evonas("--help")[1]


def test_a_table_of_taps_and_costs(evonas: Cli) -> None:
    code, out, err = evonas("backbones", "show", "synthetic_face")
    assert (code, err) == (0, "")
    lines = [line.replace("│", " ").split() for line in out.splitlines()]
    assert ["block1", "16x32x32", "2,801,664", "2,800", "32.8"] in lines
    assert ["block4", "128x4x4", "13,418,496", "294,000", "4.1"] in lines
    assert "64x64 pixels" in out
    assert "not in the multiply-adds: add, batch_norm, div, relu, sub" in out
    whole = "whole network, with what stands behind the taps: 13,680,640 multiply-adds, 556,400"
    assert whole in out
    assert "--all" not in out


def test_json_says_the_same_as_counting(evonas: Cli) -> None:
    code, out, err = evonas("backbones", "show", *_CONVNET, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["backbone"], found["input_size"], found["not_shown"]) == ("torch_module", 32, 0)
    options = {"input_size": 32, "random": 1, "callable": "small_modules:ConvNet"}
    backbone = registry.create("backbone", "torch_module", options)
    assert [row["tap"] for row in found["taps"]] == list(backbone.taps)
    for row in found["taps"]:
        cost = count(TruncatedBackbone(backbone, row["tap"]), (3, 32, 32))
        assert (row["macs"], row["params"]) == (cost.macs, cost.params)
        assert tuple(row["shape"]) == backbone.taps[row["tap"]]
    assert found["whole"] == {"macs": found["taps"][-1]["macs"] + 16 * 5, "params": 4613}
    stem = found["taps"][0]
    assert stem["megabytes_per_1000_images"] == pytest.approx(4 * 16 * 16 * 2 * 1000 / 1e6)


def test_of_many_taps_the_telling_ones_are_shown(evonas: Cli) -> None:
    words = ["backbones", "show", *_MODULE, "callable=small_modules:Transformer"]
    code, out, _ = evonas(*words)
    assert code == 0
    shown = [line.split()[1] for line in out.splitlines() if "x4x4" in line]
    assert {"patches", "blocks.0", "blocks.1", "blocks", "norm"} <= set(shown)
    assert "blocks.1.mlp.1" in shown, "the last of its shape"
    assert "blocks.0.mlp.0" not in shown
    assert "more taps inside these parts: --all shows them" in out
    left = int(out.splitlines()[-1].split()[0])
    everything = json.loads(evonas(*words, "--all", "--json")[1])
    assert everything["not_shown"] == 0
    assert len(everything["taps"]) == len(shown) + left
    assert json.loads(evonas(*words, "--json")[1])["not_shown"] == left


def test_options_may_be_nested_and_lists(evonas: Cli) -> None:
    words = [*_CONVNET, "arguments.width=8", "backbone.taps=[layers.0, stem]", "--json"]
    taps = json.loads(evonas("backbones", "show", *words)[1])["taps"]
    assert [row["shape"] for row in taps] == [[8, 16, 16], [16, 8, 8]]


def test_what_is_wrong_is_one_line(evonas: Cli) -> None:
    def line(*words: str) -> str:
        return said(evonas("backbones", "show", *words))

    assert "unknown backbone 'synthetic_fase': did you mean 'synthetic_face'?" in line(
        "synthetic_fase"
    )
    assert "unknown key backbone.seed" in line("synthetic_face", "seed=1")
    assert "'random': expected key=value" in line("synthetic_face", "random")
    assert "'random' is no section with a key 'x'" in line(
        "synthetic_face", "random=1", "random.x=2"
    )
    assert "no tap 'stems': did you mean 'stem'?" in line(*_CONVNET, "taps=[stems]")


def test_its_help_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['evonas', 'backbones', 'show', '--help']\n"
        "from evonas.cli.app import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'fvcore'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
