"""The recogniser: the appearance encoder E_a and the identity heads, shared by the teacher and the image system.

The heads see E_a's pooled features or, in preset `released`, what E_id makes of the structure code.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose, construct, find
from rgbir_jax.models.appearance_encoder import POOLS, SLICINGS, AppearanceEncoder
from rgbir_jax.models.identity_encoder import IdentityEncoder
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.layers import unit
from rgbir_jax.models.resnet import ResNet18, ResNet50
from rgbir_jax.models.structure_encoder import StructureEncoder, grey
from rgbir_jax.training import parallel
from rgbir_jax.training.state import Network, call, infer, variables

BACKBONES: dict[str, type[nn.Module]] = {"resnet50": ResNet50, "resnet18": ResNet18}
RECOGNISES = ("appearance", "structure")  # the code that the heads recognise people by
LATER_HEADS = 0.5  # weight of every head's feature after the first one's (preset `dgnet`)


class Recognised(NamedTuple):
    """What E_a and its heads compute from n images.

    Attributes:
        code: appearance codes a.
        pooled: what the heads see: pooled features of E_a, or of E_id.
        features: bottlenecks after BatchNorm, by head.
        logits: logits of the identity distribution p, by head.
    """

    code: Float[Array, "n slices channels"]
    pooled: Float[Array, "n channels"]
    features: dict[str, Float[Array, "n bottleneck"]]
    logits: dict[str, Float[Array, "n classes"]]


class StructurePath(NamedTuple):
    """The networks from an image to what the heads see, if these recognise people by the structure code."""

    E_s: StructureEncoder
    E_id: IdentityEncoder

    def __call__(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w c"], *, train: bool
    ) -> tuple[Float[Array, "n channels"], PyTree]:
        """Applies both. Returns what the heads see, and E_id's running statistics as a collection."""
        s = call(self.E_s, params["E_s"], grey(x))
        return self.E_id.apply(variables(params, batch_stats, "E_id"), s, train=train, mutable=["batch_stats"])

    def feature_map(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w c"]
    ) -> Float[Array, "n H W channels"]:
        """Returns the last feature map of E_id, as at test time."""
        s = call(self.E_s, params["E_s"], grey(x))
        return infer(self.E_id, variables(params, batch_stats, "E_id"), s, "feature_map")


@dataclass(frozen=True)
class Recogniser:
    """E_a and the identity heads, applied to variables that are passed in.

    Attributes:
        encoder: E_a.
        heads: the heads by network name.
        structure: what the heads see in place of E_a's pooled features; None for these.
    """

    encoder: AppearanceEncoder
    heads: dict[str, IdentityHead]
    structure: StructurePath | None = None

    @classmethod
    def build(
        cls, config: ConfigDict, classes: int, dtype: str, key: str, E_s: StructureEncoder | None = None
    ) -> "Recogniser":
        """Makes the modules.

        Args:
            config: `E_a` (`kind`, a name in `BACKBONES` or "package.module:Class"; `slices`, `pool`; all else are
                fields of the backbone) and `heads` (names of heads, each with a section of fields). With E_s also
                `recognises`: "structure" needs `E_id` (`kind` as above, `hidden`, fields of the backbone).
            classes: the number of training identities.
            dtype: the dtype of the convolutions.
            key: the config key of the networks, for messages.
            E_s: the structure encoder of the stage; None if it has none.

        Raises:
            UserError: for an unknown backbone, slicing, pooling or code to recognise by, a head without a section, or
                one without a bottleneck among others.
        """
        compute = {"dtype": jnp.dtype(dtype), "axis_name": parallel.AXIS}
        if "head" not in config.heads:
            raise UserError(f'{key}.heads is {tuple(config.heads)}, and the losses need a head "head"; add it.')
        if absent := [name for name in config.heads if name not in config]:
            raise UserError(f"{key}.heads names {absent[0]}, and there is no section {key}.{absent[0]}; add it.")
        if len(config.heads) > 1 and (bare := [name for name in config.heads if not config[name].bottleneck]):
            raise UserError(f"{key}.{bare[0]}.bottleneck is 0, which only a head without others may have; set it.")
        backbone = find(config.E_a.kind, BACKBONES, nn.Module, f"{key}.E_a.kind")
        slices = choose(config.E_a.slices, SLICINGS, f"{key}.E_a.slices")
        pool = choose(config.E_a.pool, POOLS, f"{key}.E_a.pool")
        fields = {name: value for name, value in config.E_a.items() if name not in ("kind", "slices", "pool")}
        structure = None
        if E_s and choose(config.get("recognises", "appearance"), RECOGNISES, f"{key}.recognises") == "structure":
            hidden, trunk = config.E_id.hidden, find(config.E_id.kind, BACKBONES, nn.Module, f"{key}.E_id.kind")
            own = {name: value for name, value in config.E_id.items() if name not in ("hidden", "kind")}
            structure = StructurePath(
                E_s, IdentityEncoder(construct(trunk, own, f"{key}.E_id", **compute), hidden, jnp.dtype(dtype))
            )
        return cls(
            AppearanceEncoder(construct(backbone, fields, f"{key}.E_a", **compute), slices, pool),
            {
                name: construct(IdentityHead, config[name], f"{key}.{name}", classes=classes, **compute)
                for name in config.heads
            },
            structure,
        )

    def networks(self, image: jax.ShapeDtypeStruct) -> dict[str, Network]:
        """Returns E_a, E_id if there is one, and the heads by name, with the shapes that they are called on."""
        networks = {"E_a": Network(self.encoder, (image,), {"train": False})}
        _, (_, pooled) = networks["E_a"].shapes()
        if self.structure:
            _, s = Network(self.structure.E_s, (jax.eval_shape(grey, image),)).shapes()
            networks["E_id"] = Network(self.structure.E_id, (s,), {"train": False})
            _, pooled = networks["E_id"].shapes()
        return networks | {name: Network(head, (pooled,), {"train": False}) for name, head in self.heads.items()}

    @property
    def unused_after_training(self) -> tuple[str, ...]:
        """The classifiers of the heads, unless retrieval compares their logits."""
        return () if self.structure else tuple(f"{head}/classifier" for head in self.heads)

    def feature_map(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w c"]
    ) -> Float[Array, "n H W channels"]:
        """Returns the last feature map before the pooling that the heads see: of E_a, or of E_id if there is one."""
        if self.structure:
            return self.structure.feature_map(params, batch_stats, x)
        return infer(self.encoder, variables(params, batch_stats, "E_a"), x, "feature_map")

    def retrieval_feature(
        self, params: PyTree, batch_stats: PyTree, feature_map: Float[Array, "n H W channels"]
    ) -> Float[Array, "n dim"]:
        """Computes phi(x), which retrieval compares, from the feature map of x: of all heads, the bottlenecks in a row.

        Heads that recognise people by the structure code give their logits instead, as in the released code.
        """
        encoder = self.structure.E_id if self.structure else self.encoder
        outputs = self.apply_heads(params, batch_stats, call(encoder, {}, feature_map, method="pooled"))
        place = 1 if self.structure else 0
        return jnp.concatenate([output[place] for output in outputs.values()], axis=1)

    def normalise(self, features: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        """Scales retrieval features to unit length: each head's first, then the weighted whole."""
        sizes = [head.classes if self.structure else head.bottleneck for head in self.heads.values()]
        first, *others = jnp.split(features, np.cumsum(sizes)[:-1], axis=1)
        return unit(jnp.concatenate([unit(first), *(LATER_HEADS * unit(other) for other in others)], axis=1))

    def __call__(self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w c"]) -> Recognised:
        """Applies E_a and the heads as at test time: running statistics, no dropout."""
        code, pooled = infer(self.encoder, variables(params, batch_stats, "E_a"), x)
        if self.structure:
            pooled, _ = self.structure(params, batch_stats, x, train=False)
        return _recognised(code, pooled, self.apply_heads(params, batch_stats, pooled))

    def apply_heads(
        self, params: PyTree, batch_stats: PyTree, pooled: Float[Array, "n channels"]
    ) -> dict[str, tuple[Float[Array, "n bottleneck"], Float[Array, "n classes"]]]:
        """Applies the heads as at test time. Returns (features, logits) by head."""
        return {name: infer(head, variables(params, batch_stats, name), pooled) for name, head in self.heads.items()}

    def train(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w c"],
        key: Array | None,
        *,
        erased: Float[Array, "n h w c"] | None = None,
    ) -> tuple[Recognised, PyTree]:
        """Applies E_a and the heads as in training: statistics of this batch over all devices, dropout.

        Args:
            params: the parameters of E_a and the heads, and of the networks of `structure` if there is one.
            batch_stats: their running statistics.
            x: images; their codes are returned.
            key: the key of dropout; None for no dropout, as for a network that only judges.
            erased: the same images as the identity heads see them, if not `x` itself.

        Returns:
            What was recognised, and the new running statistics (to be dropped after generated images).
        """
        inputs = x if erased is None or self.structure else jnp.concatenate([x, erased])
        (code, pooled), updated = self.encoder.apply(
            variables(params, batch_stats, "E_a"), inputs, train=True, mutable=["batch_stats"]
        )
        code, pooled = code[: len(x)], pooled[-len(x) :]
        outputs, statistics = {}, batch_stats | {"E_a": updated["batch_stats"]}
        if self.structure:
            seen = x if erased is None else erased
            pooled, updated = self.structure(params, batch_stats, seen, train=True)
            statistics |= {"E_id": updated["batch_stats"]}
        for i, (name, head) in enumerate(self.heads.items()):
            outputs[name], updated = (head.clone(dropout=0.0) if key is None else head).apply(
                variables(params, batch_stats, name),
                pooled,
                train=True,
                mutable=["batch_stats"],
                rngs=None if key is None else {"dropout": jax.random.split(key, len(self.heads))[i]},
            )
            if "batch_stats" in updated:  # a head without a bottleneck has no BatchNorm
                statistics[name] = updated["batch_stats"]
        return _recognised(code, pooled, outputs), statistics


def _recognised(code, pooled, outputs: dict) -> Recognised:
    return Recognised(
        code,
        pooled,
        {name: features for name, (features, _) in outputs.items()},
        {name: logits for name, (_, logits) in outputs.items()},
    )
