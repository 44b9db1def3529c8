"""Encoder, generator and discriminator with another rectifier than LeakyReLU with slope 0.2."""

import jax
import jax.numpy as jnp
import pytest

from rgbir_jax.models.discriminator import Discriminator
from rgbir_jax.models.generator import Generator
from rgbir_jax.models.structure_encoder import ResidualEncoder

SHAPES = {
    ResidualEncoder: [(1, 32, 16, 3)],
    Generator: [(1, 4, 8), (1, 8, 4, 128)],
    Discriminator: [(1, 32, 16, 3)],
}


@pytest.mark.parametrize(("module", "rectifiers"), [(ResidualEncoder, 11), (Generator, 24), (Discriminator, 9)])
def test_every_rectifier_is_the_given_one(module, rectifiers):
    network = module(activation=jnp.tanh)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in SHAPES[module]]
    variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    program = str(jax.make_jaxpr(network.apply)(variables, *inputs))
    assert program.count("= tanh ") == rectifiers
    assert "leaky_relu" not in program
