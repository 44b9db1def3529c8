"""The training loop: the same for every stage."""

import dataclasses
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from rgbir_jax.data.augment import denormalise
from rgbir_jax.errors import NotFiniteError, UserError
from rgbir_jax.files import write_json, writing
from rgbir_jax.training import parallel, processes, replay
from rgbir_jax.training.checkpoints import Checkpoints
from rgbir_jax.training.interrupt import Interrupted, interruptible
from rgbir_jax.training.logging import Log, picture_grid
from rgbir_jax.training.stage import Stage
from rgbir_jax.training.state import State

DIVERGED = "diverged.json"  # in a stage's folder, from when its training has diverged until the next checkpoint
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
    patience: int = 10,
    images: Callable[[int], Sequence[str]] | None = None,
    debug_nans: bool = False,
    origin: dict | None = None,
) -> None:
    """Trains a stage to its last iteration, from its newest checkpoint if there is one.

    The order of an iteration: batch, step, log, pictures, evaluation, checkpoint. A line of the log has averages since
    the line before, and is written after the next step has begun. Several processes agree every `ASK_EVERY` iterations
    to stop; the first one writes. An iteration with a metric that is not finite is skipped. `patience` in a row stop
    training at the next line, evaluation or save; nothing else uses the state before one succeeds.

    Args:
        stage: what to train.
        state: a fresh State; if there is a checkpoint, only its shapes count.
        batches: step -> iterator of host batches from that step on, this process's share of each.
        key: the run's key; every iteration folds its number in.
        config: `steps`, and after how many iterations to act: `log_every`, `checkpoint_every`, `evaluate_every`,
            `pictures_every` (0 for never). The last iteration is always saved.
        directory: the stage's folder: `checkpoints/`, `metrics.jsonl`, TensorBoard files.
        evaluate: State -> validation scores; `val/mAP` picks the best checkpoint.
        sample: normalised images to make the pictures from.
        patience: the number of iterations skipped in a row that stops training.
        images: step -> names of the images of a batch, for the message.
        debug_nans: whether the first iteration of those is then replayed to find the operation.
        origin: what the stage is trained from, kept with its checkpoints.

    Raises:
        NotFiniteError: after `patience` skipped iterations or a skipped last one, or for a state that is not finite.
        UserError: for a checkpoint that cannot be resumed from, or for files that cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint written.
    """
    checkpoints = Checkpoints(directory / "checkpoints", origin)
    start = 0
    if steps := checkpoints.newest_first():
        start, state = checkpoints.first_intact(steps, partial(checkpoints.restore, like=state))
    if start >= config.steps:
        return
    # Leaves through the host: two that share a buffer could not both be donated.
    state, sample = (parallel.replicate(tree) for tree in (jax.device_get(state), sample))
    with ExitStack() as opened:
        log = opened.enter_context(closing(Log(directory, config)))
        checkpoints.open(start)
        opened.enter_context(closing(checkpoints))
        loop = _Loop(stage, config, directory, checkpoints, log, evaluate, sample, patience)
        try:
            loop.run(state, key, start, _TimedFeed(_prefetch(batches(start))))
        except NotFiniteError as error:
            replayed = partial(_replayed, loop, batches, key) if debug_nans else None
            raise _explained(error, loop, images, replayed) from error


class _Diverged(NotFiniteError):
    """Training that was stopped because iterations were skipped.

    Attributes:
        first: the number of the first of them.
    """

    def __init__(self, clause: str, first: int):
        super().__init__(clause)
        self.first = first


class _Streak(NamedTuple):
    """The skipped iterations up to now, in a row. It no longer changes when there are too many.

    Attributes:
        count: their number, int32.
        first: the number of the first one, int32.
        broken: by the name of a metric, whether it was not finite in the first one.
    """

    count: Array
    first: Array
    broken: dict[str, Array]


class _Line(NamedTuple):
    """A line of the log that is still on the devices."""

    step: int
    iterations: int  # that the sums are over
    sums: dict[str, Array]
    norms: dict[str, Array]
    streak: _Streak


class _Loop:
    """A stage in training, with everything that an iteration acts on."""

    def __init__(self, stage, config, directory, checkpoints, log, evaluate, sample, patience):
        self.stage, self.config, self.directory, self.name = stage, config, directory, directory.name
        self.checkpoints, self.log = checkpoints, log
        self.evaluate, self.sample, self.patience = evaluate, sample, patience
        self.pictures, self.norms = jax.jit(stage.pictures), jax.jit(_norms)
        self.add = jax.jit(partial(_add, patience=patience), donate_argnums=0)
        self.sums, self.since, self.line = None, 0, None  # metrics since the last line, and a line to be written
        self.streak: Any = None  # a _Streak after the first iteration

    def run(self, state: State, key: Array, start: int, feed: "_TimedFeed") -> None:
        """Iterates from `start` to the last iteration."""
        impl = jax.random.key_impl(key)
        key_data = parallel.replicate(jax.random.key_data(key))

        def keyed_step(state, batch, key_data):
            """Takes the key as numbers: a typed one would pass through the host in each of several processes."""
            after, metrics = self.stage.train_step(state, batch, jax.random.wrap_key_data(key_data, impl=impl))
            return _unless_broken(state, after, metrics), metrics

        train_step, steps = parallel.pmap(keyed_step), self.config.steps
        self.state, self.feed = state, feed
        del state  # the next one takes its memory
        with self.bar(start) as bar, interruptible() as asked:
            for step in range(start + 1, steps + 1):
                batch = next(self.feed)
                with jax.transfer_guard("disallow"):  # dispatching a step moves nothing between host and devices
                    self.state, metrics = train_step(self.state, batch, key_data)
                    self.sums, self.streak = self.add(self.sums, self.streak, metrics, self.state.step)
                    self.since += 1
                bar.update()
                self.write_line(bar)
                if self.due("log_every", step):
                    self.line = _Line(step, self.since, self.sums, self.norms(self.state.params), self.streak)
                    self.sums, self.since = None, 0
                self.draw(step)
                scores = self.score(step, bar)
                stop = self.stop(step, asked)
                if scores or stop or self.due("checkpoint_every", step) or step == steps:
                    self.save(step, scores, bar)
                if step == start + 1 or scores or self.due("pictures_every", step):
                    self.feed.start()  # the first iteration compiles, and these are not training
                if stop and step < steps:
                    raise Interrupted(f"stopped after iteration {step} of {steps}; {self.resumes_from(step)}")
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

    def resumes_from(self, step: int) -> str:
        """Says from where a run that was stopped after this iteration can be resumed."""
        saved = self.checkpoints.latest()
        place = "there" if saved == step else f"iteration {saved}" if saved else "the start"
        return f"the same command resumes from {place}."

    def write_line(self, bar: tqdm) -> None:
        """Writes the line of the log that is due, if there is one."""
        if not self.line:
            return
        step, iterations = self.line.step, self.line.iterations
        values = jax.device_get(self.line._asdict())
        self.line = None
        self.refuse(values["streak"], self.patience)
        sums, norms = values["sums"], {name: float(norm) for name, norm in values["norms"].items()}
        skipped = int(sums.pop("skipped"))
        means = {name: float(total) / (iterations - skipped) for name, total in sums.items() if skipped < iterations}
        if skipped and processes.is_first():
            bar.write(f"{self.name} {step}: {skipped} of {iterations} iterations were not finite and are skipped.")
        schedules = {name: float(schedule(step - 1)) for name, schedule in self.stage.schedules.items()}
        self.log.scalars(
            step, means | {"skipped": float(skipped)} | norms | schedules | self.feed.reading() | _memory()
        )
        bar.set_postfix_str(_postfix(means | self.feed.last))

    def draw(self, step: int) -> None:
        """Writes pictures if they are due."""
        if self.sample is None or not processes.is_first() or not self.due("pictures_every", step):
            return
        sources = jax.device_get(denormalise(self.sample))
        for name, grid in self.pictures(self.state, self.sample).items():
            self.log.picture(step, name, picture_grid(jax.device_get(grid), sources, f"{name}, iteration {step:,}"))

    def score(self, step: int, bar: tqdm) -> dict[str, float]:
        """Scores the state on validation identities if that is due and the iteration was not skipped."""
        if not self.evaluate or not self.due("evaluate_every", step) or self.is_skipped(step, bar):
            return {}
        self.checkpoints.check(step, self.state)
        scores = self.evaluate(self.state)
        self.log.scalars(step, scores)
        if processes.is_first():
            bar.write(f"{self.name} {step}: " + _postfix(scores))
        return scores

    def save(self, step: int, scores: dict[str, float], bar: tqdm) -> None:
        """Saves the state if the iteration was not skipped. Training has then survived an earlier divergence."""
        if self.is_skipped(step, bar):
            return
        self.checkpoints.save(step, self.state, scores.get("val/mAP"))
        if processes.is_first():
            with writing(self.directory / DIVERGED):
                (self.directory / DIVERGED).unlink(missing_ok=True)

    def is_skipped(self, step: int, bar: tqdm) -> bool:
        """Says whether this iteration was skipped, after a check of all up to now. The last one must not be."""
        self.write_line(bar)
        streak = jax.device_get(self.streak)
        self.refuse(streak, 1 if step == self.config.steps else self.patience)
        return bool(streak.count)

    def refuse(self, streak: _Streak, patience: int) -> None:
        """Raises if that many iterations in a row were skipped."""
        if streak.count < patience:
            return
        broken = sorted((name for name, is_broken in streak.broken.items() if is_broken), key=_order)
        count, first = int(streak.count), int(streak.first)
        rows = "it was skipped" if count == 1 else f"the {count} iterations from there were skipped"
        verb = "is" if len(broken) == 1 else "are"
        raise _Diverged(f"{', '.join(broken)} {verb} not finite at iteration {first}, and {rows}", first)


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


def _broken(metrics: dict[str, Array]) -> dict[str, Array]:
    """Returns by name which metrics are not finite."""
    return {name: ~jnp.all(jnp.isfinite(value)) for name, value in metrics.items()}


def _any(flags: dict[str, Array]) -> Array:
    return jnp.any(jnp.stack(list(flags.values())))


def _unless_broken(before: State, after: State, metrics: dict[str, Array]) -> State:
    """Returns the state after an iteration; if a metric is not finite, the one before with the new number."""
    is_broken = _any(_broken(metrics))
    kept = jax.tree.map(lambda old, new: jnp.where(is_broken, old, new), before, after)
    return dataclasses.replace(kept, step=after.step)


def _add(
    sums: dict[str, Array] | None, streak: _Streak | None, metrics: dict[str, Array], step: Array, patience: int
) -> tuple[dict[str, Array], _Streak]:
    """Adds the metrics of iteration `step`: zeros, and one for `skipped`, if one of them is not finite."""
    broken = _broken(metrics)
    skip = _any(broken)
    values = {name: jnp.where(skip, 0, value) for name, value in metrics.items()} | {"skipped": jnp.int32(skip)}
    if sums is not None:
        values = jax.tree.map(jnp.add, sums, values)
    if streak is None:
        streak = _Streak(jnp.int32(0), jnp.int32(0), {name: jnp.bool(False) for name in broken})
    begins = skip & (streak.count == 0)
    longer = _Streak(
        jnp.where(skip, streak.count + 1, 0),
        jnp.where(begins, step, streak.first),
        {name: jnp.where(begins, broken[name], was) for name, was in streak.broken.items()},
    )
    is_full = streak.count >= patience
    return values, jax.tree.map(lambda old, new: jnp.where(is_full, old, new), streak, longer)


def _explained(
    error: NotFiniteError,
    loop: _Loop,
    images: Callable[[int], Sequence[str]] | None,
    replayed: Callable[[int], str] | None,
) -> NotFiniteError:
    """Says what happened, what the user can do, and which images are concerned, and writes it into `DIVERGED`."""
    sentence = str(error)
    if isinstance(error, _Diverged):
        checkpoints, first = loop.checkpoints, error.first
        latest = checkpoints.latest()
        if latest is not None and latest == first - 1 and not checkpoints.is_scored(latest):
            checkpoints.leave_out(latest)
            sentence += f"; the checkpoint of iteration {latest} leads there at once and is renamed to {latest}.damaged"
        sentence += f"; {checkpoints.way_out()}"
        if images:
            sentence += f" The images of iteration {first}: {', '.join(images(first - 1))}."
        if replayed:
            sentence += f" Replayed: {replayed(first)}."
    if processes.is_first():
        with suppress(UserError):  # of a full disk; this error counts more
            write_json(loop.directory / DIVERGED, {"message": sentence})
    return NotFiniteError(sentence)


def _replayed(loop: _Loop, batches: Callable[[int], Iterator[dict]], key: Array, first: int) -> str:
    """Returns what gave the numbers that are not finite in iteration `first`; the state has not changed since."""
    before = dataclasses.replace(loop.state, step=jnp.int32(first - 1))
    return replay.not_finite_operation(loop.stage, before, next(batches(first - 1)), key)


def _order(name: str) -> tuple[bool, bool, str]:
    """Sorts metrics: losses, their total, norms of gradients."""
    return name.startswith("gradient_norm/"), name == "L_total", name


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
