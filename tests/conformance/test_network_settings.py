"""Registered network families read the settings that they declare, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Cli, said

from evonas.core import experiment as config
from evonas.core import registry
from evonas.models.networks import blocks
from evonas.models.networks.base import Network, refuse_unread
from evonas.models.networks.blocks import BlockSpec
from evonas.space import Architecture, SearchSpace
from evonas.testing import NetworkSettingsConformance

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


class TestNetworkSettings(NetworkSettingsConformance):
    names = registry.names("network")
    spaces = tuple(SearchSpace.from_file(path) for path in SPACES)


@pytest.mark.parametrize("block", blocks.names())
@pytest.mark.parametrize("change", [{"kernel": 5}, {"attention": "se"}, {"act": "silu"}], ids=str)
def test_every_block_reads_what_genes_ask_of_it(block: str, change: dict[str, Any]) -> None:
    for channels, stride in ((8, 1), (16, 2)):
        plain = {"c_in": 8, "c_out": channels, "stride": stride}
        one, other = (
            repr(blocks.load(block)(BlockSpec(**{**plain, **more}))) for more in ({}, change)
        )
        assert one != other


def test_a_family_has_to_declare_its_settings() -> None:
    with pytest.raises(TypeError, match="Silent must declare the names of the settings"):
        type("Silent", (Network,), {})
    with pytest.raises(TypeError, match="Wrong must declare"):
        type("Wrong", (Network,), {"settings": ["width"]})


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_shipped_space_has_only_genes_that_are_read(path: Path) -> None:
    space = SearchSpace.from_file(path)
    refuse_unread(space.network, [gene.name for gene in space.genes], "a gene")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_shipped_baseline_has_only_settings_that_are_read(path: Path) -> None:
    for baseline in config.load(path).baselines:
        refuse_unread(baseline.network, baseline.settings, "a setting")


@pytest.mark.parametrize("name", ["quickstart", "evopose2d_synthetic"])
def test_a_shipped_experiment_without_files_is_fine(evonas: Cli, name: str) -> None:
    code, out, err = evonas("validate", name)
    assert (code, out.split(": ")[0]) == (0, name), out + err


@pytest.mark.parametrize("name", ["pointing04", "low_cost_pointing04"])
def test_a_shipped_experiment_on_real_faces_is_fine(
    evonas: Cli, pointing04_root: Path, recognition_weights: Path, name: str
) -> None:
    words = (f"data.root={pointing04_root}", f"backbone.weights={recognition_weights}")
    code, out, err = evonas("validate", name, *words)
    assert (code, out.split(": ")[0]) == (0, name), out + err


def misspelt(tmp_path: Path) -> Path:
    """A space whose first kernel is misspelt, with a gene beside that belongs to training."""
    genes = [
        {"name": "width", "kind": "integer", "low": 4, "high": 8},
        {"name": "ennd", "kind": "choice", "choices": ["pool", "flatten"]},
        {"name": "learning_rate", "kind": "log_float", "low": 1e-4, "high": 1e-2},
    ]
    path = tmp_path / "wrong.yaml"
    space = {"name": "wrong", "network": "residual_head", "genes": genes}
    path.write_text(yaml.safe_dump(space), encoding="utf-8")
    return path


@pytest.mark.parametrize("verb", ["search", "validate", "compare"])
def test_a_gene_that_nobody_reads_is_named(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, verb: str
) -> None:
    path = misspelt(tmp_path)
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({**tiny, "space": str(path)}), encoding="utf-8")
    code, out, err = evonas(verb, "e.yaml")
    assert code == 2
    expected = (
        f"{path}: a gene that network 'residual_head' does not read: 'ennd': did you mean 'end'? "
        "(known: end, tap, width); 'learning_rate': "
    )
    assert expected in out + err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["search", "validate", "compare", "retrain"])
def test_a_setting_of_a_baseline_that_nobody_reads_is_named(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path, verb: str
) -> None:
    """The fault: 163 thousand parameters were trained for 14 thousand."""
    baseline = {"name": "small", "network": "residual_head", "settings": {"widht": 12}}
    (tmp_path / "e.yaml").write_text(
        yaml.safe_dump({**tiny, "baselines": [baseline]}), encoding="utf-8"
    )
    code, out, err = evonas(verb, "e.yaml")
    assert code == 2
    expected = (
        "baselines, 'small': a setting that network 'residual_head' does not read: 'widht': did "
        "you mean 'width'?"
    )
    assert expected in out + err


def test_a_best_json_with_a_setting_that_nobody_reads_is_not_retrained(
    evonas: Cli, run: Path
) -> None:
    path = run / "best.json"
    best = json.loads(path.read_text(encoding="utf-8"))
    architecture = best["architecture"]
    architecture["settings"]["kernal1"] = 3
    best["digest"] = Architecture.from_dict(architecture).digest
    path.write_text(json.dumps(best), encoding="utf-8")
    line = said(evonas("retrain", path))
    expected = "winner: a setting that network 'master_module' does not read: 'kernal1': did you "
    assert expected in line
    assert not list(run.glob("retrained/*.safetensors"))
