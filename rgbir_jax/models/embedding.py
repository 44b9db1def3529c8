"""The networks of the embedding-space system (Table 2): encoders S and M, decoder, classifier."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import kaiming


class MLP(nn.Module):
    """Dense layers with a ReLU after each; after the last one only if `rectify`.

    Attributes:
        widths: outputs of each layer.
        rectify: whether the output is rectified, too.
        dtype: of the matrix products; the output is float32.
    """

    widths: tuple[int, ...]
    rectify: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n width"]) -> Float[Array, "n out"]:
        """All layers in order."""
        *hidden, last = self.widths
        for width in hidden:
            x = nn.relu(nn.Dense(width, kernel_init=kaiming, dtype=self.dtype)(x))
        if self.rectify:
            return nn.relu(nn.Dense(last, kernel_init=kaiming, dtype=self.dtype)(x)).astype(jnp.float32)
        return nn.Dense(last, dtype=self.dtype)(x).astype(jnp.float32)


class EmbeddingEncoder(nn.Module):
    """E_rgb or E_ir: encoder M and encoder S, alike and apart.

    Attributes:
        hidden: widths of the hidden layers; (1024, 2048, 512) in the paper.
        code: dimensions of m and of s; 64 in the paper.
        dtype: of the matrix products.
    """

    hidden: tuple[int, ...] = (1024, 2048, 512)
    code: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n dim"]) -> tuple[Float[Array, "n code"], Float[Array, "n code"]]:
        """The identity-independent component m and the identity-specific component s, neither negative."""
        m, s = (MLP((*self.hidden, self.code), True, self.dtype, name=component)(x) for component in ("m", "s"))
        return m, s


class EmbeddingDecoder(nn.Module):
    """D_rgb or D_ir: the sum of what is decoded from m and what is decoded from s.

    Table 2 has a ReLU after the last layer, too, so that no element could be negative; M_bdtr's embeddings leave a
    BatchNorm and are negative half the time. The last layer is linear unless `rectify` asks for the table's letter.

    Attributes:
        dim: of the embeddings; 512 in the paper.
        hidden: widths of the hidden layers; (512, 2048) in the paper.
        rectify: whether the two outputs are rectified before they are added.
        dtype: of the matrix products.
    """

    dim: int = 512
    hidden: tuple[int, ...] = (512, 2048)
    rectify: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, m: Float[Array, "n code"], s: Float[Array, "n code"]) -> Float[Array, "n dim"]:
        """D(m, s), float32."""
        widths = (*self.hidden, self.dim)
        return MLP(widths, self.rectify, self.dtype, name="m")(m) + MLP(widths, self.rectify, self.dtype, name="s")(s)


class EmbeddingClassifier(nn.Module):
    """The pre-trained classifier of L_dis, on embeddings of both modalities.

    Attributes:
        classes: N, the training identities.
        hidden: width of the hidden layer; 512 in the paper.
        dtype: of the matrix products.
    """

    classes: int
    hidden: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n dim"]) -> tuple[Float[Array, "n hidden"], Float[Array, "n classes"]]:
        """(the hidden layer, logits of p), float32."""
        hidden = MLP((self.hidden,), True, self.dtype, name="hidden_layer")(x)
        return hidden, MLP((self.classes,), False, self.dtype, name="classifier")(hidden)
