"""What a CUDA graph does, on a CPU: operators are written down once and repeated without Python.

Like a graph, a replay sees the tensors of the capture alone: numbers are frozen, each result is
written to where it first lay, and what a host would have to wait for cannot be captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

#: Operators with which a host looks at a tensor, or makes one of its own numbers.
WAITING = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.lift_fresh.default,
)

Call = tuple[Any, Any, dict[str, Any], list[Tensor]]


class OpTape(TorchDispatchMode):
    """Records the operators called inside; may be used as a ``Recorder``.

    Args:
        warm_up: calls before the one that is written down.
    """

    def __init__(self, warm_up: int = 3) -> None:
        super().__init__()
        self.warm_up = warm_up
        self.captures, self.replays = 0, 0
        self._calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}\nmore")
        out = func(*args, **(kwargs or {}))
        given = {_storage(x) for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)}
        # Results that share memory with an argument need no copy: they show what it holds.
        fresh = [
            x if isinstance(x, Tensor) and _storage(x) not in given else None
            for x in tree_flatten(out)[0]
        ]
        # Detached aliases: autograd hands the very result on, and changes what it is.
        alone = [None if x is None else x.detach() for x in fresh]
        self._calls.append((func, *_detached(args, kwargs or {}), alone))
        return out

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        for _ in range(self.warm_up):
            run()
        self._calls = []
        with self:
            result = run()
        calls = list(self._calls)
        self.captures += 1

        def replay() -> Tensor:
            self.replays += 1
            with torch.no_grad():
                for func, args, kwargs, kept in calls:
                    again = tree_flatten(func(*args, **kwargs))[0]
                    for new, old in zip(again, kept, strict=True):
                        if old is not None:
                            old.copy_(new)
            return result

        return replay


def _detached(*values: Any) -> Any:
    return tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, values)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
