"""A module through torch.compile, which is where a quantised program becomes fast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from evonas.core.optional_imports import quiet
from evonas.errors import one_line


def compiled(module: nn.Module, images: Tensor) -> Any:
    """Return a module compiled for a number of images, weights frozen in; or why it is not.

    It takes up to a minute and needs a C++ compiler.

    Args:
        module: images -> outputs, in evaluation mode.
        images: so many as it will be run on.

    Returns:
        The compiled module, to be run without gradients; or one line of what went wrong.
    """
    try:
        import torch._inductor.config as inductor

        # As an option of torch.compile freezing comes too late for operators of integers.
        with inductor.patch(freezing=True), torch.no_grad(), quiet():
            made = torch.compile(module.eval())
            made(images)
    except Exception as error:  # no compiler, or one that fails
        return one_line(error)
    return made
