"""Small copies of head pose data sets: rendered heads in the published file formats.

The labels are those of the rendered heads, so that a network can learn from the files.
Everything follows from the arguments, bit for bit.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from evonas.core.rotations import matrices
from evonas.data.synthetic_faces import SyntheticFaces

SIDE = 450  # of a 300W-LP or AFLW2000 photo, pixels
_FACE = 160  # of a rendered head's square
_ZOOM = 2
_MIRROR_Z = np.diag([1.0, 1.0, -1.0])

#: The colour camera of ``write_biwi``: K, R and t (mm) from the depth camera's frame.
CAMERA_K = np.array([[517.679, 0.0, 320.0], [0.0, 517.679, 240.5], [0.0, 0.0, 1.0]])
CAMERA_R = matrices([[0.4, -0.9, 0.2]])[0]
CAMERA_T = np.array([-24.0, 5.9, -13.2])
_FACE_MM = 253.0  # what a rendered square's side would measure at the head


def heads(people: int, each: int, seed: int) -> SyntheticFaces:
    """Return rendered heads without occluders; those of one person are in a row."""
    return SyntheticFaces(
        identities=max(2, people),
        images_per_identity=each,
        size=_FACE,
        seed=seed,
        train=0.5,
        validation=0.5,
        occluded=0.0,
    )


def write_w300lp(
    root: Path,
    photos: int = 6,
    poses: int = 3,
    flips: bool = True,
    seed: int = 0,
    subsets: tuple[str, ...] = ("AFW", "HELEN"),
) -> SyntheticFaces:
    """Write ``photos`` source photos of ``poses`` renderings into subsets in turn.

    Returns:
        The heads: rendering ``j`` of photo ``i`` is head ``i * poses + j``.
    """
    faces = heads(photos, poses, seed)
    for i in range(photos):
        subset = subsets[i % len(subsets)]
        for j in range(poses):
            photo, points, pose = portrait(faces, i * poses + j)
            stem = f"{subset}_{1000 + i}_1_{j}"
            write_pair(root / subset / stem, photo, pose, {"pt2d": points})
            if flips:
                pitch, yaw, roll = pose
                mirrored = points * [[-1], [1]] + [[SIDE], [0]]
                write_pair(
                    root / f"{subset}_Flip" / stem,
                    photo[:, ::-1],
                    np.array([pitch, -yaw, -roll]),
                    {"pt2d": mirrored},
                )
    return faces


def write_aflw2000(root: Path, photos: int = 6, seed: int = 1) -> SyntheticFaces:
    """Write photos ``image00002``, ``image00003``, ... of one person each; -1 where hidden."""
    faces = heads(photos, 1, seed)
    for i in range(photos):
        photo, points, pose = portrait(faces, i)
        visible = points[:, np.linspace(0, 67, 21).astype(int)]
        turned = float(faces.labels["yaw"][i])
        if abs(turned) > 20:  # the far side is hidden: the nose points that way
            far = points[0].min() if turned > 0 else points[0].max()
            visible[:, np.abs(visible[0] - far) < 40] = -1.0
        depth = np.zeros((1, points.shape[1]))
        write_pair(
            root / f"image{i + 2:05d}",
            photo,
            pose,
            {"pt2d": visible, "pt3d_68": np.concatenate([points, depth]).astype(np.float32)},
        )
    return faces


def write_biwi(
    root: Path, videos: int = 24, frames: int = 3, seed: int = 2, calibrated: bool = True
) -> SyntheticFaces:
    """Write videos ``01``, ``02``, ...; frame ``j`` of video ``i`` is head ``i * frames + j``."""
    faces = heads(videos, frames, seed)
    rng = np.random.default_rng(seed)
    for i in range(videos):
        folder = root / f"{i + 1:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        if calibrated:
            (folder / "rgb.cal").write_text(_camera_text(), encoding="ascii")
        for j in range(frames):
            index = i * frames + j
            u, v, z = rng.uniform([220, 180, 850], [420, 300, 1150])
            side = round(CAMERA_K[0, 0] * _FACE_MM / z)
            marks = faces.landmarks[index]
            middle = (marks.min(axis=0) + marks.max(axis=0)) / 2 * side / _FACE
            corner = np.round([u, v] - middle).astype(int)
            stem = folder / f"frame_{j + 3:05d}"
            picture = _pasted(faces.image(index), side, corner, (640, 480))
            Image.fromarray(picture).save(f"{stem}_rgb.png")
            seen = np.linalg.inv(CAMERA_K) @ [*(corner + middle), 1.0] * z
            centre = CAMERA_R.T @ (seen - CAMERA_T) if calibrated else seen
            angles = np.array([[float(faces.labels[k][index]) for k in ("yaw", "pitch", "roll")]])
            rotation = _MIRROR_Z @ matrices(angles)[0] @ _MIRROR_Z
            lines = [_row(row) for row in rotation] + ["", _row(centre), ""]
            Path(f"{stem}_pose.txt").write_text("\n".join(lines), encoding="ascii")
    return faces


def portrait(
    faces: SyntheticFaces, index: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return a (450, 450, 3) photo, 68 landmarks (2, 68) in its pixels, and pitch, yaw, roll."""
    corner = np.random.default_rng([faces.seed, index]).integers(45, 86, 2)
    photo = _pasted(faces.image(index), _ZOOM * _FACE, corner, (SIDE, SIDE))
    marks = faces.landmarks[index].astype(np.float64) * _ZOOM + corner
    along = np.linspace(0, len(marks) - 1, 68)  # 68 points on the lines between the landmarks
    points = np.stack([np.interp(along, np.arange(len(marks)), marks[:, k]) for k in (0, 1)])
    pose = np.array([faces.labels[name][index] for name in ("pitch", "yaw", "roll")], np.float64)
    return photo, points, pose


def write_pair(
    stem: Path, photo: NDArray[np.uint8], pose: NDArray[np.float64], landmarks: dict[str, Any]
) -> None:
    """Write ``stem``.jpg and ``stem``.mat with the keys of the real files.

    Args:
        stem: path without extension.
        photo: (height, width, 3) RGB.
        pose: (3,) pitch, yaw, roll in degrees.
        landmarks: name -> (2, k) or (3, k) pixels.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(f"{stem}.jpg", quality=92)
    write_mat(
        Path(f"{stem}.mat"),
        {
            **landmarks,
            "Pose_Para": np.array([[*np.radians(pose), 225.0, 225.0, -100.0, 0.0015]], np.float32),
            "roi": np.array([[1, 1, SIDE, SIDE]], np.int16),
        },
    )


def write_mat(path: Path, values: dict[str, Any]) -> None:
    """Write a MATLAB file; keys of the real files that are not given are zero."""
    rest = {
        "Illum_Para": np.zeros((1, 10)),
        "Color_Para": np.zeros((1, 7), np.float32),
        "Tex_Para": np.zeros((199, 1)),
        "Shape_Para": np.zeros((199, 1)),
        "Exp_Para": np.zeros((29, 1)),
    }
    stream = io.BytesIO()
    scipy.io.savemat(stream, {**rest, **values}, do_compression=True)
    # The first 116 bytes are a text for people with the date; here always the same one.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + stream.getvalue()[116:])


def _pasted(
    face: NDArray[np.uint8], side: int, corner: NDArray[np.int_], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a photo with the face at ``corner`` (x, y); its edge continues around it."""
    scaled = np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))
    columns = np.clip(np.arange(size[0]) - corner[0], 0, side - 1)
    rows = np.clip(np.arange(size[1]) - corner[1], 0, side - 1)
    return np.ascontiguousarray(scaled[rows][:, columns])


def _camera_text() -> str:
    rows = [*map(_row, CAMERA_K), "", "0 0 0 0 ", "", *map(_row, CAMERA_R), ""]
    return "\n".join([*rows, _row(CAMERA_T), "", "640 480 ", ""])


def _row(values: NDArray[np.float64]) -> str:
    return "".join(f"{value:.6g} " for value in values)


def main() -> None:
    """Write the three data sets: python tests/face_files.py FOLDER."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=int, default=160, help="of 300W-LP")
    args = parser.parse_args()
    subsets = ("AFW", "HELEN", "IBUG", "LFPW")
    write_w300lp(args.folder / "300W_LP", photos=args.photos, poses=4, subsets=subsets)
    write_aflw2000(args.folder / "AFLW2000", photos=args.photos // 2)
    write_biwi(args.folder / "hpdb")
    print(f"written: {args.folder}/300W_LP, AFLW2000, hpdb")


if __name__ == "__main__":
    main()
