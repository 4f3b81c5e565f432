"""The public names of evonas: each is there, is documented, and costs nothing until it is used."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys

import pytest

import evonas

#: What a bare import must not load: each takes longer than evonas itself.
HEAVY = ("torch", "ray", "numpy", "pydantic", "msgspec", "rich", "typer", "matplotlib", "scipy")
FUNCTIONS = [
    name for name in evonas.__all__ if inspect.isfunction(getattr(evonas, name)) and name.islower()
]


def loaded(code: str, modules: tuple[str, ...]) -> list[str]:
    """Which of some modules a fresh interpreter has loaded after some code."""
    words = f"import sys\n{code}\nprint(*(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_import_loads_nothing_heavy() -> None:
    assert loaded("import evonas; dir(evonas); evonas.InputError", HEAVY) == []


@pytest.mark.parametrize(
    "code",
    [
        "evonas.SearchSpace([evonas.Integer('x', 0, 9)])",
        "evonas.list_optimizers(); evonas.list_parts(); evonas.create_optimizer",
        "evonas.minimize(lambda s: s['x'], evonas.SearchSpace([evonas.Integer('x', 0, 9)]), "
        "optimizer='random', budget=3)",
    ],
)
def test_what_needs_no_network_loads_neither_torch_nor_ray(code: str) -> None:
    assert loaded(f"import evonas\n{code}", ("torch", "ray")) == []


def test_every_public_name_is_there() -> None:
    assert sorted(evonas.__all__) == evonas.__all__
    assert set(evonas.__all__) <= set(dir(evonas))
    assert set(evonas._HOMES) <= set(evonas.__all__)
    for name in evonas.__all__:
        value = getattr(evonas, name)
        assert value.__doc__, name
        if name in evonas._HOMES:
            module = sys.modules[evonas._HOMES[name]]
            assert getattr(module, name) is value


def test_the_names_for_type_checkers_are_those_at_run_time() -> None:
    source = inspect.getsource(evonas)
    typed = source.partition("if TYPE_CHECKING:")[2].partition("#: Module")[0]
    for module, names in evonas._PUBLIC.items():
        block = typed.partition(f"from {module} import ")[2].partition("from evonas")[0]
        assert set(block.replace("(", " ").replace(")", " ").replace(",", " ").split()) == set(
            names
        ), module


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_takes_returns_and_raises(name: str) -> None:
    function = getattr(evonas, name)
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert f"{parameter.name}" in text, parameter
    if signature.parameters:
        assert "Args:" in text
        assert "Raises:" in text
        assert "Examples:" in text


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'evonas' has no attribute 'serach'"):
        _ = evonas.serach


def test_the_examples_of_spaces_and_genes_are_true() -> None:
    from evonas.space import search_space, typed_genes

    names = {name: getattr(evonas, name) for name in ("Ordinal", "LogFloat")}
    for module in (typed_genes, search_space):
        failed, tried = doctest.testmod(module, extraglobs=names)
        assert (failed, tried > 0) == (0, True)
