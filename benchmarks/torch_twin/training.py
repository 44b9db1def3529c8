"""Iterations of the stages `image` and `classifier`, written in plain PyTorch.

The caller passes normalised and augmented images, [identity · modality · shot, 3, height, width], pairs and coins.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from torch import Tensor, nn

from benchmarks.torch_twin import weights
from benchmarks.torch_twin.networks import (
    AppearanceEncoder,
    Discriminator,
    Generator,
    IdentityHead,
    StructureEncoder,
    frozen,
    no_dropout,
    no_statistics_updates,
)


class Generated(NamedTuple):
    """The generated images and what the losses compare them with; 1 is the anchor, 2 the image that gives a_2."""

    x_1: Tensor
    s_1: Tensor
    y_1: Tensor
    x_simple: Tensor
    x_cross: Tensor
    x_swap: Tensor
    a_2: Tensor
    y_2: Tensor
    logits: dict[str, Tensor]  # of real images by head; those of "head_fine" are of anchors only
    y_real: Tensor
    partner: Tensor


def optimizer(config: ConfigDict, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Makes Adam or Nesterov SGD with coupled L2, at the initial learning rate, without clipping."""
    if config.kind == "adam":
        betas = (config.b1, config.b2)
        return torch.optim.Adam(parameters, config.learning_rate, betas, weight_decay=config.l2, fused=True)
    return torch.optim.SGD(
        parameters, config.learning_rate, config.momentum, weight_decay=config.l2, nesterov=True, fused=True
    )


class Twin:
    """Base class of both stages: networks, their optimisers, precision and compilation.

    Args:
        own: the stage's section of the recipe.
        networks: the networks by their names in the recipe.
        device: the device that it runs on.
        bfloat16: whether convolutions and matrix products run in bfloat16 (autocast).
        compiled: whether torch.compile compiles the networks.
    """

    def __init__(self, own: ConfigDict, networks: dict[str, nn.Module], device: str, bfloat16: bool, compiled: bool):
        self.own, self.device, self.bfloat16 = own, device, bfloat16
        self.networks = {
            name: network.to(device, memory_format=torch.channels_last) for name, network in networks.items()
        }
        self.call: dict[str, Callable] = {
            name: torch.compile(network, dynamic=False) if compiled else network
            for name, network in self.networks.items()
        }
        self.optimizers = {
            group: optimizer(config, [p for name in config.networks for p in networks[name].parameters()])
            for group, config in own.optimizers.items()
        }

    def load(self, state) -> None:
        """Loads the variables of a JAX state of the same stage."""
        for name, network in self.networks.items():
            if name in state.params:
                weights.load(network, state.params[name], state.batch_stats.get(name))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Returns the unit features that retrieval compares; the second head has half the weight."""
        recognisers = [self.networks[name] for name in ("E_a", *self.own.networks.heads)]
        for network in recognisers:
            network.eval()
        both = [self.networks["E_a"](view)[1] for view in (x, x.flip(3))]
        by_head = [
            weight * F.normalize(sum(self.networks[head](pooled)[0] for pooled in both))
            for head, weight in zip(self.own.networks.heads, (1.0, 0.5), strict=False)
        ]
        for network in recognisers:
            network.train()
        return F.normalize(torch.cat(by_head, dim=1))

    def autocast(self) -> torch.autocast:
        """Sets the precision of a forward pass."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def descend(self, loss: Tensor, *groups: str) -> None:
        """Takes one step of some optimiser groups; their gradients stay readable afterwards."""
        for group in groups:
            self.optimizers[group].zero_grad(set_to_none=True)
        loss.backward()
        for group in groups:
            self.optimizers[group].step()


def recogniser(own: ConfigDict, classes: int) -> dict[str, nn.Module]:
    """Builds E_a and its heads, each from the section of its name."""
    config = own.networks
    return {"E_a": AppearanceEncoder(**config.E_a)} | {
        head: IdentityHead(32 * config.E_a.width, classes, **config[head]) for head in config.heads
    }


class ClassifierTwin(Twin):
    """Stage `classifier`."""

    def __init__(self, own: ConfigDict, classes: int, device="cpu", bfloat16=False, compiled=False):
        super().__init__(own, recogniser(own, classes), device, bfloat16, compiled)

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Runs one iteration on images and their identities."""
        with self.autocast():
            _, pooled = self.call["E_a"](x)
            _, logits = self.call["head"](pooled)
            loss = F.cross_entropy(logits, y)
        self.descend(self.own.total_scale * loss, *self.optimizers)
        return {"L_id": loss.detach()}

    @torch.no_grad()
    def log_q(self, x: Tensor) -> Tensor:
        """Returns the logarithm of the mean softmax over images and their mirror images.

        Each of the two passes is normalised by its own batch. Nothing is dropped or updated.
        """
        networks = list(self.networks.values())
        with no_statistics_updates(*networks), no_dropout(*networks):
            answers = [self.call["head"](self.call["E_a"](view)[1])[1].log_softmax(1) for view in (x, x.flip(3))]
        return torch.logaddexp(*answers) - math.log(2)


class ImageTwin(Twin):
    """Stage `image`; the teacher is a `ClassifierTwin`."""

    def __init__(
        self, own: ConfigDict, classes: int, teacher: ClassifierTwin, device="cpu", bfloat16=False, compiled=False
    ):
        config = own.networks
        networks = recogniser(own, classes) | {
            "E_s": StructureEncoder(config.E_s.width, config.E_s.code),
            "G": Generator(32 * config.E_a.width, config.E_s.code, **config.G),
            "D": Discriminator(**config.D),
        }
        super().__init__(own, networks, device, bfloat16, compiled)
        self.teacher = teacher

    def generate(self, x: Tensor, erased: Tensor | None, y: Tensor, partner: Tensor, shots: int) -> Generated:
        """Encodes the batch and generates three images of each anchor."""
        a, pooled = self.call["E_a"](x if erased is None else torch.cat([x, erased]))
        a, pooled = a[: len(x)], pooled[-len(x) :]  # codes of clean images; the heads see erased ones
        # Every head is normalised by all real images. The loss of "head_fine" is on anchors only.
        logits = {head: self.call[head](pooled)[1] for head in self.own.networks.heads}
        if "head_fine" in logits:
            logits["head_fine"] = logits["head_fine"][::shots]
        if self.own.detach_appearance:
            a = a.detach()
        x_1, y_1, a_1, a_positive = x[::shots], y[::shots], a[::shots], a[1::shots]
        s_1 = self.call["E_s"](x_1.mean(1, keepdim=True))
        a_2 = a_1[partner]
        images = self.call["G"](torch.cat([a_1, a_positive, a_2]), torch.cat([s_1, s_1, s_1]))
        return Generated(x_1, s_1, y_1, *images.chunk(3), a_2, y_1[partner], logits, y, partner)

    def discriminator_terms(self, x_1: Tensor, x_swap: Tensor) -> dict[str, Tensor]:
        """Computes the terms that D minimises."""
        own, terms = self.own, {}
        if own.weights.L_adv_D:
            judged = zip(self.call["D"](x_1), self.call["D"](x_swap), strict=True)
            terms["L_adv_D"] = sum(_game(own, real, 1) + _game(own, fake, 0) for real, fake in judged)
        if own.weights.L_R1:
            x_1 = x_1.detach().requires_grad_()
            maps = self.networks["D"](x_1)  # torch.compile does not differentiate twice
            slopes = [torch.autograd.grad(logits.sum(), x_1, create_graph=True)[0] for logits in maps]
            terms["L_R1"] = sum(slope.square().sum() for slope in slopes) / len(x_1)
        return terms

    def generator_terms(self, x: Generated, coin: bool) -> dict[str, Tensor]:
        """Computes every other term against the current D, which none of them changes.

        Args:
            x: what `generate` returns.
            coin: whether L_code_s trains E_s on detached images, instead of the images through a fixed E_s.
        """
        own, weight, terms = self.own, self.own.weights, {}
        recognisers = [self.networks[name] for name in ("E_a", *own.networks.heads)]
        if weight.L_simple:
            terms["L_simple"] = F.l1_loss(x.x_1, x.x_simple)
        if weight.L_cross:
            terms["L_cross"] = F.l1_loss(x.x_1, x.x_cross)
        if weight.L_id_orig:
            terms["L_id_orig"] = F.cross_entropy(x.logits["head"], x.y_real)
        if weight.L_fine_orig:
            terms["L_fine_orig"] = F.cross_entropy(x.logits["head_fine"], x.y_1)
        if weight.L_adv_G:
            with frozen(self.networks["D"]):
                judged = self.call["D"](x.x_swap)
            terms["L_adv_G"] = (2 if own.adversarial == "lsgan" else 1) * sum(_game(own, fake, 1) for fake in judged)

        if weight.L_code_s or weight.L_cycle:
            s_swap = self.structure_of(x.x_swap, coin)
        if weight.L_code_s:
            s_1 = x.s_1.detach() if own.alternate_structure else x.s_1
            terms["L_code_s"] = F.l1_loss(s_1, s_swap)

        if weight.L_code_a or weight.L_id_recon or weight.L_cycle:
            fixed_copy = frozen(*recognisers if own.freeze_appearance else ())
            with fixed_copy, no_statistics_updates(*recognisers), no_dropout(*recognisers):
                a_swap, pooled = self.call["E_a"](x.x_swap)
                logits = self.call["head"](pooled)[1]
        if weight.L_code_a:
            terms["L_code_a"] = F.l1_loss(x.a_2.detach(), a_swap)
        if weight.L_id_recon:
            terms["L_id_recon"] = F.cross_entropy(logits, x.y_2)
        if weight.L_cycle:
            # Cycle reconstruction of x_1 from generated images: structure from x_1^2, appearance from the image
            # rendered with a_1.
            back = self.call["G"](a_swap[x.partner.argsort()].detach(), s_swap)
            terms["L_cycle"] = F.l1_loss(x.x_1, back)

        if weight.L_dis or weight.L_fine_recon:
            fixed = x.x_swap.detach()
            with no_statistics_updates(*recognisers):
                _, pooled = self.call["E_a"](fixed)
                if weight.L_dis:
                    log_p, log_q = self.call["head"](pooled)[1].log_softmax(1), self.teacher.log_q(fixed)
                    p_first = own.teacher_kl == "p||q"
                    terms["L_dis"] = _kl(log_p, log_q) if p_first else _kl(log_q, log_p)
                if weight.L_fine_recon:
                    logits = self.call["head_fine"](pooled)[1]
                    terms["L_fine_recon"] = F.cross_entropy(logits, x.y_1)
        return terms

    def structure_of(self, x_swap: Tensor, coin: bool) -> Tensor:
        """Returns E_s(x_swap); with `alternate_structure` the coin decides which of the two learns."""
        grey = x_swap.mean(1, keepdim=True)
        if not self.own.alternate_structure:
            return self.call["E_s"](grey)
        if coin:
            return self.call["E_s"](grey.detach())
        with frozen(self.networks["E_s"]):
            return self.call["E_s"](grey)

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Returns L_total, with every weight at its final value."""
        return self.own.total_scale * sum(self.own.weights[term] * value for term, value in terms.items())

    def step(
        self, x: Tensor, erased: Tensor | None, y: Tensor, partner: Tensor, coin: bool, shots: int = 2
    ) -> dict[str, Tensor]:
        """Updates D on detached swapped images, then E and G against the new D."""
        others = [group for group in self.optimizers if group != "discrimination"]
        with self.autocast():
            generated = self.generate(x, erased, y, partner, shots)
            terms_D = self.discriminator_terms(generated.x_1, generated.x_swap.detach())
        self.descend(self.total(terms_D), "discrimination")
        with self.autocast():
            terms = self.generator_terms(generated, coin)
        self.descend(self.total(terms), *others)
        return {term: value.detach() for term, value in (terms_D | terms).items()}


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Returns KL(p ‖ q), averaged over the batch."""
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def _game(own: ConfigDict, logits: Tensor, real: int) -> Tensor:
    """Returns the loss of a map of logits whose target is real (1) or fake (0)."""
    if own.adversarial == "lsgan":
        return (logits - real).square().mean()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))
