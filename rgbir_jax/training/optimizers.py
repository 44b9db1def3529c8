"""Optimisers by group of networks. Each network must belong to exactly one group; otherwise start-up fails."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import optax
from jaxtyping import Array, Float, PyTree
from ml_collections import ConfigDict

from rgbir_jax.errors import UserError
from rgbir_jax.lookup import choose

KINDS = ("adam", "sgd")
Schedule = Callable[[Any], Any]  # iteration -> value


class Group(NamedTuple):
    """Networks that share an optimiser and a learning rate."""

    networks: tuple[str, ...]
    optimizer: optax.GradientTransformation
    learning_rate: Schedule


def learning_rate(config: ConfigDict, decay: ConfigDict) -> Schedule:
    """Returns a schedule: linear warm-up from 0, then a constant that drops by a factor at given iterations.

    Args:
        config: `learning_rate` (peak).
        decay: `at` (iterations of the drops), `factor` (of each drop), `warmup` (iterations; 0 for none).
    """
    drops = optax.piecewise_constant_schedule(config.learning_rate, {step: decay.factor for step in decay.at})
    if not decay.warmup:
        return drops
    return lambda step: drops(step) * optax.linear_schedule(0.0, 1.0, decay.warmup)(step + 1)


def optimizer(config: ConfigDict, schedule: Schedule) -> optax.GradientTransformation:
    """Returns Adam or Nesterov SGD with L2 regularisation added to the gradient (coupled, not AdamW's decay).

    Args:
        config: `kind` ("adam" with `b1`, `b2`, or "sgd" with `momentum`), `l2`, `clip` (maximum global norm of the
            group's gradient, 0 for no limit).
        schedule: the learning-rate schedule.

    Raises:
        UserError: if the kind is unknown.
    """
    if choose(config.kind, KINDS, "optimizer kind") == "adam":
        rule = optax.scale_by_adam(b1=config.b1, b2=config.b2)
    else:
        rule = optax.trace(decay=config.momentum, nesterov=True)
    limit = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    decay = [optax.add_decayed_weights(config.l2)] if config.l2 else []
    return optax.chain(*limit, *decay, rule, optax.scale_by_learning_rate(schedule))


def gradient_norms(gradients: dict[str, PyTree]) -> dict[str, Float[Array, ""]]:
    """Computes the global norm of each network's gradient, as metrics.

    They show a NaN in a network even if an operation that drops NaN keeps the losses finite.

    Args:
        gradients: gradients by network name, averaged over the devices.

    Returns:
        Scalars named `gradient_norm/NETWORK`. NaN or infinity if the gradient has one, or if its square overflows.
    """
    return {f"gradient_norm/{network}": optax.tree.norm(gradient) for network, gradient in gradients.items()}


class Optimizers:
    """The optimisers of one stage.

    Args:
        groups: configs by group name: `networks` and the fields that `optimizer` and `learning_rate` read.
        decay: config of the learning-rate schedule, shared by all groups.
        networks: names of all trained networks.

    Raises:
        UserError: if a network is in no group or in several, or does not exist; the message names the first one.
    """

    def __init__(self, groups: ConfigDict, decay: ConfigDict, networks: tuple[str, ...]):
        self.groups = {}
        for name, config in groups.items():
            schedule = learning_rate(config, decay)
            self.groups[name] = Group(tuple(config.networks), optimizer(config, schedule), schedule)
        assigned = [network for group in self.groups.values() for network in group.networks]
        for network in sorted({*networks, *assigned}):
            if network not in networks:
                raise UserError(f"optimizer groups name a network {network}; the stage trains {', '.join(networks)}.")
            if assigned.count(network) != 1:
                raise UserError(
                    f"the parameters of {network} belong to {assigned.count(network)} optimizer groups; "
                    f"list it in exactly one of {', '.join(self.groups)}."
                )

    def init(self, params: dict[str, PyTree]) -> dict[str, PyTree]:
        """Returns initial optimiser states by group name."""
        return {name: group.optimizer.init(_pick(params, group)) for name, group in self.groups.items()}

    def update(self, gradients: dict[str, PyTree], params: dict, opt_state: dict) -> tuple[dict, dict]:
        """Updates every group whose networks have gradients; the other networks do not change.

        Args:
            gradients: gradients by network name, for all networks of a group or for none of them.
            params: all parameters by network name.
            opt_state: optimiser states by group name.

        Returns:
            (params, opt_state) of all networks and groups.
        """
        params, opt_state = dict(params), dict(opt_state)
        for name, group in self.groups.items():
            if gradients.keys() >= set(group.networks):
                own = _pick(params, group)
                updates, opt_state[name] = group.optimizer.update(_pick(gradients, group), opt_state[name], own)
                params.update(cast(dict, optax.apply_updates(own, updates)))
        return params, opt_state

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Returns the learning-rate schedules by the names used in logs."""
        return {f"learning_rate/{name}": group.learning_rate for name, group in self.groups.items()}


def _pick(tree: dict, group: Group) -> dict:
    return {network: tree[network] for network in group.networks}
