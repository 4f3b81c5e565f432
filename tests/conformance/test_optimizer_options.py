"""Options of optimizers that are out of range, or of no kind that an option has, are refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from evonas.core import registry
from evonas.errors import InputError
from evonas.optimizers.base import Common
from evonas.testing.optimizer_problems import build, ordinal

NAMES = registry.names("optimizer")
#: Values on the wrong side of a bound; the right side of each is what other tests search with.
OUT_OF_RANGE: dict[str, list[tuple[str, Any]]] = {
    "bobyqa": [("radius", 0), ("radius", 0.6), ("radius", "wide")],
    "cma": [
        *(("sigma", 0), ("sigma", 1.5), ("margin", 0.7), ("start", "middle")),
        *(("population_size", 3), ("preselection", 0), ("preselection", 2.5)),
    ],
    "evolution": [
        *(("parents", 0), ("parents", True), ("sample", 0), ("crossover", 1.1)),
        *(("crossover", -0.1), ("generation0", 0), ("ageing", 1), ("ageing", "yes")),
    ],
    "ga": [("mutation", 0), ("step", 2), ("crossover", -0.1), ("parents", 1), ("preselection", 0)],
    "local": [("acceptance", "always")],
    "nsga2": [
        ("mutation", 0),
        ("step", 2),
        ("crossover", -0.1),
        ("parents", 1),
        ("preselection", 0),
    ],
    "pso": [("inertia", 1.0), ("cognitive", -1), ("social", 5), ("preselection", 0)],
    "surrogate": [
        *(("start", 1), ("start", 2.5), ("start", True), ("prior", {"g0": {"0": -1.0}})),
        *(("until_converged", 1), ("until_converged", "yes")),
    ],
}
CASES = [(name, option, value) for name, rows in OUT_OF_RANGE.items() for option, value in rows]


def own_options(name: str) -> set[str]:
    """Return the options of an optimizer beside those that all have."""
    given = inspect.signature(registry.load("optimizer", name)).parameters.values()
    return {
        one.name for one in given if one.kind is one.KEYWORD_ONLY
    } - Common.__annotations__.keys()


@pytest.mark.parametrize(("name", "option", "value"), CASES)
def test_options_out_of_range(name: str, option: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{option}: expected .* got {value!r}"):
        build(name, ordinal(), **{option: value})


@pytest.mark.parametrize("name", NAMES)
def test_every_option_refuses_what_no_option_is(name: str) -> None:
    for option in own_options(name):
        for value in ("nonsense", [1], float("nan")):
            with pytest.raises(InputError, match=f"{option}: expected [^\n]+, got [^\n]+$"):
                build(name, ordinal(), **{option: value})


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_the_bounds_of_every_option_are_tried(name: str) -> None:
    assert own_options(name) <= {option for option, _ in OUT_OF_RANGE[name]}
