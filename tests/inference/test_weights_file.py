"""docs/export.md names every tensor of every system, with its axes, and no others."""

import re
from itertools import product
from pathlib import Path

from rgbir_jax import stages
from rgbir_jax.inference import weights
from tests.stages.test_embedding import tiny_config as tiny_embedding_config
from tests.tiny import (
    TWO_STEM,
    tiny_cmgan_config,
    tiny_cmpig_config,
    tiny_config,
    tiny_sdl_config,
    tiny_two_stem_config,
)

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def documented() -> dict[str, int]:
    """Returns the number of axes by name, from the table's rows."""
    axes = {}
    for pattern, described in re.findall(r"^\| `((?:params|batch_stats)/.*?)` \| (.*?) \|", PAGE.read_text(), re.M):
        fixed_and_choices = re.split(r"\{(.*?)\}", pattern)
        for chosen in product(
            *(part.split(",") if place % 2 else [part] for place, part in enumerate(fixed_and_choices))
        ):
            axes["".join(chosen)] = len(described.split(","))
    return axes


def test_the_page_names_all_tensors():
    existing = {}
    configs = [tiny_config(), tiny_config("dgnet"), tiny_config("released"), tiny_embedding_config()]
    configs += [*map(tiny_two_stem_config, TWO_STEM), tiny_sdl_config(), tiny_cmpig_config(), tiny_cmgan_config()]
    for config in configs:
        for name in config.recipe:
            for key, shape in weights.shapes(name, stages.build(config, name, 4)).items():
                assert key.startswith(f"{name}/")
                existing[re.sub(r"\d+", "N", key.removeprefix(f"{name}/"))] = len(shape)
    assert documented() == existing
