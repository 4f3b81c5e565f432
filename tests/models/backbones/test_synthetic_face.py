"""The synthetic-face backbone: taps, recognition of unseen people, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from evonas.data.synthetic_faces import RENDERER_VERSION, SyntheticFaces
from evonas.errors import InputError
from evonas.models.backbones import synthetic_face
from evonas.models.backbones.synthetic_face import SyntheticFace
from evonas.models.full_network import TruncatedBackbone

SHIPPED = Path(synthetic_face.__file__).with_suffix(".safetensors")
FACTS = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def network() -> SyntheticFace:
    return SyntheticFace()


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def test_taps_have_the_declared_shapes(network: SyntheticFace, batch: Tensor) -> None:
    found = network(batch, list(network.taps))
    assert list(found) == ["block1", "block2", "block3", "block4"]
    for name, shape in network.taps.items():
        assert found[name].shape == (2, *shape)
        assert found[name].dtype == torch.float32


def test_forward_stops_behind_the_last_tap(network: SyntheticFace, batch: Tensor) -> None:
    ran: list[str] = []
    hooks = [
        block.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, block in network.blocks.items()
    ]
    found = network(batch, ["block2"])
    for hook in hooks:
        hook.remove()
    assert ran == ["block1", "block2"]
    assert list(found) == ["block2"]


def test_an_unknown_tap_names_the_nearest(network: SyntheticFace, batch: Tensor) -> None:
    with pytest.raises(InputError, match="did you mean 'block3'"):
        network(batch, ["blok3"])


def test_it_is_frozen(network: SyntheticFace, batch: Tensor) -> None:
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    before = network.fingerprint
    network.describe(batch)
    assert network.fingerprint == before == SyntheticFace().fingerprint


def test_descriptors_are_unit_vectors(network: SyntheticFace, batch: Tensor) -> None:
    found = network.describe(batch)
    assert found.shape == (2, 128)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_a_face_s_features_do_not_depend_on_the_batch(network: SyntheticFace) -> None:
    images = torch.rand(5, 3, 64, 64) * 255
    together = network(images, ["block3"])["block3"]
    alone = network(images[3:4], ["block3"])["block3"]
    torch.testing.assert_close(together[3:4], alone, rtol=1e-4, atol=1e-4)


def test_it_is_cheap(network: SyntheticFace) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    cut = TruncatedBackbone(network, "block4")
    with FlopCounterMode(display=False) as counter:
        cut(cut.example())
    assert counter.get_total_flops() / 2 == 13_418_496
    assert SHIPPED.stat().st_size <= 2_000_000


@pytest.mark.slow
def test_it_recognises_unseen_people(network: SyntheticFace) -> None:
    """60 people x 6 images of a seed that neither training nor its report used."""
    faces = SyntheticFaces(identities=60, images_per_identity=6, seed=424242)
    images = torch.from_numpy(faces.images(0, len(faces))).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        found = network.describe(images).numpy()
    cosine = found @ found.T
    upper = np.triu(np.ones_like(cosine, dtype=bool), 1)
    equal = faces.identities[:, None] == faces.identities[None]
    same, different = cosine[upper & equal], np.sort(cosine[upper & ~equal])
    auc = float(np.mean(np.searchsorted(different, same) / len(different)))
    assert auc >= 0.95, auc


def test_the_facts_beside_the_weights_are_of_this_renderer() -> None:
    assert FACTS["renderer_version"] == RENDERER_VERSION
    assert FACTS["auc_unseen_identities"] >= 0.95


def test_random_weights_are_reproducible_and_others(batch: Tensor) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, again, other = (SyntheticFace(random=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, other.fingerprint, SyntheticFace().fingerprint}) == 3
    found = first(batch, ["block4"])["block4"]
    assert torch.isfinite(found).all()
    assert found.std() > 0.01
    assert torch.equal(state, torch.random.get_rng_state())


def test_both_options_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        SyntheticFace(weights="x.safetensors", random=0)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none at"):
        SyntheticFace(weights=str(tmp_path / "none.safetensors"))


def test_a_file_of_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    shutil.copy(SHIPPED, path)
    path.with_suffix(".json").write_text(json.dumps(FACTS), encoding="utf-8")
    assert SyntheticFace(weights=str(path)).fingerprint == SyntheticFace().fingerprint
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match="sha256"):
        SyntheticFace(weights=str(path))


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no tensors here")
    with pytest.raises(InputError, match="no safetensors file") as caught:
        SyntheticFace(weights=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["shape", "missing", "extra"])
def test_weights_of_another_network_are_refused(tmp_path: Path, change: str) -> None:
    tensors = load_file(SHIPPED)
    if change == "shape":
        tensors["descriptor.weight"] = torch.zeros(64, 2048)
    elif change == "missing":
        del tensors["descriptor.weight"]
    else:
        tensors["head.weight"] = torch.zeros(3)
    path = tmp_path / "w.safetensors"
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"weight' in .* has shape"):
        SyntheticFace(weights=str(path))
