"""Checks that the configs share."""

from collections.abc import Iterable

from rgbir_jax.errors import UserError


def check_preset(preset: str, presets: Iterable[str]) -> None:
    """Refuses a preset that a config does not have.

    Raises:
        UserError: the preset is unknown. The message names the known ones.
    """
    if preset not in (presets := tuple(presets)):
        raise UserError(f'preset "{preset}" is unknown; choose one of {", ".join(presets)}.')
