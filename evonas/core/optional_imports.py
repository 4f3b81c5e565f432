"""Import large libraries when they are needed, quietly."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evonas.errors import InputError, one_line

#: Loggers whose messages do not help a user.
_NOISY = (
    "torchao",
    "torch.utils._pytree",
    "torch.export",
    "torch.onnx",
    "torch._dynamo",
    "onnxscript",
    "onnx_ir",
    "",  # ONNX Runtime's quantiser writes into the root
)


def library(name: str, what: str, extra: str = "") -> Any:
    """Import a module of a dependency.

    Args:
        name: name of the module.
        what: the feature that needs it, for messages.
        extra: the extra of evonas that installs it; empty: evonas itself does.

    Raises:
        InputError: the package is not installed, or cannot be imported with this torch.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except Exception as error:  # a library built for another torch raises various exceptions
        package = name.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "is not installed" if missing else f"cannot be imported ({one_line(error)})"
        wanted = f"'evonas[{extra}]'" if extra else package
        raise InputError(
            f"{what} needs the package {package!r}, which {reason}: pip install {wanted}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings and log messages of these libraries; exceptions still propagate."""
    loggers = [logging.getLogger(name) for name in _NOISY]
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
