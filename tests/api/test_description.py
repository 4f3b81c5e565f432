"""Descriptions before training: sizes and costs of a space, what a limit excludes, a network."""

from __future__ import annotations

import numpy as np
import pytest

import evonas
from evonas.core.experiment import Experiment, changed
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import Features
from evonas.workflows.components import Components


@pytest.fixture(scope="module")
def described(components: Components) -> evonas.ExperimentDescription:
    """The tiny experiment with a limit that some of its networks exceed."""
    return changed(components.experiment, ["objective.max_macs=100000"]).describe()


def test_costs_and_share_are_those_of_the_networks(
    described: evonas.ExperimentDescription, components: Components
) -> None:
    space = components.space
    points = np.random.default_rng(7).random((400, space.dim))
    costs = np.array([components.cost(space.decode(point)) for point in points])
    assert described.macs.least <= costs.min()
    assert described.macs.largest >= costs.max()
    assert described.macs.median == pytest.approx(np.median(costs), rel=0.25)
    assert described.share == pytest.approx((costs <= 100_000).mean(), abs=0.08)
    assert 0 < described.share < 1
    params = described.params
    assert params is not None
    assert 0 < params.least < params.median < params.largest
    assert described.architectures == space.size
    assert [gene.name for gene in described.genes] == [gene.name for gene in space.genes]


def test_the_gene_that_excludes_most_is_the_one_whose_values_differ_most(
    described: evonas.ExperimentDescription, components: Components
) -> None:
    """Against shares that are counted here, on other genomes."""
    space = components.space
    points = np.random.default_rng(8).random((3000, space.dim))
    decoded = [space.decode(point) for point in points]
    fits = np.array([components.cost(one) <= 100_000 for one in decoded])
    spreads: dict[str, float] = {}
    for gene in space.genes:
        values = np.array([str(one.settings.get(gene.name, "")) for one in decoded])
        counts = {v: fits[values == v] for v in map(str, gene.values)}
        shares = [float(some.mean()) for some in counts.values() if len(some) > 50]
        spreads[gene.name] = max(shares) - min(shares)
    effect = described.excluding
    assert effect is not None
    assert spreads[effect.gene] == pytest.approx(max(spreads.values()), abs=0.03)
    assert effect.spread == pytest.approx(spreads[effect.gene], abs=0.1)
    low = min(effect.shares, key=lambda value: effect.shares[value])
    assert f"of the networks with {effect.gene} = {low} fit" in str(described)


def test_what_is_cached_is_said_to_the_byte(components: Components, features: Features) -> None:
    plan = components.experiment.describe().cache
    assert plan is not None
    files = [file for every in features.files.values() for file in every]
    values = sum(int(np.load(file, mmap_mode="r").nbytes) for file in files)
    assert plan.bytes == values
    assert plan.present == sum(file.stat().st_size for file in files)  # with headers
    elsewhere = changed(components.experiment, ["features.cache=/tmp/nowhere/evonas"]).describe()
    assert elsewhere.cache is not None
    assert (elsewhere.cache.bytes, elsewhere.cache.present) == (values, 0)


def test_images_and_trainings_are_counted(components: Components) -> None:
    experiment = changed(components.experiment, ["budget=7", "finals.networks=2", "finals.seeds=3"])
    found = experiment.describe()
    assert found.images == {side: len(rows) for side, rows in components.dataset.sides().items()}
    folds = len(Components(experiment).final_folds)
    assert folds == 2, "for three seeds: there are no more images"
    assert list(found.trainings.values()) == [7, 6, len(components.baselines), folds]
    alike = changed(experiment, ["finals.validation=search"]).describe()
    assert list(alike.trainings.values()) == [7, 6, len(components.baselines)]
    standard = changed(experiment, ["standard_baselines=true"]).describe()
    assert list(standard.trainings.values()) == [7, 6, len(components.baselines) + 2, folds]
    limited = changed(experiment, ["standard_baselines=true", "objective.max_macs=9000000"])
    assert list(limited.describe().trainings.values())[-2] == len(components.baselines) + 3
    assert found.max_macs is None
    assert (found.share, found.excluding) == (1.0, None)
    assert "limit: none on multiply-adds" in str(found)


def test_all_complaints_come_at_once(tiny_experiment: Experiment) -> None:
    wrong = tiny_experiment.changed(data={"identities": 1}, backbone={"weights": "nowhere"})
    with pytest.raises(InputError) as caught:
        wrong.describe()
    assert any("data.identities" in line for line in caught.value.args[1:])
    assert any("nowhere" in line for line in caught.value.args[1:])
    with pytest.raises(InputError, match="no architecture of space"):
        tiny_experiment.changed(objective={"max_macs": 5}).describe()


def test_blocks_add_up_to_the_exact_cost(components: Components) -> None:
    found = evonas.describe_network(components.experiment, seed=4)
    assert found.macs == sum(block.macs for block in found.blocks)
    assert found.macs == components.cost(found.architecture)
    assert found.params == sum(block.params for block in found.blocks)
    assert found.in_shape == components.shape(found.architecture)
    again = evonas.describe_network(components.experiment, found.genome)
    assert again == found
    assert evonas.describe_network(components.experiment, seed=5).genome != found.genome


def test_a_space_alone_takes_the_shape_that_is_given() -> None:
    small = evonas.describe_network("master_module", in_shape=(8, 4, 4), n_outputs=2)
    large = evonas.describe_network("master_module", in_shape=(64, 16, 16), n_outputs=2)
    assert small.architecture == large.architecture
    assert small.macs < large.macs
    assert small.blocks[-1].shape == (2,)


@pytest.mark.parametrize(
    ("genome", "message"),
    [
        ([0.5, 0.5], "expected 19 numbers, one for each gene"),
        ([1.5] + [0.5] * 18, "expected numbers in [0, 1], got 1.5"),
        ([float("nan")] * 19, "expected numbers in [0, 1], got nan"),
        ("best", "genome 'best': expected 'random'"),
    ],
)
def test_a_genome_that_is_none_is_refused(genome: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        evonas.describe_network("master_module", genome)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_what_is_neither_space_nor_experiment_is_refused() -> None:
    with pytest.raises(InputError, match="master_modul: expected a search space or an experiment"):
        evonas.describe_network("master_modul")
    with pytest.raises(InputError, match="a search in a table has no networks"):
        evonas.describe_network("nas_bench_macro")
    with pytest.raises(InputError, match="seed=1: master_module is a search space"):
        evonas.describe_network("master_module", overrides=["seed=1"])
