import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgbir_jax.models.identity_head import IdentityHead
from rgbir_jax.models.resnet import ResNet50
from rgbir_jax.models.two_stream import Stream


def count(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_full_width_has_the_parameters_counted_by_hand():
    """Two ResNet-50 trunks; a 2048-512 layer with its BatchNorm; a 512-395 classifier."""
    x = jax.ShapeDtypeStruct((2, 256, 128, 3), jnp.float32)
    pooled, variables = jax.eval_shape(
        lambda key, x: Stream(ResNet50()).init_with_output(key, x, train=False), jax.random.key(0), x
    )
    assert (pooled.shape, pooled.dtype) == ((2, 2048), jnp.float32)
    (embedding, logits), head = jax.eval_shape(
        lambda key, x: IdentityHead(395).init_with_output(key, x, train=False), jax.random.key(0), pooled
    )
    assert (embedding.shape, logits.shape) == ((2, 512), (2, 395))
    assert count(variables) == 23_508_032
    assert count(head) == (2048 * 512 + 512) + 2 * 512 + (512 * 395 + 395)
    assert 2 * count(variables) + count(head) == 48_268_811


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_stream_is_the_resnet_averaged_over_the_map(dtype):
    narrow = {"width": 4, "blocks": (1, 1, 1, 1), "dtype": dtype}
    x = jax.random.normal(jax.random.key(1), (2, 64, 32, 3))
    stream = Stream(ResNet50(**narrow))
    variables = jax.jit(stream.init, static_argnames="train")(jax.random.key(0), x, train=False)
    trunk = {collection: tree["trunk"] for collection, tree in variables.items()}
    maps = np.asarray(ResNet50(**narrow).apply(trunk, x, train=False), np.float64)
    assert maps.shape == (2, 4, 2, 128)
    pooled = stream.apply(variables, x, train=False)
    assert pooled.dtype == jnp.float32
    np.testing.assert_allclose(pooled, maps.mean((1, 2)), rtol=1e-5, atol=1e-6)
