"""The operations that a description counts."""

import json

from rgbir_jax.commands.describe import describe
from tests.tiny import tiny_cmgan_config


def test_operations_of_an_iteration_are_counted():
    """D's layers alone take three products each: of the forward pass, and of the gradients of inputs and kernels."""
    config = tiny_cmgan_config()
    described = json.loads(describe(config, as_json=True, flops=True))["stages"]["cmgan"]
    identities, modalities, shots = described["batch"]["image"][:3]
    wide, narrow = config.cmgan.networks.D.hidden
    of_D = 2 * 3 * identities * modalities * shots * wide * narrow
    assert of_D < described["flops_per_step"] < 1e12
    assert "flops_per_step" not in json.loads(describe(config, as_json=True))["stages"]["cmgan"]
