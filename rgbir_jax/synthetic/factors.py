"""factors.csv: what every picture of a dataset shows."""

import csv
import dataclasses
import io

from rgbir_jax.synthetic.shot import Shot, identity_of, pose_of


def factors_table(shots: list[Shot], seed: int) -> bytes:
    """Returns the content of factors.csv.

    It has one row per picture: its path, and every factor of identity, pose and camera.

    Args:
        shots: the pictures, at least one.
        seed: the dataset's seed.
    """
    identities = {person: _columns("identity", identity_of(person, seed)) for person in {shot.person for shot in shots}}
    rows = []
    for shot in shots:
        pose, grain = pose_of(shot, seed)
        source = {"path": shot.path, "person": shot.person, "number": shot.number, "seed": grain}
        rows.append(source | identities[shot.person] | _columns("pose", pose) | _columns("camera", shot.camera))
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _columns(prefix: str, value) -> dict:
    """Flattens nested dataclasses into columns; a colour gets one column per channel."""
    row = {}
    for field in dataclasses.fields(value):
        name, inner = f"{prefix}.{field.name}", getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            row |= _columns(name, inner)
        elif isinstance(inner, tuple):
            row |= {f"{name}.{channel}": f"{v:.4f}" for channel, v in zip("rgb", inner, strict=True)}
        elif isinstance(inner, bool):
            row[name] = int(inner)
        else:
            row[name] = f"{inner:.4f}" if isinstance(inner, float) else inner
    return row
