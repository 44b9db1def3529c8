"""What the loop, the checkpoints and the evaluation know of anything that is trained."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rgbir_jax.models.layers import unit
from rgbir_jax.training.optimizers import Group, Schedule
from rgbir_jax.training.state import Network


@dataclass(frozen=True)
class Stage:
    """A stage is a value with four pure functions, and what is needed to describe it.

    Attributes:
        init: (key, previous) -> State; `previous` has the final States of earlier stages of the recipe, by name.
        train_step: (State, batch, key) -> (State, metrics); runs on every device, inside the axis `parallel.AXIS`, on
            that device's identities. `key` is the run's; the step folds its number in. Metrics are scalars by symbol.
        features: (State, images [n, h, w, 3] normalised float32, modality int32 [n]) -> retrieval features [n, dim]
            float32, to be added up over an image and its mirror image and then normalised. A stage that `reads` another
            gets that one's features [n, dim] for images.
        pictures: (State, images [n, h, w, 3] normalised, n even: RGB first, then as many IR) -> grids of normalised
            images [rows, columns, h, w, 3] by name; empty where the stage draws nothing.
        networks: the trained networks by name.
        groups: the optimiser groups by name.
        schedules: what is logged by the step alone: learning rates and weights.
        needs: names of the earlier stages that `init` takes something from.
        reads: name of the earlier stage whose features this one learns from, in `batch["embedding"]` float32
            [identity, modality, shot, dim], where other stages have images; empty for none.
        controls: other features by name, called as `features`, that are scored beside it.
        render: (State, structure images [n, h, w, 3], appearance images [n, h, w, 3]) -> generated images [n, h, w, 3],
            all normalised float32: G(a, s) with s of the former and a of the latter. None where nothing is generated.
        normalise: features [n, dim] -> unit vectors [n, dim], which Euclidean distance compares.
    """

    init: Callable
    train_step: Callable
    features: Callable
    pictures: Callable
    networks: dict[str, Network]
    groups: dict[str, Group]
    schedules: dict[str, Schedule]
    needs: tuple[str, ...] = ()
    reads: str = ""
    controls: dict[str, Callable] = field(default_factory=dict)
    render: Callable | None = None
    normalise: Callable = unit
