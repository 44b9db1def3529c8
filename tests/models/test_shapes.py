"""Full-width networks on 256x128 images and 395 identities: shapes and parameter counts; nothing is computed."""

import math

import jax
import jax.numpy as jnp
import pytest

from configs import sysu_image
from rgbir_jax.stages.image import ImageSystem
from rgbir_jax.training.state import Network

CLASSES = 395


def system(preset: str) -> dict[str, Network]:
    config = sysu_image.get_config(preset)
    return ImageSystem.build(config, "image", CLASSES).networks


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def output_shapes(network: Network):
    variables, outputs = network.shapes()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((variables, outputs)))
    return variables["params"], [leaf.shape for leaf in jax.tree.leaves(outputs)]


@pytest.mark.parametrize("preset", ["paper", "dgnet"])
def test_encoders_generator_and_head(preset):
    networks = system(preset)
    params, outputs = output_shapes(networks["E_s"])
    assert (count(params), outputs) == (380_544, [(1, 64, 32, 128)])
    params, outputs = output_shapes(networks["E_a"])
    assert set(params) == {"trunk"}
    assert (count(params), outputs) == (23_508_032, [(1, 4, 2048), (1, 2048)])
    params, outputs = output_shapes(networks["head"])
    assert (count(params), outputs) == (1_252_747, [(1, 512), (1, 395)])
    params, outputs = output_shapes(networks["G"])
    mlps = [name for name in params if name.startswith(("scale_", "bias_"))]
    assert len(mlps) == 8
    assert count([params[name] for name in mlps]) == 11_544_576
    assert count([params[name] for name in params if name not in mlps]) == 1_455_555
    assert outputs == [(1, 256, 128, 3)]


def test_the_trunk_ends_at_a_sixteenth_of_the_size():
    trunk = system("paper")["E_a"].module
    x = jax.ShapeDtypeStruct((2, 256, 128, 3), jnp.float32)
    _, captured = jax.eval_shape(
        lambda key, x: trunk.init_with_output(key, x, train=False, capture_intermediates=True), jax.random.key(0), x
    )
    assert captured["intermediates"]["trunk"]["__call__"][0].shape == (2, 16, 8, 2048)


@pytest.mark.parametrize(
    ("preset", "maps"),
    [("paper", [(1, 64, 32, 1)]), ("dgnet", [(1, 64, 32, 1), (1, 32, 16, 1), (1, 16, 8, 1)])],
)
def test_discriminator(preset, maps):
    params, outputs = output_shapes(system(preset)["D"])
    assert outputs == maps
    assert [count(params[scale]) for scale in sorted(params)] == [341_857] * len(maps)


def test_networks_of_each_preset():
    paper, dgnet, released = (set(system(preset)) for preset in ("paper", "dgnet", "released"))
    assert dgnet - paper == {"head_fine"}
    assert released - dgnet == {"E_id"}
    assert paper < dgnet < released


def test_the_released_heads_see_the_structure_code_through_a_resnet18():
    networks = system("released")
    assert [spec.shape for spec in networks["E_id"].inputs] == [(1, 64, 32, 128)]
    params, outputs = output_shapes(networks["E_id"])
    # torchvision's ResNet-18 has 11,689,512 parameters, its classifier 513,000 of them.
    assert count(params["trunk"]) == 11_689_512 - 513_000
    assert count(params) - count(params["trunk"]) == (128 * 9 + 1) * 64 + (64 * 9 + 1) * 3
    assert outputs == [(1, 512)]
    for head in ("head", "head_fine"):
        params, outputs = output_shapes(networks[head])
        assert count(params) == (512 + 1) * 512 + 2 * 512 + (512 + 1) * 395
        assert outputs == [(1, 512), (1, 395)]
