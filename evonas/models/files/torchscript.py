"""A TorchScript file as a module that can be frozen, hashed and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from evonas.errors import InputError, one_line
from evonas.models.files.safetensors_files import check_archive


class Script(nn.Module):
    """TorchScript behind a plain module: its parts take no hooks, which counting needs.

    Args:
        path: of the file; opened by torch's interpreter, on the CPU.

    Raises:
        InputError: it is no TorchScript.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            check_archive(path)
            script: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            script.eval()
        except Exception as error:  # damaged archives end in errors of any kind inside torch
            raise InputError(
                f"backbone.path={path}: is no TorchScript ({one_line(error).split('. ', 1)[0]}); "
                "a program of torch.export is named .pt2, and a state dictionary needs "
                "backbone=torch_module"
            ) from error
        self._hidden = [script.float()]
        for name, parameter in script.named_parameters():
            parameter.requires_grad_(False)
            shared = nn.Parameter(parameter.detach(), requires_grad=False)
            self.register_parameter(_flat(name), shared)
        for name, buffer in script.named_buffers():
            self.register_buffer(_flat(name), buffer)
        self._steps: list[Any] = []

    def unroll(self, example: Tensor) -> None:
        """Note the operators that one image takes; a trace cannot look into TorchScript."""
        self._steps = [make_fx(self._hidden[0])(example)]

    def forward(self, images: Tensor) -> Any:
        """Return what the TorchScript module returns for (n, 3, h, w) images."""
        if torch._C._get_tracing_state():  # only to be counted, at batch 1
            return self._steps[0](images)
        return self._hidden[0](images)


def _flat(name: str) -> str:
    return "t_" + name.replace(".", "_")
