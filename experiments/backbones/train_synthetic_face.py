"""Train the backbone ``synthetic_face``: recognition of synthetic identities.

The loss is the cosine margin softmax of CosFace (Wang et al. 2018, "CosFace: Large
Margin Cosine Loss for Deep Face Recognition"). No pose label is used. Verification is
measured on identities that training never saw, over all pairs of images that differ in
pose, light, expression, background and occluder.

    python experiments/backbones/train_synthetic_face.py --threads 2
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from evonas.data.synthetic_faces import RENDERER_VERSION, SyntheticFaces
from evonas.models.backbones import synthetic_face
from evonas.models.backbones.synthetic_face import SyntheticFace

UNSEEN_SEED = 90001  # no identity of another seed's data set occurs in this one


class CosFace(nn.Module):
    """Softmax over scaled cosines; the true class must win by a margin."""

    def __init__(self, features: int, classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, features))
        self.scale, self.margin = scale, margin

    def forward(self, descriptors: Tensor, labels: Tensor, share: float) -> Tensor:
        """Return the mean loss; ``share`` of the margin is applied."""
        cosine = descriptors @ functional.normalize(self.centres).T
        cosine = cosine - share * self.margin * functional.one_hot(labels, len(self.centres))
        return functional.cross_entropy(self.scale * cosine, labels)


def render(options: dict[str, int], threads: int) -> tuple[Tensor, Tensor]:
    """Return all images, (n, 3, 64, 64) uint8, and their identities, (n,)."""
    count = options["identities"] * options["images_per_identity"]
    ends = np.linspace(0, count, 4 * threads + 1).astype(int)
    with ProcessPoolExecutor(threads) as pool:
        jobs = [pool.submit(_render_some, options, a, b) for a, b in itertools.pairwise(ends)]
        images = np.concatenate([job.result() for job in jobs])
    identities = np.arange(count) // options["images_per_identity"]
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(identities)


def _render_some(options: dict[str, int], start: int, stop: int) -> NDArray[np.uint8]:
    return SyntheticFaces(**options).images(int(start), int(stop))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the batch as float, mirrored and moved by up to three pixels at random."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images.float(), (3, 3, 3, 3), mode="replicate")
    top, left = torch.randint(0, 7, (2,), generator=generator).tolist()
    return padded[:, :, top : top + 64, left : left + 64]


def area_under_curve(same: NDArray[np.float32], different: NDArray[np.float32]) -> float:
    """Return the chance that a same-identity pair scores above a different one."""
    order = np.argsort(np.concatenate([same, different]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    wins = ranks[: len(same)].sum() - len(same) * (len(same) + 1) / 2
    return float(wins / (len(same) * len(different)))


def verify(network: SyntheticFace, images: Tensor, identities: Tensor) -> float:
    """Return the AUC over all pairs of images."""
    network.eval()
    with torch.no_grad():
        found = torch.cat([network.describe(part.float()) for part in torch.split(images, 256)])
    cosine = (found @ found.T).numpy()
    upper = np.triu(np.ones_like(cosine, dtype=bool), 1)
    equal = (identities[:, None] == identities[None]).numpy()
    return area_under_curve(cosine[upper & equal], cosine[upper & ~equal])


def train(arguments: argparse.Namespace) -> dict[str, object]:
    """Train, save the weights and return the facts about them."""
    started = time.time()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    size = {"identities": arguments.identities, "images_per_identity": arguments.images}
    images, labels = render({**size, "seed": arguments.seed + 1}, arguments.threads)
    unseen = render(
        {"identities": 200, "images_per_identity": 10, "seed": UNSEEN_SEED}, arguments.threads
    )
    print(
        f"rendered {len(images)} + {len(unseen[0])} images in {time.time() - started:.0f} s",
        flush=True,
    )

    network = SyntheticFace(random=arguments.seed)
    network.requires_grad_(True)
    loss_of = CosFace(128, arguments.identities, arguments.scale, arguments.margin)
    parameters = [*network.parameters(), *loss_of.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.rate, weight_decay=0.01)
    steps = len(images) // arguments.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.rate, total_steps=steps * arguments.epochs, pct_start=0.15
    )
    for epoch in range(arguments.epochs):
        network.train()
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for step in range(steps):
            chosen = order[step * arguments.batch : (step + 1) * arguments.batch]
            # the full margin from the start would keep the classes from ever parting
            share = min(1.0, (epoch + step / steps) / (0.3 * arguments.epochs))
            loss = loss_of(
                network.describe(augment(images[chosen], generator)), labels[chosen], share
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        auc = verify(network, *unseen)
        seconds = time.time() - started
        print(
            f"epoch {epoch + 1}: loss {total / steps:.3f}, AUC {auc:.4f}, {seconds:.0f} s",
            flush=True,
        )

    network.freeze()
    path = Path(arguments.out)
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    save_file({name: value.contiguous() for name, value in halves.items()}, path)
    path.chmod(0o644)
    path.with_suffix(".json").unlink(missing_ok=True)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "auc_unseen_identities": round(verify(SyntheticFace(weights=str(path)), *unseen), 4),
        "verification": f"all pairs of {len(unseen[0])} images of 200 identities, "
        f"data seed {UNSEEN_SEED}",
        "renderer_version": RENDERER_VERSION,
        "command": "python experiments/backbones/train_synthetic_face.py",
        "options": {k: v for k, v in sorted(vars(arguments).items()) if k != "out"},
        "minutes": round((time.time() - started) / 60, 1),
    }


def main() -> None:
    """Parse the command line, train, write weights and facts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    shipped = Path(synthetic_face.__file__).with_suffix(".safetensors")
    parser.add_argument("--out", default=str(shipped), help="where the weights go")
    parser.add_argument("--identities", type=int, default=1500)
    parser.add_argument("--images", type=int, default=30, help="images of each identity")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--scale", type=float, default=24.0)
    parser.add_argument("--margin", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    facts = train(arguments)
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    Path(arguments.out).with_suffix(".json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
