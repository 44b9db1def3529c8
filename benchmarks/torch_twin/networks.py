"""The networks in PyTorch; images are [batch, channels, height, width], outputs float32."""
# ruff: noqa: D102 (the class's docstring describes `forward`)

from collections.abc import Callable
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def instance_norm(x: Tensor) -> Tensor:
    return F.instance_norm(x, eps=EPSILON)


class Conv(nn.Conv2d):
    """A convolution with bias, padded by reflection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1):
        pad = dilation * (kernel // 2)
        super().__init__(inputs, outputs, kernel, stride, pad, dilation, padding_mode="reflect" if pad else "zeros")


class ResidualBlock(nn.Module):
    """x + norm(conv(lrelu(norm(conv(x)))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList([Conv(channels, channels, 3) for _ in range(2)])

    def forward(self, x: Tensor, norms: tuple[Callable, Callable] = (instance_norm, instance_norm)) -> Tensor:
        return x + norms[1](self.convs[1](leaky_relu(norms[0](self.convs[0](x)))))


class StructureEncoder(nn.Module):
    """E_s: maps grey images to structure codes."""

    def __init__(self, width: int = 16, code: int = 128):
        super().__init__()
        self.stem = nn.ModuleList(
            [
                Conv(1, width, 3, stride=2),
                Conv(width, 2 * width, 3),
                Conv(2 * width, 2 * width, 3),
                Conv(2 * width, 4 * width, 3, stride=2),
            ]
        )
        self.blocks = nn.ModuleList([ResidualBlock(4 * width) for _ in range(4)])
        # ASPP: one branch is a 1x1 convolution; in the other three, a 1x1 comes before a dilated 3x3.
        self.undilated = Conv(4 * width, 2 * width, 1)
        self.reductions = nn.ModuleList([Conv(4 * width, 2 * width, 1) for _ in range(3)])
        self.dilated = nn.ModuleList([Conv(2 * width, 2 * width, 3, dilation=rate) for rate in (3, 6, 9)])
        self.fusion = Conv(4 * 2 * width, code, 1)

    def forward(self, grey: Tensor) -> Tensor:
        x = grey
        for conv in self.stem:
            x = leaky_relu(instance_norm(conv(x)))
        for block in self.blocks:
            x = block(x)
        branches = [instance_norm(self.undilated(x))]
        for reduction, dilated in zip(self.reductions, self.dilated, strict=True):
            reduced = leaky_relu(instance_norm(reduction(x)))
            branches.append(instance_norm(dilated(reduced)))
        return instance_norm(self.fusion(torch.cat(branches, dim=1))).float()


class _Batch:
    """Mixin for a BatchNorm: in training, the running statistics stay as they are while `updates` is False."""

    updates = True

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.updates:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return super().forward(x)


class BatchNorm1d(_Batch, nn.BatchNorm1d):
    """BatchNorm of features."""


class BatchNorm2d(_Batch, nn.BatchNorm2d):
    """BatchNorm of feature maps."""


class Bottleneck(nn.Module):
    """A ResNet's residual block; the 3x3 convolution has the stride."""

    def __init__(self, inputs: int, features: int, stride: int, first: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, features, 1, bias=False)
        self.bn1 = BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, stride, padding=1, bias=False)
        self.bn2 = BatchNorm2d(features)
        self.conv3 = nn.Conv2d(features, 4 * features, 1, bias=False)
        self.bn3 = BatchNorm2d(4 * features)
        if first:
            conv = nn.Conv2d(inputs, 4 * features, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, BatchNorm2d(4 * features))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 without pooling and classifier, last stage at stride 1; torchvision's parameter names."""

    def __init__(self, width: int, blocks: tuple[int, ...]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = BatchNorm2d(width)
        inputs = width
        for stage, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 1), strict=True)):
            features = width * 2**stage
            layer = nn.Sequential()
            for block in range(count):
                layer.append(Bottleneck(inputs, features, stride if block == 0 else 1, block == 0))
                inputs = 4 * features
            self.add_module(f"layer{stage + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class AppearanceEncoder(nn.Module):
    """E_a: maps images to (codes [batch, 4, channels], features [batch, channels] for the heads).

    Args:
        width: channels after the first convolution.
        blocks: residual blocks of each stage.
        kind: the trunk; only "resnet50" has a twin.
        slices: "part" gives each slice one body part; "channel" cuts the flattened parts by channel groups.
        pool: "max" gives the heads the maximum over the map; "avg" gives them its mean.
    """

    def __init__(
        self,
        width: int = 64,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        kind: str = "resnet50",
        slices: str = "part",
        pool: str = "max",
    ):
        super().__init__()
        if kind != "resnet50":
            raise ValueError(f'E_a.kind "{kind}" has no PyTorch twin; only "resnet50" has one.')
        self.trunk = ResNet50(width, blocks)
        self.slices = slices
        self.pool = {"max": F.adaptive_max_pool2d, "avg": F.adaptive_avg_pool2d}[pool]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x).float()
        parts = F.adaptive_max_pool2d(x, (4, 1)).flatten(2)  # [batch, channels, 4]
        code = parts.transpose(1, 2) if self.slices == "part" else parts.reshape(len(x), 4, -1)
        return code, self.pool(x, 1).flatten(1)


class IdentityHead(nn.Module):
    """Maps pooled features to (features after BatchNorm, logits)."""

    def __init__(self, inputs: int, classes: int, bottleneck: int = 512, dropout: float = 0.5):
        super().__init__()
        self.bottleneck_layer = nn.Linear(inputs, bottleneck)
        self.norm = BatchNorm1d(bottleneck)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(bottleneck, classes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(self.bottleneck_layer(pooled).float())
        return features, self.classifier(self.dropout(features)).float()


class LayerNorm(nn.Module):
    """LayerNorm over channels, height and width: unbiased deviation plus epsilon; gain and bias per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        deviation, mean = torch.std_mean(wide, (1, 2, 3), correction=1, keepdim=True)
        wide = (wide - mean) / (deviation + EPSILON)
        return (wide * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class Generator(nn.Module):
    """G: maps appearance and structure codes to images."""

    def __init__(self, channels: int, width: int = 128, mlp: int = 512):
        super().__init__()

        def modulation():
            layers = [nn.Linear(channels, mlp), nn.LeakyReLU(0.2), nn.Linear(mlp, mlp), nn.LeakyReLU(0.2)]
            return nn.Sequential(*layers, nn.Linear(mlp, 2 * width))

        self.scale = nn.ModuleList([modulation() for _ in range(4)])
        self.bias = nn.ModuleList([modulation() for _ in range(4)])
        self.blocks = nn.ModuleList([ResidualBlock(width) for _ in range(4)])
        half, quarter = width // 2, width // 4
        self.ups = nn.ModuleList([Conv(width, half, 5), Conv(half, quarter, 5)])
        self.norms = nn.ModuleList([LayerNorm(half), LayerNorm(quarter)])
        self.lasts = nn.ModuleList([Conv(quarter, quarter, 3), Conv(quarter, quarter, 3), Conv(quarter, 3, 1)])

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        def adain(scale, bias):
            return lambda x: instance_norm(x) * scale[:, :, None, None].to(x.dtype) + bias[:, :, None, None].to(x.dtype)

        x = s
        for i, block in enumerate(self.blocks):
            scales, biases = (mlps[i](a[:, i]).chunk(2, dim=1) for mlps in (self.scale, self.bias))
            x = block(x, tuple(map(adain, scales, biases)))
        for conv, norm in zip(self.ups, self.norms, strict=True):
            x = leaky_relu(norm(conv(F.interpolate(x, scale_factor=2, mode="nearest"))))
        for conv in self.lasts[:2]:
            x = leaky_relu(conv(x))
        return self.lasts[2](x).float()


class _Scale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        channels = (3, width, width, width, width, 2 * width)
        kernels, strides = (1, 3, 3, 3, 3), (1, 1, 2, 1, 2)
        self.stem = nn.ModuleList([Conv(*channels[i : i + 2], kernels[i], strides[i]) for i in range(5)])
        self.blocks = nn.ModuleList([ResidualBlock(2 * width) for _ in range(4)])
        self.logit = Conv(2 * width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.stem:
            x = leaky_relu(conv(x))
        for block in self.blocks:
            x = block(x, (nn.Identity(), nn.Identity()))
        return self.logit(x).float()


class Discriminator(nn.Module):
    """D: maps images to one map of logits per scale."""

    def __init__(self, width: int = 32, num_scales: int = 1, init_std: float = 0.02):
        super().__init__()
        self.scales = nn.ModuleList([_Scale(width) for _ in range(num_scales)])
        for module in self.modules():
            if isinstance(module, Conv):
                nn.init.normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for i, scale in enumerate(self.scales):
            if i:
                x = F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)
            maps.append(scale(x))
        return maps


@contextmanager
def no_statistics_updates(*networks: nn.Module):
    """Keeps the running statistics as they are; generated images are normalised by their own batch."""
    norms = [module for network in networks for module in network.modules() if isinstance(module, _Batch)]
    for norm in norms:
        norm.updates = False
    try:
        yield
    finally:
        for norm in norms:
            norm.updates = True


@contextmanager
def no_dropout(*networks: nn.Module):
    """Turns dropout off and leaves BatchNorm in training mode."""
    active = [
        module
        for network in networks
        for module in network.modules()
        if isinstance(module, nn.Dropout) and module.training
    ]
    for dropout in active:
        dropout.eval()
    try:
        yield
    finally:
        for dropout in active:
            dropout.train()


@contextmanager
def frozen(*networks: nn.Module):
    """Stops the gradient to the parameters; the gradient to the inputs passes."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)
