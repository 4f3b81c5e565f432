"""Make a folder as a team would bring it: photos, a table, a network's weights.

python experiments/own_faces/make.py FOLDER
evonas data check image_table root=FOLDER
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file, save_file

import evonas
from evonas.data.synthetic_faces import SyntheticFaces

_SHIPPED = Path(evonas.__file__).parent / "models" / "backbones" / "synthetic_face.safetensors"


def main() -> None:
    """Write FOLDER/images/*.jpg, FOLDER/labels.csv and FOLDER/face_net.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--each", type=int, default=16, help="photos of each")
    args = parser.parse_args()
    faces = SyntheticFaces(
        identities=args.people, images_per_identity=args.each, size=96, seed=5, occluded=0.0
    )
    (args.folder / "images").mkdir(parents=True, exist_ok=True)
    with (args.folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "person", "looks", "smile"])
        for index in range(len(faces)):
            name = f"images/{index:05d}.jpg"
            Image.fromarray(faces.image(index)).save(args.folder / name, quality=92)
            smile = f"{faces.labels['smile'][index]:.3f}"
            table.writerow([name, faces.groups[index], _looks(faces, index), smile])
            if index % 100 == 99:
                print(f"{index + 1} of {len(faces)} photos", file=sys.stderr)
    weights = {
        re.sub(r"blocks\.block(\d)", lambda found: f"stages.{int(found[1]) - 1}", name): value
        for name, value in load_file(_SHIPPED).items()
    }
    save_file(weights, args.folder / "face_net.safetensors")
    print(f"written: {args.folder}")


def _looks(faces: SyntheticFaces, index: int) -> str:
    """Return where a face looks, as the photo shows it."""
    yaw, pitch = (float(faces.labels[name][index]) for name in ("yaw", "pitch"))
    if max(abs(yaw), abs(pitch)) < 20:
        return "ahead"
    if abs(yaw) > abs(pitch):
        return "left" if yaw > 0 else "right"
    return "up" if pitch > 0 else "down"


if __name__ == "__main__":
    main()
