"""A ResNet-50 saved by PyTorch gives the same features in JAX."""

import jax
import numpy as np
import pytest

from rgbir_jax.models.pretrained import load_resnet50
from rgbir_jax.models.resnet import ResNet50
from tests.models.drawn import KEY, drawn
from tests.parity.layouts import assert_alike, to_torch, torch

pytestmark = pytest.mark.slow


def random_twin():
    """Makes a ResNet-50 with random weights, biases and running statistics that keep the scale of activations."""
    from benchmarks.torch_twin.networks import ResNet50 as Twin

    generator = torch.Generator().manual_seed(0)
    twin = Twin(64, (3, 4, 6, 3)).eval()
    for name, tensor in twin.state_dict().items():
        if tensor.ndim == 4:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("weight"):
            tensor.uniform_(0.3, 1.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.2, generator=generator)
    return twin


@pytest.mark.parametrize("file", ["resnet50.pth", "resnet50.safetensors"])
def test_features(tmp_path, file):
    twin = random_twin()
    state_dict = twin.state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    if file.endswith(".pth"):
        torch.save(state_dict, tmp_path / file)
    else:
        pytest.importorskip("safetensors.torch").save_file(state_dict, tmp_path / file)

    x = drawn(2, 256, 128, 3)
    module = ResNet50()
    variables = load_resnet50(tmp_path / file, jax.eval_shape(lambda: module.init(KEY, x, train=False)))
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda variables: module.apply(variables, x, train=False))(variables)
    assert ours.shape == (2, 16, 8, 2048)
    assert 0.1 < np.std(ours) < 100  # otherwise the comparison would show nothing
    with torch.no_grad():
        assert_alike(ours, twin(to_torch(x)))
