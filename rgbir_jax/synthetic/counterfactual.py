"""Counterfactual pictures: another person, or the other modality, in a picture of a drawn dataset.

The factors of a drawn picture are independent and known. So the picture that a generator should make from the structure
of one picture and the appearance of another can be drawn, and compared with the generated one.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from rgbir_jax.errors import UserError
from rgbir_jax.synthetic.camera import LLCM_CAMERAS, MARKET_CAMERAS, REGDB_CAMERAS, SYSU_CAMERAS, Camera
from rgbir_jax.synthetic.factors import factors_table
from rgbir_jax.synthetic.figure import figure
from rgbir_jax.synthetic.picture import draw
from rgbir_jax.synthetic.pose import Pose
from rgbir_jax.synthetic.shot import Shot, identity_of, pose_of
from rgbir_jax.synthetic.surface import Surface
from rgbir_jax.synthetic.writing import FACTORS, MANIFEST, VERSION, encode

_NEW_PEOPLE = 1_000_000  # the number of the first person who is in no plan
_CAMERAS = {
    (camera.number, camera.place, camera.infrared): camera
    for camera in (*SYSU_CAMERAS, *MARKET_CAMERAS, *REGDB_CAMERAS, *LLCM_CAMERAS)
}


@dataclass(frozen=True)
class DrawnDataset:
    """A dataset that this program drew.

    Attributes:
        seed: the seed of identities and poses.
        size: the height and width of the pictures in pixels.
        factors: the rows of factors.csv by path, as text by column.
    """

    seed: int
    size: tuple[int, int]
    factors: Mapping[str, Mapping[str, str]]

    def person(self, path: str) -> int:
        """Returns the person in a picture, as the number that `counterfactual` takes."""
        return int(self.factors[path]["person"])

    def counterfactual(self, path: str, person: int, infrared: bool) -> bytes:
        """Draws a person in the place of the person in a picture: the same pose, camera, background crop and grain.

        Args:
            path: the picture's path, relative to the dataset's root. It must not be one of Market-1501's junk images.
            person: the number of the person to draw, from 1.
            infrared: whether the picture's camera sees infrared instead of visible light.

        Returns:
            The content of a file in the format of the picture's; for its own person and modality, that of its own file.
        """
        camera, pose, grain = self._scene(path)
        camera = dataclasses.replace(camera, infrared=infrared)
        return encode(Image.fromarray(draw(identity_of(person, self.seed), pose, camera, grain, self.size)), path)

    def new_people(self, count: int) -> "DrawnDataset":
        """Plans pictures of people who are in no dataset: one picture of each of them in every camera.

        Their files do not exist: `picture` draws them.
        """
        cameras = {key: _CAMERAS[key] for key in sorted({_camera_key(row) for row in self.factors.values()})}
        suffix = Path(next(iter(self.factors))).suffix
        # A camera that sees both modalities takes two pictures.
        numbers = {key: 2 if key[2] and (*key[:2], False) in cameras else 1 for key in cameras}
        shots = [
            Shot(f"cam{camera.number}/{person}/{numbers[key]:04d}{suffix}", person, camera, numbers[key])
            for person in range(_NEW_PEOPLE, _NEW_PEOPLE + count)
            for key, camera in cameras.items()
        ]
        return dataclasses.replace(self, factors=_by_path(factors_table(shots, self.seed).decode()))

    def picture(self, path: str) -> bytes:
        """Draws a picture as it is, that is, the content of its file."""
        *_, infrared = _camera_key(self.factors[path])
        return self.counterfactual(path, self.person(path), infrared)

    def silhouette(self, path: str, person: int) -> Bool[np.ndarray, "height width"]:
        """Returns the mask of the pixels at which a person is visible in the place of the person in a picture."""
        _, pose, _ = self._scene(path)
        surface, _ = figure(identity_of(person, self.seed), pose, *self.size)
        return (surface != Surface.BACKGROUND) & (surface != Surface.OCCLUDER)

    def _scene(self, path: str) -> tuple[Camera, Pose, int]:
        """Returns the camera and the pose of a picture, and the seed of its grain."""
        row = self.factors[path]
        camera = _CAMERAS[_camera_key(row)]
        return camera, *pose_of(Shot(path, int(row["person"]), camera, int(row["number"])), self.seed)


def open_drawn(root: str | Path) -> DrawnDataset:
    """Opens a drawn dataset, in any of the trees that this program draws.

    Raises:
        UserError: if the folder was not drawn by this program, or by another version of it.
    """
    root = Path(root)
    for name in (MANIFEST, FACTORS):
        if not (root / name).is_file():
            raise UserError(
                f"{root} has no {name}, so its true factors are unknown; "
                f"draw a dataset: python -m rgbir_jax.synthetic --out FOLDER"
            )
    try:
        manifest = json.loads((root / MANIFEST).read_text())
        version, seed, (height, width) = manifest["version"], manifest["seed"], manifest["size"]
        factors = _by_path((root / FACTORS).read_text())
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{root}/{MANIFEST} or {FACTORS} is damaged ({error}); draw the dataset again.") from error
    if version != VERSION:
        raise UserError(
            f"{root} was drawn by version {version} of the drawing program, and this is version {VERSION}; "
            f"draw the dataset again into another folder."
        )
    return DrawnDataset(seed, (height, width), factors)


def _by_path(table: str) -> dict[str, dict[str, str]]:
    """Returns the rows of factors.csv."""
    return {row["path"]: row for row in csv.DictReader(io.StringIO(table))}


def _camera_key(row: Mapping[str, str]) -> tuple[int, int, bool]:
    return int(row["camera.number"]), int(row["camera.place"]), row["camera.infrared"] == "1"
