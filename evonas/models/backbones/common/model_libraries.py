"""Optional libraries of ready-made networks: imported late, and refused in one line."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from evonas.errors import InputError, one_line
from evonas.models.backbones.common.hooked_module import seeded
from evonas.models.files.state_dicts import load_into, read_state


def library(name: str, backbone: str, install: str) -> Any:
    """Import a module of an optional library.

    Args:
        name: of the module.
        backbone: that needs it, for messages.
        install: what is typed behind ``pip install`` to get it.

    Raises:
        InputError: it is not installed, or not fit for the torch that is.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # a library built for another torch fails in many ways
        package = name.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise InputError(
                f"backbone {backbone!r} needs the package {package!r}, which is not installed: "
                f"pip install {install}"
            ) from error
        raise InputError(
            f"backbone {backbone!r}: {package!r} is installed but cannot be imported "
            f"({one_line(error)}): pip install {install}, with a torchvision that was built for "
            f"torch {torch.__version__}"
        ) from error


def check_name(backbone: str, name: str, known: Iterable[str]) -> None:
    """Refuse a model that a library does not have, with the nearest (libraries have hundreds).

    Raises:
        InputError: the name is not among the known ones.
    """
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "none is close"
        raise InputError(
            f"backbone {backbone!r} has no model {name!r}: {hint} ({len(names)} are known)"
        )


def build(
    backbone: str,
    make: Callable[[bool], Any],
    weights: str | None,
    pretrained: bool,
    random: int | None,
    *,
    leave_out: Sequence[str] = (),
    may_miss: Callable[[nn.Module], Sequence[str]] = lambda net: (),
) -> nn.Module:
    """Return a library's network with weights from exactly one place.

    Args:
        backbone: for messages.
        make: whether the library shall load (download) its weights -> the network.
        weights: a file; or ``pretrained``; or ``random``, a seed.
        leave_out: names in the file that start so are not looked at.
        may_miss: network -> beginnings of names that the file need not have.

    Raises:
        InputError: not exactly one place was given, the library refuses, or the file
            does not fit.
    """
    given = [weights is not None, pretrained, random is not None]
    if sum(given) != 1:
        raise InputError(
            f"backbone {backbone!r}: expected exactly one of backbone.weights=FILE, "
            f"backbone.pretrained=true and backbone.random=SEED, got weights={weights!r}, "
            f"pretrained={pretrained}, random={random!r}"
        )
    try:
        net: nn.Module = seeded(lambda: make(pretrained), random or 0)
    except Exception as error:  # what a library says about its arguments, or about a download
        raise InputError(
            f"backbone {backbone!r}: the library cannot make it ({one_line(error)}): check the "
            "model and its arguments" + (", or give backbone.weights=FILE" if pretrained else "")
        ) from error
    if weights is not None:
        state = {k: v for k, v in read_state(weights).items() if not k.startswith(tuple(leave_out))}
        load_into(net, state, f"backbone.weights={weights}", may_miss(net))
    return net
