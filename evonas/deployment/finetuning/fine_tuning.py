"""Fine-tuning: a head and the layers of the backbone below it are trained further together.

The backbone stays frozen up to a tap, whose cached maps the trained layers read. The layers are a
second copy: the network that a team runs for recognition stays as it is. Layers further from the
head learn at lower rates (Howard and Ruder 2018, arXiv 1801.06146, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from evonas.core.compression_settings import FinetuneSettings
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import EvonasError, InputError
from evonas.estimation.cost.complexity import Complexity, count
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.training.training import kept
from evonas.models.backbone_cut import IMAGE, BackboneCut, UpperLayers
from evonas.models.files.quantized_network import SUFFIXES
from evonas.models.full_network import FineTunedNetwork
from evonas.workflows.evaluation import Retrained

_EXACT = 1e-4  # of the largest value: what single precision leaves of equal sums in another order
_NOTHING = Complexity(0, 0, 0.0, ())
_IMAGES = 4  # random images on which the cut backbone is compared with the whole one


@dataclass(frozen=True)
class FineTuned:
    """Result of one training.

    Attributes:
        repeat: number of the training of the head that it started from.
        before, after: metrics of the head on the frozen backbone, and of the trained network.
        history: loss and validation metrics of each epoch.
        state: trained tensors, by their names in ``FineTunedNetwork``.
    """

    repeat: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    history: list[dict[str, float]]
    state: Mapping[str, Tensor]


@dataclass
class FineTuning:
    """Fine-tuning of one network of a retraining.

    Args:
        retrained: the retraining.
        name: name of the network; see ``Retrained.contender``.
        progress: called with (label, steps done, steps in all).

    Raises:
        InputError: there is no such network, or it was pruned, quantised or fine-tuned before.
    """

    retrained: Retrained
    name: str
    progress: Progress

    def __post_init__(self) -> None:
        entry = self.retrained.contender(self.name)
        if Path(entry["weights"][0]).suffix in SUFFIXES:
            what, remedy = "quantised", "fine-tune first, then quantise"
        elif self.retrained.components.experiment.backbone.name == "pruned":
            what, remedy = "pruned", "pruning trains the backbone further by itself"
        elif "fine_tuned" in entry:
            what, remedy = "fine-tuned already", "for longer with --epochs"
        else:
            return
        raise InputError(
            f"{self.retrained.folder}: {entry['name']!r} is {what}: expected the folder that "
            f"`evonas retrain` wrote ({remedy})"
        )

    @property
    def settings(self) -> FinetuneSettings:
        """The settings of the fine-tuning."""
        return self.retrained.components.experiment.finetune

    @cached_property
    def source(self) -> RetrainedNetwork:
        """The first training of the head, on the cached maps of its tap."""
        first = RetrainedNetwork(self.retrained, self.name, 0, self.progress)
        return replace(first, reads=first.tap)

    @cached_property
    def cut(self) -> BackboneCut:
        """The backbone up to the tap of the head."""
        return BackboneCut(self.retrained.components.backbone, self.source.tap)

    @cached_property
    def frozen_up_to(self) -> str:
        """The tap up to which the backbone stays frozen; ``image`` if no layer does."""
        return self.settings.frozen_up_to or self.cut.default

    @cached_property
    def layers(self) -> UpperLayers:
        """The layers to be trained, with the weights of the backbone."""
        return self.cut.above(self.frozen_up_to)

    def difference(self) -> float:
        """Return the largest difference between the cut backbone and the whole one.

        It is computed on random images, relative to the largest value.

        Raises:
            EvonasError: it is more than rounding.
        """
        backbone, tap, reads = (
            self.retrained.components.backbone,
            self.source.tap,
            self.layers.reads,
        )
        generator = torch.Generator().manual_seed(0)
        shape = (_IMAGES, 3, backbone.input_size, backbone.input_size)
        images = torch.randint(0, 256, shape, generator=generator).float()
        with torch.inference_mode():
            whole = backbone(images, [tap])[tap]
            maps = images if reads == IMAGE else backbone(images, [reads])[reads]
            found = float((self.layers.graph(maps) - whole).abs().max() / whole.abs().max())
        if not found <= _EXACT:
            raise EvonasError(
                f"the backbone that is cut at {self.frozen_up_to!r} differs from the whole one by "
                f"{found:.1e} of the largest value, expected at most {_EXACT:g}: choose another "
                "tap, and please report the backbone"
            )
        return found

    def run(self, number: int, of: int, checkpoint: Path) -> FineTuned:
        """Train once and return the result.

        Args:
            number: number of the training, from 0; it starts from that training of the head, or
                from the one that comes in its turn.
            of: number of all trainings.
            checkpoint: file from which the training goes on if it was stopped.

        Raises:
            RunError: the training diverged.
        """
        repeat = number % len(self.source.contender["weights"])
        before = replace(self.source, repeat=repeat)
        network = FineTunedNetwork(self.cut.above(self.frozen_up_to), before.head)
        after = replace(before, reads=self.layers.reads)
        label = f"epochs of training {number + 1} of {of}"
        metrics = before.judge(before.head)
        history = after.train(
            network,
            self.settings.training,
            lambda done, total: self.progress(label, done, total),
            purpose=f"finetune {number}",
            rates=network.rates(self.settings.rate_decay),
            checkpoint=checkpoint,
        )
        state = {name: value for name, value in kept(network).items() if name not in network.frozen}
        return FineTuned(repeat, metrics, after.judge(network), history, state)

    @cached_property
    def frozen(self) -> Complexity:
        """Cost of the frozen layers."""
        lower = self.frozen_up_to
        return _NOTHING if lower == IMAGE else self.retrained.components.upto(lower)

    @cached_property
    def copy(self) -> Complexity:
        """Cost of the trained layers, which run beside those of the frozen backbone."""
        upto = self.retrained.components.upto(self.source.tap)
        params = sum(parameter.numel() for parameter in self.layers.graph.parameters())
        return _sized(replace(upto, macs=upto.macs - self.frozen.macs, params=params))

    @cached_property
    def head(self) -> Complexity:
        """Cost of the head."""
        return count(self.source.head, self.retrained.components.backbone.taps[self.source.tap])

    @property
    def added(self) -> Complexity:
        """Cost of the trained layers and of the head."""
        head, copy = self.head, self.copy
        names = dict(copy.uncounted) | dict(head.uncounted)
        macs, params = head.macs + copy.macs, head.params + copy.params
        return _sized(Complexity(macs, params, 0.0, tuple(sorted(names.items()))))

    def doubts(self) -> list[str]:
        """Return the reasons why the errors say nothing of an improvement; none if they do.

        Images that validated, in a retraining or a search, judge both networks alike.
        """
        network, found = self.source, []
        if self.retrained.record is None:
            found.append("which images this network was trained on is not recorded")
        else:
            used = self.retrained.record.overlap(network.components.dataset, network.judges)
            trained = int((used.trained | used.trained_group).sum())
            if trained:
                found.append(
                    f"{trained} of the {len(network.judges)} images that judge were trained on, or "
                    "show a person or source photo that was"
                )
        if self.settings.training.keep == "best" and network.side == "validation":
            found.append("the images that judge chose the epoch (finetune.training.keep=best)")
        return found


def _sized(cost: Complexity) -> Complexity:
    return replace(cost, megabytes=4e-6 * cost.params)
