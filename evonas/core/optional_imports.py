"""Libraries of the extras ``quantize`` and ``export``: imported late, quiet, refused in a line."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evonas.errors import InputError, one_line

#: Loggers that speak of what they are told to do, or could not load for other processors.
_TALKATIVE = (
    "torchao",
    "torch.utils._pytree",
    "torch.export",
    "torch.onnx",
    "torch._dynamo",
    "onnxscript",
    "onnx_ir",
    "",  # ONNX Runtime's quantiser writes into the root
)


def library(name: str, what: str, extra: str = "quantize") -> Any:
    """Import a module of an extra.

    Args:
        name: of the module.
        what: needs it, for messages.
        extra: of evonas that has it.

    Raises:
        InputError: it is not installed, or not fit for the torch that is.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except Exception as error:  # a library built for another torch fails in many ways
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "is not installed" if missing else f"cannot be imported ({one_line(error)})"
        raise InputError(
            f"{what} needs the package {package!r}, which {reason}: pip install 'evonas[{extra}]'"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings and logs from the user; what fails is raised anyway."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
