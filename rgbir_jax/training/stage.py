"""What the loop, the checkpoints and the evaluation know of anything that is trained."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8
from jaxtyping import Key as KeyOf
from ml_collections import ConfigDict

from rgbir_jax.data.source import batch_spec
from rgbir_jax.models.layers import unit
from rgbir_jax.training.optimizers import Group, Optimizers, Schedule
from rgbir_jax.training.state import Network, State, initialise

DeviceBatch = dict[str, Array]  # as `data.source.Batch`, with the identities of one device
Key = KeyOf[Array, ""]
Metrics = dict[str, Float[Array, ""]]
Images = Float[Array, "n height width 3"]  # normalised
FeatureMap = Float[Array, "n h w channels"]


@dataclass(frozen=True, eq=False)
class Stage:
    """Something to train: a frozen value with pure functions.

    A subclass adds modules as fields, makes itself from a config in `build`, and overrides `train_step` and either
    `features` or its two halves `feature_map` and `features_of_map`; `init`, `pictures` and the rest if it needs more
    than is here.

    Attributes:
        recipe: the whole config.
        config: the stage's own section of it.
        classes: the number of training identities.
        networks: the trained networks by name.
        optimizers: the optimisers of all of them.
        weights: the weight of each loss term by its symbol, a function of the iteration.
        read_late: keys of the section that only iterations read, with those of sections in it as "section.key".
            `stages.build` looks for them, so that a missing one is named before the first iteration of a run.
    """

    read_late: ClassVar[tuple[str, ...]] = ()

    recipe: ConfigDict
    config: ConfigDict
    classes: int
    networks: dict[str, Network]
    optimizers: Optimizers
    weights: dict[str, Schedule]

    @classmethod
    def build(cls, recipe: ConfigDict, name: str, classes: int) -> "Stage":
        """Makes the stage that the section `name` of a config describes.

        Args:
            recipe: the whole config.
            name: the name of the section.
            classes: the number of training identities.

        Raises:
            UserError: for a value that the stage cannot use.
        """
        raise NotImplementedError

    def init(self, key: Key, previous: dict[str, State]) -> State:
        """Makes the State to start from: fresh parameters.

        Args:
            key: a random key.
            previous: the final States of earlier stages of the recipe, by name.
        """
        del previous
        params, batch_stats = initialise(key, self.networks)
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params))

    def train_step(self, state: State, batch: DeviceBatch, key: Key) -> tuple[State, Metrics]:
        """Does one iteration. It runs on every device, inside the axis `parallel.AXIS`, on that device's identities.

        Args:
            state: the state before the iteration.
            batch: `image` uint8, or `embedding` float32 if the stage reads another one; `label` and `camera`.
            key: the run's key; the step folds the iteration's number in.

        Returns:
            The state after the iteration, and metrics by symbol. Both are equal on all devices.
        """
        raise NotImplementedError

    def features(self, state: State, inputs: Array, modality: Int[Array, "n"]) -> Float[Array, "n dim"]:
        """Computes retrieval features, before `normalise`.

        Args:
            state: a State of this stage.
            inputs: normalised images float32 [n, height, width, 3]. A stage that reads another one gets that one's
                normalised features [n, dim].
            modality: 0 RGB, 1 IR.
        """
        return self.features_of_map(state, self.feature_map(state, inputs, modality), modality)

    def feature_map(self, state: State, inputs: Images, modality: Int[Array, "n"]) -> FeatureMap:
        """Returns the map that features are pooled from, for a stage that has one: the last before the pooling.

        Its position (i, j) is taken to see the image around the pixel (i * height / h, j * width / w), as in networks
        whose strided convolutions have odd kernels and equal padding on both sides.
        """
        raise NotImplementedError

    def features_of_map(
        self, state: State, feature_map: FeatureMap, modality: Int[Array, "n"]
    ) -> Float[Array, "n dim"]:
        """Computes the retrieval features from what `feature_map` gives."""
        raise NotImplementedError

    @property
    def has_feature_map(self) -> bool:
        """Whether the stage's features are pooled from a feature map."""
        return type(self).feature_map is not Stage.feature_map

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales features to the unit vectors that Euclidean distance compares."""
        return unit(features)

    def pictures(self, state: State, images: Images) -> dict[str, UInt8[Array, "rows columns height width 3"]]:
        """Draws grids of images by name.

        Args:
            state: a State of this stage.
            images: normalised, an even number: RGB first, then as many IR.
        """
        del state, images
        return {}

    def codes(self, state: State, images: Images) -> tuple[Float[Array, "n *a"], Float[Array, "n *s"]]:
        """Returns the appearance and structure codes (a, s) of images, for a stage that has them."""
        raise NotImplementedError

    def render(self, state: State, structure: Images, appearance: Images) -> Images:
        """Generates images G(a, s) from the structure s of some images and the appearance a of others."""
        raise NotImplementedError

    def interpolate(
        self, state: State, structure: Images, start: Images, end: Images, steps: int
    ) -> Float[Array, "n steps height width 3"]:
        """Generates `steps` images per structure s, from the appearance of `start` to that of `end`, if `renders`."""
        raise NotImplementedError

    @property
    def renders(self) -> bool:
        """Whether the stage generates images."""
        return type(self).render is not Stage.render

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """Parameters that neither features nor images depend on, each as NETWORK or NETWORK/MODULE."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the earlier stages whose States `init` uses."""
        names = (self.config.get(key, "") for key in ("teacher", "classifier", "start_from"))
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def reads(self) -> str:
        """The name of the earlier stage whose features are this one's inputs; empty for a stage that sees images."""
        return self.config.get("reads", "")

    @property
    def controls(self) -> dict[str, "Stage"]:
        """Other features of the same State to score for comparison, each as a stage that computes them, by name."""
        return {}

    @property
    def frozen(self) -> dict[str, Network]:
        """The networks of `State.frozen` that are this stage's own, by name; an ImageNet file can start them."""
        return {}

    @property
    def groups(self) -> dict[str, Group]:
        """The optimiser groups by name."""
        return self.optimizers.groups

    @property
    def schedules(self) -> dict[str, Schedule]:
        """What is logged as a function of the iteration only: learning rates and weights."""
        return self.optimizers.schedules | {f"weight/{term}": weight for term, weight in self.weights.items()}

    def batch_spec(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Returns the shape and dtype of each array of a global batch."""
        dim = self.recipe[self.reads].networks.head.bottleneck if self.reads else None
        return batch_spec(self.recipe, dim)


def image_spec(recipe: ConfigDict) -> jax.ShapeDtypeStruct:
    """Returns the shape of one normalised image, as a network is called on it."""
    return jax.ShapeDtypeStruct((1, *recipe.image_size, 3), jnp.float32)
