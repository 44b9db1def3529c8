"""Images on a command line: places of images, and files of features that rgbir-features computed from them."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rgbir_jax.data.given_images import image_paths
from rgbir_jax.errors import UserError
from rgbir_jax.inference.image_features import Features
from rgbir_jax.run import Run

ENDING = ".npz"  # of a file of features


class Given(NamedTuple):
    """What one argument names.

    Attributes:
        place: the argument.
        paths: the images.
        features: their features, if it is a file of features.
    """

    place: str
    paths: Sequence[str]
    features: Features | None

    @classmethod
    def of(cls, place: str) -> "Given":
        """Lists the images of a file of features, of a file, a folder or a pattern.

        Raises:
            UserError: if it is not there, if there is no image, or if a file of features cannot be read.
        """
        if not place.lower().endswith(ENDING):
            return cls(place, image_paths(place), None)
        features = Features.load(place)
        if not len(features):
            raise UserError(f"{place} has features of no image; name another file.")
        return cls(place, features.paths, features)

    def check_run(self, model: Run) -> None:
        """Refuses a file of features of another run.

        Raises:
            UserError: naming both.
        """
        if self.features is not None and self.features.run != model.fingerprint:
            raise UserError(
                f"{self.place} has features of the run {self.features.run}, which cannot be compared with those of "
                f"{model.name} ({model.fingerprint}); name its run with --run."
            )


def features_of(given: Sequence[Given], model: Run, modality: str | None) -> Features:
    """Returns the features of images in their order, at least one argument; only those not in a file are computed.

    Args:
        given: the arguments.
        model: the run.
        modality: "rgb" or "ir", of all images whose features are computed; None: guessed for each.

    Raises:
        UserError: if none of the images can be read, or for features of another run.
    """
    blocks: list[Features] = []
    for is_kept, some in groupby(given, lambda one: one.features is not None):
        group = list(some)
        if is_kept:
            blocks += [one.features for one in group if one.features is not None]
        else:
            blocks.append(model.features([path for one in group for path in one.paths], modality))
    return Features.joined(blocks)
