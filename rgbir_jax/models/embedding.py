"""The networks of the embedding-space system (Table 2): encoders S and M, decoder, classifier."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from rgbir_jax.models.layers import kaiming


class MLP(nn.Module):
    """Dense layers, each followed by a ReLU; the last one only if `rectify` is set.

    Attributes:
        widths: output width of each layer.
        rectify: whether the output also goes through a ReLU.
        dtype: dtype of the matrix products; the output is float32.
    """

    widths: tuple[int, ...]
    rectify: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n width"]) -> Float[Array, "n out"]:
        """Applies all layers in order."""
        *hidden, last = self.widths
        for width in hidden:
            x = nn.relu(nn.Dense(width, kernel_init=kaiming, dtype=self.dtype)(x))
        if self.rectify:
            return nn.relu(nn.Dense(last, kernel_init=kaiming, dtype=self.dtype)(x)).astype(jnp.float32)
        return nn.Dense(last, dtype=self.dtype)(x).astype(jnp.float32)


class EmbeddingEncoder(nn.Module):
    """E_rgb or E_ir: encoders M and S, which have the same layers and share no weights.

    Attributes:
        hidden: widths of the hidden layers; (1024, 2048, 512) in the paper.
        code: number of dimensions of m and of s; 64 in the paper.
        dtype: dtype of the matrix products.
    """

    hidden: tuple[int, ...] = (1024, 2048, 512)
    code: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n dim"]) -> tuple[Float[Array, "n code"], Float[Array, "n code"]]:
        """Returns the identity-independent component m and the identity-specific component s, both non-negative."""
        m, s = (MLP((*self.hidden, self.code), True, self.dtype, name=component)(x) for component in ("m", "s"))
        return m, s


class EmbeddingDecoder(nn.Module):
    """D_rgb or D_ir: decodes m and s separately and adds the results.

    Table 2 also has a ReLU after the last layer, which rules out negative outputs. M_bdtr's embeddings come from a
    BatchNorm, so about half of their elements are negative. The last layer is therefore linear unless `rectify` is set.

    Attributes:
        dim: number of dimensions of the embeddings; 512 in the paper.
        hidden: widths of the hidden layers; (512, 2048) in the paper.
        rectify: whether a ReLU is applied to both outputs before they are added, as Table 2 has it.
        dtype: dtype of the matrix products.
    """

    dim: int = 512
    hidden: tuple[int, ...] = (512, 2048)
    rectify: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, m: Float[Array, "n code"], s: Float[Array, "n code"]) -> Float[Array, "n dim"]:
        """Returns D(m, s), float32."""
        widths = (*self.hidden, self.dim)
        return MLP(widths, self.rectify, self.dtype, name="m")(m) + MLP(widths, self.rectify, self.dtype, name="s")(s)


class EmbeddingClassifier(nn.Module):
    """The pre-trained classifier of L_dis, for embeddings of both modalities.

    Attributes:
        classes: N, the number of training identities.
        hidden: width of the hidden layer; 512 in the paper.
        dtype: dtype of the matrix products.
    """

    classes: int
    hidden: int = 512
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n dim"]) -> tuple[Float[Array, "n hidden"], Float[Array, "n classes"]]:
        """Returns (hidden layer, logits of p), float32."""
        hidden = MLP((self.hidden,), True, self.dtype, name="hidden_layer")(x)
        return hidden, MLP((self.classes,), False, self.dtype, name="classifier")(hidden)
