"""Stage `two_stream`: M_bdtr, a dual-path network with the top-ranking loss, whose embeddings section 4.1 takes apart.

Without the ranking loss (its weight 0) it is the plain two-stream baseline.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from ml_collections import ConfigDict

from rgbir_jax.losses import identity, ranking
from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.two_stream import Stream
from rgbir_jax.stages.pairing import check_identities
from rgbir_jax.stages.views import views
from rgbir_jax.stages.weights import total, weight_schedules
from rgbir_jax.training import parallel
from rgbir_jax.training.descent import descend
from rgbir_jax.training.optimizers import Optimizers, Schedule
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import Network, State, initialise, variables

STREAMS = ("rgb", "ir")  # the streams' names at their modality's number


def build(config: ConfigDict, name: str, classes: int) -> Stage:
    """The stage that `config[name]` describes, for `classes` training identities."""
    system = TwoStream.build(config, config[name], classes)
    return Stage(
        init=system.init,
        train_step=system.train_step,
        features=system.features,
        pictures=lambda state, images: {},
        networks=system.networks,
        groups=system.optimizers.groups,
        schedules=system.optimizers.schedules | {f"weight/{term}": weight for term, weight in system.weights.items()},
    )


@dataclass(frozen=True)
class TwoStream:
    """A stream for each modality and a shared head with its losses; `config` has the ranking loss' numbers."""

    config: ConfigDict
    augment: ConfigDict
    stream: Stream
    head: IdentityHead
    networks: dict[str, Network]
    optimizers: Optimizers
    weights: dict[str, Schedule]
    parts: int

    @classmethod
    def build(cls, config: ConfigDict, own: ConfigDict, classes: int) -> "TwoStream":
        """Modules, optimisers and weights from the config.

        Raises:
            ValueError: for a recipe of one modality, or parts of a batch that have a single identity.
        """
        check_identities(config.batch)
        if tuple(config.modalities) != (0, 1):
            raise ValueError(
                f"a two-stream network needs RGB and IR; set config.modalities = (0, 1), not {config.modalities}."
            )
        compute = {"dtype": jnp.dtype(config.dtype), "axis_name": parallel.AXIS}
        stream = Stream(**own.networks.stream, **compute)
        head = IdentityHead(classes, **own.networks.head, **compute)

        x = jax.ShapeDtypeStruct((1, *config.image_size, 3), jnp.float32)
        networks = {modality: Network(stream, (x,), {"train": False}) for modality in STREAMS}
        _, pooled = networks["rgb"].shapes()
        networks["head"] = Network(head, (pooled,), {"train": False})
        return cls(
            config=own,
            augment=config.augment,
            stream=stream,
            head=head,
            networks=networks,
            optimizers=Optimizers(own.optimizers, own.decay, tuple(networks)),
            weights=weight_schedules(own.weights, own.get("ramp")),
            parts=config.batch.parts,
        )

    def init(self, key, previous):
        """Fresh parameters; no earlier stage is needed."""
        del previous
        params, batch_stats = initialise(key, self.networks)
        return State(jnp.int32(0), params, batch_stats, self.optimizers.init(params))

    def forward(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "identity 2 shot height width 3"], key: Array
    ) -> tuple[Float[Array, "identity 2 shot dim"], Float[Array, "identity 2 shot classes"], PyTree]:
        """As in training: each modality through its stream, both through the head, with this batch's statistics.

        Args:
            params: of the streams and the head.
            batch_stats: likewise.
            x: images.
            key: for dropout.

        Returns:
            Embeddings, logits, and the new running statistics.
        """
        pooled, statistics = [], dict(batch_stats)
        for modality, stream in enumerate(STREAMS):
            images = x[:, modality]
            seen, updated = self.stream.apply(
                variables(params, batch_stats, stream),
                images.reshape(-1, *images.shape[2:]),
                train=True,
                mutable=["batch_stats"],
            )
            pooled.append(seen.reshape(*images.shape[:2], -1))
            statistics[stream] = updated["batch_stats"]
        both = jnp.stack(pooled, axis=1)
        said, updated = self.head.apply(
            variables(params, batch_stats, "head"),
            both.reshape(-1, both.shape[-1]),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        statistics["head"] = updated["batch_stats"]
        embedding, logits = (y.reshape(*both.shape[:3], -1) for y in said)
        return embedding, logits, statistics

    def terms(
        self,
        embedding: Float[Array, "identity 2 shot dim"],
        logits: Float[Array, "identity 2 shot classes"],
        label: Int[Array, "identity 2 shot"],
    ) -> dict[str, Array]:
        """L_id of this device's images, and L_rank of the global batch: the hardest negative may be anywhere in it."""
        terms = {}
        if "L_id" in self.weights:
            terms["L_id"] = identity.cross_entropy(logits.reshape(-1, logits.shape[-1]), label.reshape(-1))
        if "L_rank" in self.weights:
            everyone = parallel.gather(embedding)
            terms["L_rank"] = ranking.bdtr(everyone[:, 0], everyone[:, 1], **self.config.ranking)
        return terms

    def train_step(self, state, batch, key):
        """Minimises the identity loss and the top-ranking loss together."""
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        view = views(augment_key, batch["image"], batch["label"], self.augment)

        def loss(params, batch_stats, view, key):
            embedding, logits, batch_stats = self.forward(params, batch_stats, view.erased, key)
            terms = self.terms(embedding, logits, view.label)
            L_total = total(terms, self.weights, state.step)
            accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == view.label)
            return L_total, (terms | {"L_total": L_total, "accuracy": accuracy}, batch_stats)

        return descend(loss, state, self.optimizers, view, dropout_key, self.parts)

    def features(self, state, images, modality):
        """The embedding after BatchNorm. A stream whose modality none of the images has does not run."""

        def seen_by(number: int, stream: str) -> Array:
            def run():
                return self.stream.apply(state.variables(stream), images, train=False)

            blank = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), jax.eval_shape(run))
            return jax.lax.cond(jnp.any(modality == number), run, lambda: blank)

        rgb, ir = (seen_by(number, stream) for number, stream in enumerate(STREAMS))
        pooled = jnp.where(modality[:, None] == 0, rgb, ir)
        embedding, _ = self.head.apply(state.variables("head"), pooled, train=False)
        return embedding
