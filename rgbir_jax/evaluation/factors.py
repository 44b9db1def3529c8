"""The factors of images that probes look for in codes."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from rgbir_jax.data.decoding import decode, in_threads
from rgbir_jax.datasets.records import IR, RGB, Records, tabulate
from rgbir_jax.synthetic import DrawnDataset

Text = Mapping[str, np.ndarray]  # columns of factors.csv


@dataclass(frozen=True, eq=False)
class Factor:
    """Something that varies between images.

    Attributes:
        values: int [n] for a factor of several kinds; otherwise float [n, k], such as the three channels of a colour.
        shown: the images that can show it: no infrared image shows a colour, and nobody without a bag its colour.
        of_person: whether it is the person itself, which cannot be predicted for persons that a probe has not seen.
    """

    values: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"]
    shown: Bool[np.ndarray, "n"]
    of_person: bool = False

    @property
    def is_class(self) -> bool:
        """Whether the factor has several kinds instead of numbers."""
        return self.values.ndim == 1


def label_factors(records: Records) -> dict[str, Factor]:
    """Returns the factors that every dataset's labels give: `person`, `camera` and `modality`.

    Args:
        records: the table of the images.
    """
    everywhere = np.ones(len(records), bool)
    return {
        "person": Factor(_numbers(records.person_id), everywhere, of_person=True),
        "camera": Factor(_numbers(records.camera), everywhere),
        "modality": Factor(_numbers(records.modality), everywhere),
    }


def drawn_factors(drawn: DrawnDataset, records: Records) -> dict[str, Factor]:
    """Returns the factors of drawn images: those of `label_factors`, and what factors.csv says of a picture.

    `phase` is circular and is given by its sine and cosine. A colour is looked for in RGB images only, and a
    reflectance in near infrared in IR images only. Details that small images hardly show are left out: the hair's
    colour, a pattern's second colour, period and figure, the lengths of hem, skirt and legs, the sizes of head and bag
    and the bag's side, the hidden share of a person, and a camera's light, blur and noise, which `camera` stands for.

    Args:
        drawn: the dataset.
        records: the table of the images.
    """
    rows = [drawn.factors[path] for path in records.path.tolist()]
    table = {column: np.array([row[column] for row in rows]) for column in rows[0]}
    factors = label_factors(records)
    for name, column in _KINDS.items():
        factors[name] = Factor(_numbers(table[column]), _everywhere(table))
    for name, (column, worn) in _COLOURS.items():
        colour = [f"{column}.colour.{channel}" for channel in "rgb"]
        factors[f"{name}_colour"] = Factor(_floats(table, *colour), (records.modality == RGB) & worn(table))
        if column != "identity.skin":  # the same for everybody
            infrared = _floats(table, f"{column}.infrared")
            factors[f"{name}_infrared"] = Factor(infrared, (records.modality == IR) & worn(table))
    for name, column in _NUMBERS.items():
        factors[name] = Factor(_floats(table, column), _everywhere(table))
    angle = 2 * np.pi * _floats(table, "pose.phase")
    factors["phase"] = Factor(np.concatenate([np.sin(angle), np.cos(angle)], axis=1), _everywhere(table))
    return factors


def new_people(
    drawn: DrawnDataset, count: int, image_size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "n height width 3"], Records, dict[str, Factor]]:
    """Draws people who are in no dataset, one image in every camera.

    Attributes of persons can only be learnt from many persons, of which a test set has too few.

    Args:
        drawn: the dataset whose cameras and size of pictures are used.
        count: the number of people; 250 give 1,500 images, drawn in seconds.
        image_size: (height, width) of the images in pixels.

    Returns:
        The images, RGB, decoded as those of a source; their table; and `drawn_factors` of them.
    """
    people = drawn.new_people(count)
    images = [
        (path, int(row["person"]), int(row["camera.number"]), int(row["camera.infrared"]), "test")
        for path, row in people.factors.items()
    ]
    records = tabulate(images)
    pixels = in_threads(lambda path: decode(io.BytesIO(people.picture(path)), image_size), records.path.tolist())
    return np.stack(list(pixels)), records, drawn_factors(people, records)


def independent(factors: Mapping[str, Factor]) -> dict[str, Factor]:
    """Leaves out the factors of drawn images that determine others: the person and the camera."""
    return {name: factor for name, factor in factors.items() if name not in ("person", "camera")}


def _everywhere(table: Text) -> Bool[np.ndarray, "n"]:
    return np.ones(len(table["path"]), bool)


def _worn(column: str) -> Callable[[Text], Bool[np.ndarray, "n"]]:
    return lambda table: table[column] != "none"


_KINDS = {
    "hair": "identity.hair",
    "hat": "identity.hat",
    "sleeves": "identity.sleeves",
    "lower": "identity.lower",
    "bag": "identity.bag",
    "upper_pattern": "identity.upper.pattern",
    "lower_pattern": "identity.lower_garment.pattern",
    "view": "pose.view",
    "occluder": "pose.occluder",
    "place": "camera.place",
}
_NUMBERS = {
    "height": "identity.height",
    "build": "identity.build",
    "x": "pose.x",
    "y": "pose.y",
    "scale": "pose.scale",
    "swing": "pose.swing",
}
_COLOURS = {
    "upper": ("identity.upper.main", _everywhere),
    "lower": ("identity.lower_garment.main", _everywhere),
    "shoes": ("identity.shoes", _everywhere),
    "bag": ("identity.bag_material", _worn("identity.bag")),
    "hat": ("identity.hat_material", _worn("identity.hat")),
    "skin": ("identity.skin", _everywhere),
}


def _numbers(labels: Sequence | np.ndarray) -> Int[np.ndarray, "n"]:
    """Numbers the kinds of a factor from 0."""
    return np.unique(labels, return_inverse=True)[1]


def _floats(table: Text, *columns: str) -> Float[np.ndarray, "n k"]:
    return np.stack([table[column].astype(np.float64) for column in columns], axis=1)
