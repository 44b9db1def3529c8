"""The training loop: the same for every stage."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from jaxtyping import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from rgbir_jax.training import parallel, processes
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.interrupt import Interrupted, interruptible
from rgbir_jax.training.logging import Log, tile
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

ASK_EVERY = 10  # iterations, before several processes ask each other whether to stop


def fit(
    stage: Stage,
    state: State,
    batches: Callable[[int], Iterator[dict]],
    key: Array,
    config: ConfigDict,
    directory: Path,
    *,
    evaluate: Callable[[State], dict[str, float]] | None = None,
    sample: Array | None = None,
) -> None:
    """Trains a stage to its last iteration, from its newest checkpoint if there is one.

    An iteration's order: batch, step, log, pictures, evaluation, checkpoint. The metrics that are logged are those of
    the iteration before, so that nothing waits for the step just begun. Several processes take every step together and
    stop together, which they agree on every `ASK_EVERY` iterations; the first one logs.

    Metrics are checked for NaN and infinities before they are logged. The metrics and the whole state are checked
    before an evaluation and before a save, so that no score and no checkpoint comes from a broken network. Between two
    of these checks a NaN in the parameters stays there.

    Args:
        stage: what to train.
        state: a fresh State; with a checkpoint only its shapes count.
        batches: step -> iterator of host batches from that step on, this process's share of each.
        key: the run's; every iteration folds its number in.
        config: `steps`, and every how many iterations to act: `log_every`, `checkpoint_every`, `evaluate_every`,
            `pictures_every` (0 for never).
        directory: of the stage: `checkpoints/`, `metrics.jsonl`, TensorBoard files.
        evaluate: State -> validation scores; `val/mAP` picks the best checkpoint. None: the newest is kept alone.
        sample: normalised images that the pictures are made of.

    Raises:
        FloatingPointError: for a metric or a leaf of the state that is not finite; no checkpoint is written from there
            on.
        ValueError: for a checkpoint that cannot be resumed from.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint written.
    """
    checkpoints = Checkpoints(directory / "checkpoints")
    start = checkpoints.latest() or 0
    if start >= config.steps:
        checkpoints.close()
        return
    if start:
        state = checkpoints.restore(start, state)
    log = Log(directory)
    impl, key_data = jax.random.key_impl(key), jax.random.key_data(key)

    def keyed_step(state, batch, key_data):
        """Takes the key as numbers: a typed one would go by way of the host in each of several processes."""
        return stage.train_step(state, batch, jax.random.wrap_key_data(key_data, impl=impl))

    train_step = parallel.pmap(keyed_step)
    pictures = jax.jit(stage.pictures)
    # Leaves through the host: two that share a buffer could not both be donated.
    state, key_data, sample = (parallel.replicate(tree) for tree in (jax.device_get(state), key_data, sample))
    feed = _TimedFeed(_prefetch(batches(start)))
    metrics = None
    bar = tqdm(
        total=config.steps,
        initial=start,
        desc=directory.name,
        unit="step",
        dynamic_ncols=True,
        mininterval=1,
        disable=not processes.is_first(),
    )

    def due(every: int, step: int) -> bool:
        return bool(every) and (step % every == 0 or step == config.steps)

    try:
        with bar, interruptible() as asked:
            for step in range(start + 1, config.steps + 1):
                batch = next(feed)
                with jax.transfer_guard("disallow"):  # sending a step off moves nothing to the devices or back
                    before, (state, metrics) = metrics, train_step(state, batch, key_data)
                bar.update()
                if before and due(config.log_every, step):
                    values = _finite(before, step - 1, checkpoints)
                    log.scalars(
                        step - 1,
                        values
                        | {name: float(schedule(step - 2)) for name, schedule in stage.schedules.items()}
                        | feed.reading(),
                    )
                    bar.set_postfix_str(_postfix(values | feed.last))
                if sample is not None and processes.is_first() and due(config.pictures_every, step):
                    for name, grid in pictures(state, sample).items():
                        log.picture(step, name, tile(jax.device_get(grid)))
                scores = {}
                if evaluate and due(config.evaluate_every, step):
                    _finite(metrics, step, checkpoints)
                    checkpoints.check(step, state)
                    scores = evaluate(state)
                if scores:
                    log.scalars(step, scores)
                    if processes.is_first():
                        bar.write(f"{directory.name} {step}: " + _postfix(scores))
                stop = (jax.process_count() == 1 or due(ASK_EVERY, step)) and processes.any_of(asked())
                if scores or stop or due(config.checkpoint_every, step):
                    _finite(metrics, step, checkpoints)
                    checkpoints.save(step, state, scores.get("val/mAP"))
                if not before or scores or due(config.pictures_every, step):
                    feed.start()  # the first iteration compiles, and these are not training
                if stop and step < config.steps:
                    raise Interrupted(f"stopped after iteration {step} of {config.steps}; the same command goes on.")
    finally:
        checkpoints.close()
        log.close()


class _TimedFeed:
    """An iterator of batches that notes how many images went by and how long the host took to fetch and send them.

    While the devices are still busy with what was sent before they do not wait, so theirs is at most this time.
    """

    def __init__(self, batches: Iterator[dict]):
        self._batches, self.last = batches, {}
        self.start()

    def start(self) -> None:
        """Begins to count anew."""
        self._images, self._waited, self._begun = 0, 0.0, time.perf_counter()

    def __next__(self) -> dict:
        begun = time.perf_counter()
        batch = next(self._batches)
        self._waited += time.perf_counter() - begun
        self._images += batch["camera"].size * jax.process_count()
        return batch

    def reading(self) -> dict[str, float]:
        """`images_per_second` and `waiting_for_input`, a share of the time, since the last reading."""
        seconds = time.perf_counter() - self._begun
        self.last = {"images_per_second": self._images / seconds, "waiting_for_input": self._waited / seconds}
        self.start()
        return self.last


def _prefetch(batches: Iterator[dict], ahead: int = 2) -> Iterator[dict]:
    """Sends batches to the devices `ahead` of their use."""
    sent = deque()
    for batch in batches:
        sent.append(parallel.shard(batch))
        if len(sent) > ahead:
            yield sent.popleft()
    yield from sent


def _finite(metrics: dict, step: int, checkpoints: Checkpoints) -> dict[str, float]:
    """Fetches the metrics to the host.

    Raises:
        FloatingPointError: naming those that are not finite.
    """
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise FloatingPointError(
            f"{', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite at iteration {step}; "
            f"{checkpoints.way_out()}"
        )
    return values


def _postfix(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.3g}" for name, value in itertools.islice(values.items(), 12))
