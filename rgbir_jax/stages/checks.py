"""Checks of a config's values that do not need the stage: ranges, and the names of other stages."""

import math
import numbers
from typing import NamedTuple

from ml_collections import ConfigDict

from rgbir_jax.data.sources import check_image_size
from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, quoted

DTYPES = ("bfloat16", "float32", "float64")
REFERENCES = ("teacher", "classifier", "start_from", "reads")  # keys of a stage that name an earlier one


class Range(NamedTuple):
    """The numbers from `least` to `most`; without `whole` also those between integers."""

    least: float
    most: float = math.inf
    whole: bool = True

    def __contains__(self, value: object) -> bool:
        kind = numbers.Integral if self.whole else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and self.least <= float(value) <= self.most

    def __str__(self) -> str:
        most = "" if math.isinf(self.most) else f" and at most {self.most:g}"
        return f"{'a whole number' if self.whole else 'a number'} of at least {self.least:g}{most}"


COUNT, SIZE, SHARE, RATE = Range(0), Range(1), Range(0, 1, whole=False), Range(0, whole=False)
# By the last part of a key; the elements of tuples one by one.
RANGES = {
    "seed": Range(0, 2**32 - 1),
    **dict.fromkeys(("image_size", "identities", "shots", "parts", "steps", "num_scales", "patience_nonfinite"), SIZE),
    **dict.fromkeys(("width", "blocks", "code", "mlp", "bottleneck", "hidden"), SIZE),
    **dict.fromkeys(("log_every", "pictures_every", "evaluate_every", "checkpoint_every"), COUNT),
    **dict.fromkeys(("pad", "at", "warmup", "start"), COUNT),
    **dict.fromkeys(("probability", "area", "dropout", "b1", "b2", "momentum"), SHARE),
    **dict.fromkeys(("learning_rate", "l2", "clip", "factor", "init_std", "margin", "total_scale"), RATE),
}


def check_recipe(config: ConfigDict) -> None:
    """Checks everything outside the stages' own choices.

    Raises:
        UserError: for a number out of its range, an unknown dtype, a stage without a section or twice in the recipe, or
            one that names a stage which does not come before it.
    """
    choose(config.dtype, DTYPES, "config.dtype")
    check_image_size(tuple(config.image_size))
    if not all(config.recipe) or not 0 < len(config.recipe) == len(set(config.recipe)):
        raise UserError(f"config.recipe is {tuple(config.recipe)}; name each stage once, in order.")
    for position, name in enumerate(config.recipe):
        if name not in config:
            raise UserError(f'the recipe names a stage "{name}", but the config has no section config.{name}.')
        for key in REFERENCES:
            earlier = config[name].get(key, "")
            if earlier and earlier not in config.recipe[:position]:
                raise UserError(
                    f'stage "{name}" needs "{earlier}" (config.{name}.{key}); name it before "{name}" in config.recipe.'
                )
    common = {key: value for key, value in config.items() if not isinstance(value, ConfigDict)}
    _check_ranges(ConfigDict(common | {key: config[key] for key in ("batch", "augment", *config.recipe)}), "config")


def _check_ranges(section: ConfigDict, path: str) -> None:
    for key, value in section.items():
        if isinstance(value, ConfigDict):
            _check_ranges(value, f"{path}.{key}")
            continue
        for element in value if isinstance(value, tuple) else (value,):
            if key in RANGES and element not in RANGES[key]:
                each = "hold " if isinstance(value, tuple) else "be "
                raise UserError(f"{path}.{key} is {quoted(value)}; it must {each}{RANGES[key]}.")
