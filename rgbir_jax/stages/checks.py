"""Checks of a config's values that do not need the stage: kinds, ranges, and the names of other stages."""

import math
import numbers
from collections.abc import Iterable
from typing import NamedTuple

from ml_collections import ConfigDict

from rgbir_jax.data.sources import SOURCES, check_image_size
from rgbir_jax.errors import MissingKeyError, UserError
from rgbir_jax.lookup import choose, quoted, section_of

DTYPES = ("bfloat16", "float32", "float64")
MODALITIES = ((0, 1), (0,), (1,), (1, 0))
SECTIONS = ("batch", "augment")
VALUES = ("recipe", "seed", "dtype", "dataset", "data_dir", "prepared_dir", "source", "image_size", "train_split")
VALUES += ("modalities", "protocol", "rand_perm", "resnet50")
INNER = ("optimizers", "decay", "weights", "ramp", "slope", "erase")  # sections wherever they are
INNER += ("channels", "similarity", "ranking", "drawn")
NETWORKS = ("resnet", "stream", "style", "neck", "head", "head_fine", "classifier")  # and all with a capital letter
OF_STAGES = ("stage", "from_run", "steps", "log_every", "evaluate_every", "checkpoint_every")
REFERENCES = ("teacher", "classifier", "start_from", "reads")  # keys of a stage that name an earlier one


class Range(NamedTuple):
    """The finite numbers from `least` to `most`, without `most` itself if `below`; with `whole` only integers."""

    least: float
    most: float = math.inf
    whole: bool = True
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral if self.whole else numbers.Real):
            return False
        number = float(value)
        return math.isfinite(number) and self.least <= number <= self.most and not (self.below and number == self.most)

    def __str__(self) -> str:
        digits = ",.0f" if self.whole else "g"
        bound = "below" if self.below else "at most"
        most = "" if math.isinf(self.most) else f" and {bound} {self.most:{digits}}"
        return f"{'a whole number' if self.whole else 'a number'} of at least {self.least:{digits}}{most}"


COUNT, SIZE, SHARE, RATE = Range(0), Range(1), Range(0, 1, whole=False), Range(0, whole=False)
MEAN = Range(0, 1, whole=False, below=True)  # the share of what was before
# By the last part of a key, or by the name of a section for all that is in it; the elements of tuples one by one.
RANGES = {
    "seed": Range(0, 2**32 - 1),
    "steps": Range(1, 2**31 - 1),
    "image_size": Range(1, 10_000),
    **dict.fromkeys(("identities", "shots", "parts", "num_scales", "patience_nonfinite"), SIZE),
    **dict.fromkeys(("width", "blocks", "code", "mlp", "hidden"), SIZE),
    **dict.fromkeys(("log_every", "pictures_every", "evaluate_every", "checkpoint_every"), COUNT),
    **dict.fromkeys(("pad", "at", "warmup", "start", "bottleneck", "non_local", "non_local_width"), COUNT),
    **dict.fromkeys(("probability", "area", "grey", "mix", "scale"), SHARE),
    **dict.fromkeys(("dropout", "b1", "b2", "momentum", "smoothing"), MEAN),
    **dict.fromkeys(("learning_rate", "l2", "clip", "factor", "init_std", "margin", "pair_margin", "epsilon"), RATE),
    **dict.fromkeys(("total_scale", "weights", "slope", "similarity", "ranking", "gain_std"), RATE),
    "last_stride": Range(1, 2),
    "fill": Range(-10, 10, whole=False),
    "aspect": Range(0.01, whole=False),
    "triplet": SIZE,
}
ONE_OR_SEVERAL = ("image_size", "hidden")  # of which a tuple is checked elsewhere
# Lengths of tuples; 0: any.
TUPLES: dict[str, int] = dict.fromkeys(("recipe", "modalities", "at", "blocks", "non_local", "heads", "networks"), 0)
TUPLES |= {"area": 2, "aspect": 2, "fill": 3}
LISTS = ("recipe", "heads", "networks")  # tuples of texts
TEXTS = ("dtype", "dataset", "data_dir", "source", "train_split", "protocol", "stage", "kind")
SWITCHES = ("detach_appearance", "freeze_appearance", "alternate_structure", "rectify", "exchange", "every_head")
SWITCHES += ("stem_relu",)  # of a ResNet
NAMES = ("prepared_dir", "rand_perm", "resnet50", "from_run", "transfer_from", *REFERENCES)  # may be empty
LEAVES = {*RANGES, *TUPLES, *TEXTS, *SWITCHES, *NAMES} - {*INNER, *NETWORKS, "networks"}  # never sections


def check_recipe(config: ConfigDict) -> None:
    """Checks everything outside the stages' own choices.

    Raises:
        UserError: for a value that is missing, of another kind or out of its range, an unknown dtype, source or choice
            of modalities, a stage without a section or twice in the recipe, or one that names a stage which does not
            come before it.
    """
    _check_sections(config, "config", VALUES, SECTIONS)
    _check_sections(config.batch, "config.batch", ("identities", "shots"), ())
    _check_sections(config.augment, "config.augment", ("pad",), ("erase",))
    _check_sections(config.augment.erase, "config.augment.erase", ("probability", "area", "aspect"), ())
    values = {key: value for key, value in config.items() if key in LEAVES or not isinstance(value, ConfigDict)}
    # Here, unlike in the section of a stage, "teacher" is a stage itself.
    _check_values(ConfigDict({key: value for key, value in values.items() if key not in REFERENCES}), "config")
    choose(config.dtype, DTYPES, "config.dtype")
    choose(config.source, SOURCES, "config.source")
    choose(tuple(config.modalities), MODALITIES, "config.modalities")
    check_image_size(config.image_size)
    if not all(config.recipe) or not 0 < len(config.recipe) == len(set(config.recipe)):
        raise UserError(f"config.recipe is {tuple(config.recipe)}; name each stage once, in order.")
    for position, name in enumerate(config.recipe):
        if name not in config:
            raise UserError(f'the recipe names a stage "{name}", but the config has no section config.{name}.')
        _check_sections(config, "config", (), (name,))
        _check_sections(config[name], f"config.{name}", OF_STAGES, ())
        for key in REFERENCES:
            earlier = config[name].get(key, "")
            if earlier and earlier not in config.recipe[:position]:
                raise UserError(
                    f'stage "{name}" needs "{earlier}" (config.{name}.{key}); name it before "{name}" in config.recipe.'
                )
        if "networks" in config[name]:
            section_of(config[name].networks, f"config.{name}.networks")
    for name in (*SECTIONS, *config.recipe):
        _check_values(config[name], f"config.{name}")


def _check_sections(config: ConfigDict, path: str, values: Iterable[str], sections: Iterable[str]) -> None:
    """Refuses a config that lacks values or sections, or has a value where a section should be."""
    for key in (*values, *sections):
        if key not in config:
            raise MissingKeyError(f"{path}.{key}")
        if key in sections:
            section_of(config[key], f"{path}.{key}")


def _check_values(section: ConfigDict, path: str) -> None:
    for key, value in section.items():
        is_network = path.endswith(".networks") and (key[0].isupper() or key in NETWORKS)
        if key in INNER or is_network or path.endswith(".optimizers"):
            section_of(value, f"{path}.{key}")
        if isinstance(value, ConfigDict):
            is_term = path.rpartition(".")[2] in RANGES  # of weights, for example
            if is_term or (key in LEAVES and not path.endswith(".optimizers")):
                raise UserError(f"{path}.{key} is a section; it must be a value, or values in a tuple.")
            _check_values(value, f"{path}.{key}")
            continue
        elements = tuple(value) if isinstance(value, tuple | list) else None
        if key in TUPLES and (elements is None or TUPLES[key] not in (0, len(elements))):
            count = TUPLES[key] or "any number"
            raise UserError(f"{path}.{key} is {quoted(value)}; it must be a tuple of {count}, written (1, 2).")
        if key in LISTS and not all(isinstance(element, str) for element in elements or ()):
            raise UserError(f'{path}.{key} is {quoted(value)}; it must hold texts, written ("one", "two").')
        if key in TEXTS and not (isinstance(value, str) and value):
            raise UserError(f"{path}.{key} is {quoted(value)}; it must be a text.")
        if key in SWITCHES and not isinstance(value, bool):
            raise UserError(f"{path}.{key} is {quoted(value)}; it must be True or False.")
        if key in NAMES and value and not isinstance(value, str):
            raise UserError(f"{path}.{key} is {quoted(value)}; it must be a text, or empty.")
        allowed = RANGES.get(key) or RANGES.get(path.rpartition(".")[2])
        if allowed is not None and elements is not None and key not in (*TUPLES, *ONE_OR_SEVERAL):
            raise UserError(f"{path}.{key} is {quoted(value)}; it must be {allowed}.")
        for element in (value,) if elements is None else elements:
            if allowed is not None and element not in allowed:
                each = "be " if elements is None else "hold "
                raise UserError(f"{path}.{key} is {quoted(value)}; it must {each}{allowed}.")
