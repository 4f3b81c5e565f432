"""Optimizers on functions: ``minimize``, ``create_optimizer`` and spaces of typed genes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import evonas
from evonas import InputError
from evonas.space import Gene, SearchSpace

SPACE = SearchSpace([evonas.Ordinal("width", [8, 16, 32, 64]), evonas.LogFloat("rate", 1e-4, 0.1)])


def distance(settings: dict[str, Any]) -> float:
    return abs(settings["width"] - 32) / 32 + abs(math.log10(settings["rate"]) + 2)


def test_a_space_of_typed_genes_is_that_of_plain_data() -> None:
    space = SearchSpace(
        [
            evonas.Choice("block", ["conv", "ghost"], mutable=("ghost",)),
            evonas.Ordinal("width", (8, 16), when={"block": "conv"}, step=1),
            evonas.Integer("depth", 1, 3, when={"block": ("conv", "ghost")}),
            evonas.LogFloat("rate", 1e-4, 1e-1),
        ],
        name="toy",
        network="net",
    )
    assert space == SearchSpace.from_dict(
        {
            "name": "toy",
            "network": "net",
            "genes": [
                {
                    "name": "block",
                    "kind": "choice",
                    "choices": ["conv", "ghost"],
                    "mutable": ["ghost"],
                },
                {
                    "name": "width",
                    "kind": "ordinal",
                    "choices": [8, 16],
                    "when": {"block": "conv"},
                    "step": 1,
                },
                {
                    "name": "depth",
                    "kind": "integer",
                    "low": 1,
                    "high": 3,
                    "when": {"block": ["conv", "ghost"]},
                },
                {"name": "rate", "kind": "log_float", "low": 1e-4, "high": 1e-1},
            ],
        }
    )
    assert all(type(gene) is Gene for gene in space.genes)


def test_a_space_without_networks_survives_plain_data() -> None:
    assert SearchSpace.from_dict(SPACE.to_dict()) == SPACE
    assert SPACE.narrowed({"width": 16}).genes[0].values == (16,)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SearchSpace([]), "expected at least one gene, got \\[\\]"),
        (lambda: SearchSpace([{"name": "x"}]), "expected genes, such as Ordinal"),
        (lambda: SearchSpace(evonas.Integer("x", 0, 1)), "expected a list of genes"),
        (
            lambda: SearchSpace([evonas.Integer("x", 0, 1)] * 2),
            "expected each gene name once, got 'x' twice",
        ),
        (
            lambda: SearchSpace([evonas.Integer("x", 0, 1, when={"y": 1})]),
            "expected earlier genes in 'when', got 'y'",
        ),
        (lambda: evonas.Ordinal("x", []), "gene 'x': expected a list with at least one choice"),
        (lambda: evonas.Ordinal("x", "abc"), "expected a list with at least one choice"),
        (lambda: evonas.Choice("x", [1, 1]), "expected each choice once"),
        (lambda: evonas.Integer("x", 3, 1), "expected integers low <= high, got 3, 1"),
        (lambda: evonas.LogFloat("x", 0, 1), "expected numbers 0 < low < high, got 0, 1"),
        (lambda: evonas.LogFloat("x", 1, 2, when=3), "expected 'when' as a mapping"),
        (lambda: evonas.Integer("x", 0, 5, step=0), "'step': expected a whole number"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_minimize_finds_the_lowest_point() -> None:
    best = evonas.minimize(distance, SPACE, optimizer="cma", budget=120, seed=0)
    assert best.settings["width"] == 32
    assert best.fitness == distance(dict(best.settings)) < 0.1
    assert SPACE.decode(best.genome).settings == best.settings
    assert min(fitness for _, fitness in best.evaluations) == best.fitness
    assert best.stop_reason == "The budget of 120 distinct architectures is spent."


@pytest.mark.parametrize("optimizer", ["cma", "ga", "pso"])
def test_minimize_evaluates_a_point_once_and_repeats_itself(optimizer: str) -> None:
    space = SearchSpace([evonas.Integer("x", 0, 9)])
    seen: list[int] = []
    runs = []
    for _ in range(2):
        seen.clear()
        runs.append(
            evonas.minimize(
                lambda s: seen.append(s["x"]) or float(s["x"]),
                space,
                optimizer=optimizer,
                budget=99,
            )
        )
        assert sorted(seen) == sorted(set(seen))
    assert runs[0].evaluations == runs[1].evaluations
    assert (runs[0].settings, runs[0].fitness) == ({"x": 0}, 0.0)
    assert runs[0].stop_reason == "The space is exhausted: all 10 architectures have been seen."


def test_minimize_goes_on_after_failures() -> None:
    space = SearchSpace([evonas.Integer("x", 0, 9)])
    bad = (math.nan, math.inf, np.float64("nan"))
    best = evonas.minimize(
        lambda s: np.float32(s["x"]) if s["x"] > 2 else bad[s["x"]], space, budget=20
    )
    assert best.settings == {"x": 3}
    assert sum(math.isnan(fitness) for _, fitness in best.evaluations) == 3
    with pytest.raises(evonas.RunError, match="the function failed at all 4 points"):
        evonas.minimize(lambda s: math.nan, space, optimizer="random", budget=4)


def test_what_a_function_raises_comes_through() -> None:
    def broken(settings: dict[str, Any]) -> float:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        evonas.minimize(broken, SPACE)


@pytest.mark.parametrize("value", [None, "low", [1.0], True])
def test_a_function_has_to_return_a_number(value: Any) -> None:
    with pytest.raises(InputError, match="expected the function to return a number, got"):
        evonas.minimize(lambda settings: value, SPACE, budget=3)


def test_an_optimizer_is_asked_and_told() -> None:
    optimizer = evonas.create_optimizer("ga", SPACE, budget=12, seed=3, population_size=4)
    assert isinstance(optimizer, evonas.Optimizer)
    sizes = []
    while len(genomes := optimizer.ask()):
        sizes.append(genomes.shape)
        optimizer.tell([distance(dict(SPACE.decode(genome).settings)) for genome in genomes])
    assert set(sizes) <= {(n, 2) for n in range(1, 5)}
    assert optimizer.trained == 12
    first, again = (
        evonas.create_optimizer("ga", SPACE, budget=12, seed=3, population_size=4).ask()
        for _ in range(2)
    )
    assert first.tolist() == again.tolist()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cmaa", {}, "unknown optimizer 'cmaa': did you mean 'cma'"),
        ("cma", {"sigmaa": 1}, "unknown key optimizer.sigmaa"),
        ("cma", {"budget": 0}, "budget: expected a whole number of at least 1, got 0"),
        ("cma", {"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ("ga", {"population_size": "many"}, "optimizer.population_size: .*got 'many'"),
        ("cma", {"max_macs": 5}, "max_macs needs macs"),
    ],
)
def test_a_wrong_optimizer_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evonas.create_optimizer(name, SPACE, **{"budget": 5, **options})


def test_misuse_of_ask_and_tell_says_what_to_do() -> None:
    optimizer = evonas.create_optimizer("random", SPACE, budget=4)
    with pytest.raises(InputError, match="tell\\(\\) came before ask\\(\\)"):
        optimizer.tell([1.0])
    genomes = optimizer.ask()
    with pytest.raises(InputError, match="ask\\(\\) came twice"):
        optimizer.ask()
    with pytest.raises(InputError, match=f"expected fitness of shape \\({len(genomes)},\\)"):
        optimizer.tell([1.0])
    optimizer.tell(np.zeros(len(genomes)))


def test_parts_are_listed_by_kind() -> None:
    assert evonas.list_optimizers() == sorted(evonas.list_parts("optimizer")["optimizer"])
    assert "quickstart" in evonas.list_experiments()
    assert "master_module" in evonas.list_search_spaces()
    for names in (
        evonas.list_networks(),
        evonas.list_backbones(),
        evonas.list_datasets(),
        evonas.list_tasks(),
        evonas.list_executors(),
        evonas.list_loggers(),
    ):
        assert names == sorted(names)
        assert names
    with pytest.raises(InputError, match="unknown kind 'optimiser': did you mean 'optimizer'"):
        evonas.list_parts("optimiser")
