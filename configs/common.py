"""What the configs share."""

from collections.abc import Iterable

from rgbir_jax.errors import UserError

SYSU_IMAGES, REGDB_IMAGES, LLCM_IMAGES = 22_258, 2_060, 16_946  # RGB images of the training identities


def check_preset(preset: str, presets: Iterable[str]) -> None:
    """Refuses a preset that a config does not have.

    Raises:
        UserError: the preset is unknown. The message names the known ones.
    """
    if preset not in (presets := tuple(presets)):
        raise UserError(f'preset "{preset}" is unknown; choose one of {", ".join(presets)}.')
