"""The training loop: the same for every stage."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from rgbir_jax.data.augment import denormalise
from rgbir_jax.errors import NotFiniteError
from rgbir_jax.training import parallel, processes
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.interrupt import Interrupted, interruptible
from rgbir_jax.training.logging import Log, picture_grid
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

ASK_EVERY = 10  # iterations after which several processes ask each other whether to stop


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

    The order of an iteration: batch, step, log, pictures, evaluation, checkpoint. A line of the log has the averages of
    the metrics since the line before. It is written after the next step has begun, so that the devices do not wait for
    it. Several processes take every step together and stop together, which they agree on every `ASK_EVERY` iterations;
    the first one writes.

    Metrics are checked for NaN and infinities before they are logged. The metrics and the whole state are checked
    before an evaluation and before a save, so that no score and no checkpoint comes from a broken network. Between two
    of these checks a NaN in the parameters is not noticed.

    Args:
        stage: what to train.
        state: a fresh State; if there is a checkpoint, only its shapes count.
        batches: step -> iterator of host batches from that step on, this process's share of each.
        key: the run's key; every iteration folds its number in.
        config: `steps`, and after how many iterations to act: `log_every`, `checkpoint_every`, `evaluate_every`,
            `pictures_every` (0 for never). The last iteration is always saved.
        directory: the stage's folder: `checkpoints/`, `metrics.jsonl`, TensorBoard files.
        evaluate: State -> validation scores; `val/mAP` picks the best checkpoint. None: only the newest is kept.
        sample: normalised images to make the pictures from.

    Raises:
        NotFiniteError: for a metric or a leaf of the state that is not finite; no checkpoint is written after that.
        UserError: for a checkpoint that cannot be resumed from.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint written.
    """
    checkpoints = Checkpoints(directory / "checkpoints")
    start = checkpoints.latest() or 0
    if start >= config.steps:
        checkpoints.close()
        return
    if start:
        state = checkpoints.restore(start, state)
    log = Log(directory, config)
    # Leaves through the host: two that share a buffer could not both be donated.
    state, sample = (parallel.replicate(tree) for tree in (jax.device_get(state), sample))
    feed = _TimedFeed(_prefetch(batches(start)))
    try:
        _Loop(stage, config, directory.name, checkpoints, log, feed, evaluate, sample).run(state, key, start)
    finally:
        checkpoints.close()
        log.close()


class _Line(NamedTuple):
    """A line of the log that is still on the devices."""

    step: int
    iterations: int  # that the sums are over
    sums: dict[str, Array]
    norms: dict[str, Array]


class _Loop:
    """A stage in training, with everything that an iteration acts on."""

    def __init__(self, stage, config, name, checkpoints, log, feed, evaluate, sample):
        self.stage, self.config, self.name = stage, config, name
        self.checkpoints, self.log, self.feed = checkpoints, log, feed
        self.evaluate, self.sample = evaluate, sample
        self.pictures, self.add, self.norms = jax.jit(stage.pictures), jax.jit(_add, donate_argnums=0), jax.jit(_norms)
        self.sums, self.since, self.line = None, 0, None  # metrics since the last line, and a line to be written

    def run(self, state: State, key: Array, start: int) -> None:
        """Iterates from `start` to the last iteration."""
        impl = jax.random.key_impl(key)
        key_data = parallel.replicate(jax.random.key_data(key))

        def keyed_step(state, batch, key_data):
            """Takes the key as numbers: a typed one would pass through the host in each of several processes."""
            return self.stage.train_step(state, batch, jax.random.wrap_key_data(key_data, impl=impl))

        train_step, steps = parallel.pmap(keyed_step), self.config.steps
        with self.bar(start) as bar, interruptible() as asked:
            for step in range(start + 1, steps + 1):
                batch = next(self.feed)
                with jax.transfer_guard("disallow"):  # dispatching a step moves nothing between host and devices
                    state, metrics = train_step(state, batch, key_data)
                    self.sums, self.since = self.add(self.sums, metrics) if self.sums else metrics, self.since + 1
                bar.update()
                self.write_line(bar)
                if self.due("log_every", step):
                    self.line = _Line(step, self.since, self.sums, self.norms(state.params))
                    self.sums, self.since = None, 0
                self.draw(step, state)
                scores = self.score(step, state, bar)
                stop = self.stop(step, asked)
                if scores or stop or self.due("checkpoint_every", step) or step == steps:
                    self.check_metrics(step, bar)
                    self.checkpoints.save(step, state, scores.get("val/mAP"))
                if step == start + 1 or scores or self.due("pictures_every", step):
                    self.feed.start()  # the first iteration compiles, and these are not training
                if stop and step < steps:
                    raise Interrupted(
                        f"stopped after iteration {step} of {steps}; the same command resumes from there."
                    )
            self.write_line(bar)

    def bar(self, start: int) -> tqdm:
        """Makes the progress bar."""
        return tqdm(
            total=self.config.steps,
            initial=start,
            desc=self.name,
            unit="step",
            dynamic_ncols=True,
            mininterval=1,
            disable=not processes.is_first(),
        )

    def due(self, key: str, step: int) -> bool:
        """Says whether something that happens every so many iterations, and at the end, happens now."""
        every = self.config[key]
        return bool(every) and (step % every == 0 or step == self.config.steps)

    def stop(self, step: int, asked: Callable[[], bool]) -> bool:
        """Says whether all processes stop now."""
        now = jax.process_count() == 1 or step % ASK_EVERY == 0 or step == self.config.steps
        return now and processes.any_of(asked())

    def write_line(self, bar: tqdm) -> None:
        """Writes the line of the log that is due, if there is one."""
        if not self.line:
            return
        step, iterations, sums, norms = self.line
        self.line = None
        values = jax.device_get(sums | norms)
        means = {name: float(values[name]) / iterations for name in sums}
        self.refuse_broken(means, step)
        values = means | {name: float(values[name]) for name in norms}
        values |= {name: float(schedule(step - 1)) for name, schedule in self.stage.schedules.items()}
        self.log.scalars(step, values | self.feed.reading() | _memory())
        bar.set_postfix_str(_postfix(means | self.feed.last))

    def draw(self, step: int, state: State) -> None:
        """Writes pictures if they are due."""
        if self.sample is None or not processes.is_first() or not self.due("pictures_every", step):
            return
        sources = jax.device_get(denormalise(self.sample))
        for name, grid in self.pictures(state, self.sample).items():
            self.log.picture(step, name, picture_grid(jax.device_get(grid), sources, f"{name}, iteration {step:,}"))

    def score(self, step: int, state: State, bar: tqdm) -> dict[str, float]:
        """Scores the state on validation identities if that is due."""
        if not self.evaluate or not self.due("evaluate_every", step):
            return {}
        self.check_metrics(step, bar)
        self.checkpoints.check(step, state)
        scores = self.evaluate(state)
        self.log.scalars(step, scores)
        if processes.is_first():
            bar.write(f"{self.name} {step}: " + _postfix(scores))
        return scores

    def check_metrics(self, step: int, bar: tqdm) -> None:
        """Checks every metric so far."""
        self.write_line(bar)
        if self.sums:
            self.refuse_broken({name: float(value) for name, value in jax.device_get(self.sums).items()}, step)

    def refuse_broken(self, values: dict[str, float], step: int) -> None:
        """Raises a NotFiniteError that names the values that are not finite."""
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise NotFiniteError(
                f"{', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite at iteration {step}; "
                f"{self.checkpoints.way_out()}"
            )


class _TimedFeed:
    """An iterator of batches that counts images and measures the time in which the host fetches and sends them.

    While the devices are still busy with earlier batches they do not wait, so they wait for at most this time.
    """

    def __init__(self, batches: Iterator[dict]):
        self._batches, self.last = batches, {}
        self.start()

    def start(self) -> None:
        """Starts to count from zero."""
        self._images, self._waited, self._begun = 0, 0.0, time.perf_counter()

    def __next__(self) -> dict:
        begun = time.perf_counter()
        batch = next(self._batches)
        self._waited += time.perf_counter() - begun
        self._images += batch["camera"].size * jax.process_count()
        return batch

    def reading(self) -> dict[str, float]:
        """Returns `images_per_second` and `waiting_for_input`, a share of the time, since the last reading."""
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


def _add(sums: dict[str, Array], metrics: dict[str, Array]) -> dict[str, Array]:
    return jax.tree.map(lambda total, value: total + value, sums, metrics)


def _norms(params: dict) -> dict[str, Array]:
    """Computes the global norm of each network's parameters."""
    return {f"parameter_norm/{network}": optax.tree.norm(tree) for network, tree in params.items()}


def _memory() -> dict[str, float]:
    """Returns the memory of the first device in GiB, now and at the peak, if the backend says so; CPUs do not."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    keys = {"bytes_in_use": "memory_GiB/in_use", "peak_bytes_in_use": "memory_GiB/peak"}
    return {name: statistics[key] / 2**30 for key, name in keys.items() if key in statistics}


def _postfix(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value:.3g}" for name, value in itertools.islice(values.items(), 12))
