"""Each network family reads the settings that it declares, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import Cli, said
from hypothesis import given
from hypothesis import strategies as st
from mutations import fuzz

from evonas.core import experiment as config
from evonas.core import registry
from evonas.errors import InputError
from evonas.models.networks import blocks
from evonas.models.networks.base import TAP, Network, refuse_unread
from evonas.models.networks.blocks import BlockSpec
from evonas.space import Architecture, SearchSpace

ROOT = Path(__file__).parents[2]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
FAMILIES = registry.names("network")
SHAPE = (8, 9, 9)
#: Values to try for settings that no shipped space has a gene for.
ANY = (0.0, 0.5, 1.0, 0, 1, 2, 3, 8, True, "none", "pool", "flatten", "residual", "relu", "silu")


def family(name: str) -> Network:
    made: Network = registry.load("network", name)()
    return made


def signature(name: str, settings: Mapping[str, Any]) -> str:
    """What a network is: layers, shapes, and the cost that is told of it."""
    return _signature(name, json.dumps(dict(settings)))


@cache
def _signature(name: str, settings: str) -> str:
    architecture = Architecture(name, json.loads(settings))
    with torch.device("meta"):
        module = family(name).build(architecture, SHAPE, 3)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    return f"{module!r} {shapes} {family(name).macs(architecture, SHAPE, 3)}"


def differs(name: str, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether changes of settings make another network."""
    try:
        return signature(name, {**settings, **changes}) != signature(name, settings)
    except InputError:
        return False


def examples(name: str, n: int) -> Iterator[Mapping[str, Any]]:
    """Settings of random architectures of the family's spaces, and those of the default."""
    for space in (s for s in map(SearchSpace.from_file, SPACES) if s.network == name):
        rng = np.random.default_rng(0)
        yield from (space.decode(rng.random(space.dim)).settings for _ in range(n))
    try:
        signature(name, {})
    except InputError:
        return
    yield {}


def values(name: str, setting: str) -> tuple[Any, ...]:
    genes = [g for s in map(SearchSpace.from_file, SPACES) if s.network == name for g in s.genes]
    return next((gene.values for gene in genes if gene.name == setting), ANY)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_declared_setting_changes_some_network(name: str) -> None:
    dead = set(family(name).settings)
    for settings in examples(name, 12):
        if not dead:
            break
        dead -= {s for s in dead if any(differs(name, settings, {s: v}) for v in values(name, s))}
    assert not dead


class Noting(Mapping[str, Any]):
    """Settings that note which names were asked for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.asked = settings, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self.settings[key]

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return key in self.settings

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_other_setting_changes_a_network(name: str) -> None:
    """Whatever else the code asks for may be refused there, but makes no other network."""
    asked: set[str] = set()
    for settings in examples(name, 2):
        architecture = Architecture(name, {})
        noting = Noting(settings)
        object.__setattr__(architecture, "settings", noting)
        with torch.device("meta"):
            family(name).build(architecture, SHAPE, 3)
        family(name).macs(architecture, SHAPE, 3)
        asked |= noting.asked
        for other in noting.asked - family(name).settings:
            assert not any(differs(name, settings, {other: value}) for value in ANY), other
    assert family(name).settings & asked


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_not_declared_is_refused_with_the_nearest(name: str) -> None:
    declared = family(name).settings
    refuse_unread(name, [*declared, TAP], "here: a setting")

    @fuzz(30)
    @given(st.text(max_size=8).filter(lambda text: text not in {*declared, TAP}))
    def try_it(text: str) -> None:
        with pytest.raises(InputError, match="here: a setting that network"):
            refuse_unread(name, [*declared, text], "here: a setting")

    try_it()
    for setting in declared:
        wrong = f"{setting[:3]}x{setting[3:]}"
        with pytest.raises(InputError) as caught:
            refuse_unread(name, [wrong], "here: a setting")
        assert f"{wrong!r}: did you mean " in caught.value.args[0]


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
