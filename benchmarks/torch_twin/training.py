"""Iterations of the stages `image` and `classifier` in PyTorch, plainly written.

Images come normalised and augmented, [identity · modality · shot, 3, height, width]; pairs and coins are given.
"""

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
    statistics_rest,
)


class Made(NamedTuple):
    """Field by field what `rgbir_jax.stages.image.Generated` is."""

    x_1: Tensor
    s_1: Tensor
    x_same: Tensor
    x_cross: Tensor
    x_swap: Tensor
    a_2: Tensor
    y_2: Tensor
    logits: dict[str, Tensor]
    y_real: Tensor
    lender: Tensor


def optimizer(config: ConfigDict, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam or Nesterov SGD with coupled L2, at the initial learning rate; without clipping."""
    if config.kind == "adam":
        betas = (config.b1, config.b2)
        return torch.optim.Adam(parameters, config.learning_rate, betas, weight_decay=config.l2, fused=True)
    return torch.optim.SGD(
        parameters, config.learning_rate, config.momentum, weight_decay=config.l2, nesterov=True, fused=True
    )


class Twin:
    """What both stages have: networks, their optimisers, precision and compilation.

    Args:
        own: the stage's section of the recipe.
        networks: by the names of the recipe.
        device: where it runs.
        bfloat16: whether convolutions and matrix products run in bfloat16 (autocast).
        compiled: whether networks go through torch.compile.
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
        """Takes the variables of a JAX state of the same stage."""
        for name, network in self.networks.items():
            if name in state.params:
                weights.load(network, state.params[name], state.batch_stats.get(name))

    def autocast(self) -> torch.autocast:
        """The precision of a forward."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16)

    def descend(self, loss: Tensor, *groups: str) -> None:
        """One step of these groups; their gradients stay readable afterwards."""
        for group in groups:
            self.optimizers[group].zero_grad(set_to_none=True)
        loss.backward()
        for group in groups:
            self.optimizers[group].step()


def recogniser(own: ConfigDict, classes: int) -> dict[str, nn.Module]:
    config = own.networks
    return {"E_a": AppearanceEncoder(**config.E_a)} | {
        head: IdentityHead(32 * config.E_a.width, classes, **config.head) for head in config.heads
    }


class ClassifierTwin(Twin):
    """Stage `classifier`."""

    def __init__(self, own: ConfigDict, classes: int, device="cpu", bfloat16=False, compiled=False):
        super().__init__(own, recogniser(own, classes), device, bfloat16, compiled)

    def step(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """One iteration on images and their identities."""
        with self.autocast():
            _, pooled = self.call["E_a"](x)
            _, logits = self.call["head"](pooled)
            loss = F.cross_entropy(logits, y)
        self.descend(loss, *self.optimizers)
        return {"L_id": loss.detach()}


class ImageTwin(Twin):
    """Stage `image`; the teacher is a `ClassifierTwin`."""

    def __init__(
        self, own: ConfigDict, classes: int, teacher: ClassifierTwin, device="cpu", bfloat16=False, compiled=False
    ):
        config = own.networks
        networks = recogniser(own, classes) | {
            "E_s": StructureEncoder(**config.E_s),
            "G": Generator(32 * config.E_a.width, config.E_s.code, **config.G),
            "D": Discriminator(**config.D),
        }
        super().__init__(own, networks, device, bfloat16, compiled)
        self.teacher = teacher
        for network in teacher.networks.values():
            network.eval()

    def recognise(self, x: Tensor, heads: tuple[str, ...], erased: Tensor | None = None):
        """(codes of x, logits by head of the erased images, or of x itself)."""
        code, pooled = self.call["E_a"](x if erased is None else torch.cat([x, erased]))
        code, pooled = code[: len(x)], pooled[-len(x) :]
        return code, {head: self.call[head](pooled)[1] for head in heads}

    def generate(self, x: Tensor, erased: Tensor | None, y: Tensor, lender: Tensor, shots: int) -> Made:
        """Encodes the batch and generates three images of each anchor."""
        a, logits = self.recognise(x, tuple(self.own.networks.heads), erased)
        if self.own.detach_appearance:
            a = a.detach()
        x_1, a_1, a_positive = x[::shots], a[::shots], a[1::shots]
        s_1 = self.call["E_s"](x_1.mean(1, keepdim=True))
        a_2 = a_1[lender]
        images = self.call["G"](torch.cat([s_1, s_1, s_1]), torch.cat([a_1, a_positive, a_2]))
        return Made(x_1, s_1, *images.chunk(3), a_2, y[::shots][lender], logits, y, lender)

    def discriminator_terms(self, x_1: Tensor, x_swap: Tensor) -> dict[str, Tensor]:
        """What D minimises."""
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

    def generator_terms(self, made: Made, coin: bool) -> dict[str, Tensor]:
        """Every other term, against the D of now, which none of them moves.

        Args:
            made: of `generate`.
            coin: whether L_code_s trains E_s on detached images, or the images through a fixed E_s.
        """
        own, weight, terms = self.own, self.own.weights, {}
        E_a = [self.networks[name] for name in ("E_a", "head")]
        if weight.L_simple:
            terms["L_simple"] = F.l1_loss(made.x_1, made.x_same)
        if weight.L_cross:
            terms["L_cross"] = F.l1_loss(made.x_1, made.x_cross)
        if weight.L_id_orig:
            terms["L_id_orig"] = F.cross_entropy(made.logits["head"], made.y_real)
        if weight.L_id_fine:
            terms["L_id_fine"] = F.cross_entropy(made.logits["head_fine"], made.y_real)

        grey = made.x_swap.mean(1, keepdim=True)
        if weight.L_code_s:
            if not own.alternate_structure:
                s = self.call["E_s"](grey)
            elif coin:
                s = self.call["E_s"](grey.detach())
            else:
                with frozen(self.networks["E_s"]):
                    s = self.call["E_s"](grey)
            terms["L_code_s"] = F.l1_loss(made.s_1, s)
        if weight.L_code_a or weight.L_id_recon or weight.L_cycle:
            with frozen(*E_a if own.freeze_appearance else []), statistics_rest(*E_a):
                a_swap, logits = self.recognise(made.x_swap, ("head",))
        if weight.L_code_a:
            terms["L_code_a"] = F.l1_loss(made.a_2.detach(), a_swap)
        if weight.L_id_recon:
            terms["L_id_recon"] = F.cross_entropy(logits["head"], made.y_2)
        if weight.L_adv_G:
            with frozen(self.networks["D"]):
                judged = self.call["D"](made.x_swap)
            terms["L_adv_G"] = (2 if own.adversarial == "lsgan" else 1) * sum(_game(own, fake, 1) for fake in judged)
        if weight.L_cycle:
            back = self.call["G"](self.call["E_s"](grey), a_swap[made.lender.argsort()])
            terms["L_cycle"] = F.l1_loss(made.x_1, back)
        if weight.L_dis:
            fixed = made.x_swap.detach()
            with statistics_rest(*E_a):
                p = self.recognise(fixed, ("head",))[1]["head"].log_softmax(1)
            with torch.no_grad():
                q = self.teacher.call["head"](self.teacher.call["E_a"](fixed)[1])[1].log_softmax(1)
            ours, theirs = (p, q) if own.teacher_kl == "p||q" else (q, p)
            terms["L_dis"] = F.kl_div(theirs, ours, log_target=True, reduction="batchmean")  # KL(ours ‖ theirs)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """With every weight at its final value."""
        return sum(self.own.weights[term] * value for term, value in terms.items())

    def step(
        self, x: Tensor, erased: Tensor | None, y: Tensor, lender: Tensor, coin: bool, shots: int = 2
    ) -> dict[str, Tensor]:
        """D's step on detached swapped images, then that of E and G against the new D."""
        others = [group for group in self.optimizers if group != "discrimination"]
        with self.autocast():
            made = self.generate(x, erased, y, lender, shots)
            terms_D = self.discriminator_terms(made.x_1, made.x_swap.detach())
        self.descend(self.total(terms_D), "discrimination")
        with self.autocast():
            terms = self.generator_terms(made, coin)
        self.descend(self.total(terms), *others)
        return {term: value.detach() for term, value in (terms_D | terms).items()}


def _game(own: ConfigDict, logits: Tensor, real: int) -> Tensor:
    """What a map of logits costs who wants it real (1) or fake (0)."""
    if own.adversarial == "lsgan":
        return (logits - real).square().mean()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real))
