"""Kills, damages and starves trainings at random moments, resumes them, and compares how they end.

    make chaos
    python -m tests.reliability.chaos --seed 7 --json runs/chaos.json

Two small recipes that have all kinds of stages are trained without a fault, and then with many: SIGKILL while people
are drawn, while images are prepared, while the program starts, in the training of every stage and while it saves a
checkpoint; Ctrl-C and SIGTERM; a full disk; two programs in one folder; damage to the newest checkpoint and to the log.
After each fault the same command is given again. The ends must be equal bit for bit, no program may print a traceback
or hang, and one that cannot continue must end with one sentence. The exit status is 1 if anything failed.

The disk is a small tmpfs for root, and a limit on the size of files for other users. Linux only.
"""

import argparse
import itertools
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.machine import keep, machine, versions
from rgbir_jax.commands import STOPPED
from tests.reliability.ends import differences, end_of
from tests.reliability.faults import DAMAGES, Disk, small_disk
from tests.reliability.program import Program, newest
from tests.reliability.recipe import SAVES, STEPS, SYSTEMS
from tests.reliability.tally import Tally

RECIPE = "tests/reliability/recipe.py"
PEOPLE = ["--train", "6", "--val", "4", "--test", "5", "--images", "2", "--size", "64", "32"]
PICTURES = 156  # of these people
EACH = {"starting": 1, "training": 2, "saving": 2, "stopping": 1, "full": 1}  # faults of each stage
ONCE = ("preparing memory", "two", "preparing tf_data")  # faults of each recipe: at the start, amid it, at the end
MOST_LOST = 2  # save intervals: that since the last checkpoint, and one more if that was still being written
STOPPING = "Ctrl-C or SIGTERM in training"
EXIT_STATUS = {STOPPING: STOPPED}  # exit status of a program that ends with one sentence, if it is not 1
DAMAGED = 0.5  # the share of faults after which something is also damaged


class Journey:
    """One run, from fault to fault.

    Args:
        system: the recipe, one of `SYSTEMS`.
        tree: the dataset.
        disk: the disk of the run's folder.
        scratch: a folder for everything else.
        random: draws moments and damages.
        tally: counts.
    """

    def __init__(self, system: str, tree: Path, disk: Disk, scratch: Path, random: Random, tally: Tally):
        self.system, self.tree, self.disk, self.scratch = system, tree, disk, scratch
        self.random, self.tally = random, tally
        self.stages = SYSTEMS[system]
        self.workdir = disk.folder / system
        self.source, self.prepared = "memory", scratch / "prepared"
        self.numbers = itertools.count()
        self.damages = itertools.cycle(random.sample(sorted(DAMAGES), len(DAMAGES)))
        self.damaged: tuple[str, str, int] | None = None  # (kind, stage, its newest checkpoint) until training resumes
        self.newest: dict[str, int] = {}  # checkpoint of each stage before the last start
        self.seconds = 0.0  # until a start has trained an iteration

    def start(self) -> Program:
        """Gives the command of the run."""
        arguments = [
            "train.py", f"--config={RECIPE}:{self.system}", f"--workdir={self.workdir}",
            f"--config.data_dir={self.tree}", f"--config.prepared_dir={self.prepared}",
            f"--config.source={self.source}",
        ]  # fmt: skip
        self.newest = {stage: newest(self.workdir / stage) for stage in self.stages}
        output = self.scratch / f"{self.system}_{next(self.numbers)}.txt"
        environment = {"JAX_COMPILATION_CACHE_DIR": str(self.scratch / "compiled")}
        return Program(arguments, self.workdir, self.stages, output, environment)

    def finish(self) -> None:
        """Trains to the end; at most one start may have to ask for something."""
        for _ in range(2):
            program = self.start()
            program.wait_until(partial(program.reached, self.stages[0], 0))
            self.seconds = time.time() - program.begun
            program.end()
            self.close("finishing", program)
            if program.process.returncode == 0:
                return
        self.tally.fail(f"{self.system} cannot be finished: {program.text()[-1000:]}")

    # ---------------------------------------------------------------- faults; each returns whether it took effect

    def starting(self, stage: str) -> bool:
        """Kills a start at any moment of it."""
        program, seconds = self.start(), self.random.uniform(0.1, self.seconds)
        program.wait_until(partial(program.ran, seconds))
        return self.killed("SIGKILL while it starts", program)

    def training(self, stage: str) -> bool:
        """Kills in the training of a stage."""
        program = self.start()
        self.wait_for_iteration(program, stage)
        return self.killed("SIGKILL in training", program)

    def saving(self, stage: str) -> bool:
        """Kills while a checkpoint is being written."""
        program = self.start()
        self.wait_for_iteration(program, stage)
        program.wait_until(program.saving)
        time.sleep(self.random.uniform(0, 0.03))
        return self.killed("SIGKILL while it saves", program)

    def stopping(self, stage: str) -> bool:
        """Asks it to stop, as Ctrl-C or a batch system does."""
        program = self.start()
        self.wait_for_iteration(program, stage)
        number = self.random.choice((signal.SIGINT, signal.SIGTERM))
        return self.killed(STOPPING, program, number)

    def full(self, stage: str) -> bool:
        """Lets the disk be full, from the start or at any moment."""
        program = self.start()
        if self.random.random() < 0.7:
            self.wait_for_iteration(program, stage)
        self.disk.fill(self.random.randrange(1_000_000), program.process)
        program.end()
        self.disk.make_room()
        return self.close("disk full", program)

    def two(self, stage: str) -> bool:
        """Gives the command twice at once: one of the two must be refused, and the other one is killed later."""
        both = [self.start(), self.start()]
        both[0].wait_until(lambda: both[1].process.poll() is not None)
        both.sort(key=lambda program: program.process.poll() is None)
        refused, other = both
        if not any("is being trained by" in sentence for sentence in refused.sentences()):
            self.tally.fail(f"of two programs in {self.workdir} none was refused: {refused.text()[-500:]}")
        self.close("two programs in one folder", refused)
        self.wait_for_iteration(other, stage)
        return self.killed("SIGKILL in training", other)

    def preparing(self, source: str, stage: str) -> bool:
        """Kills while images are prepared."""
        self.source, self.prepared = source, self.scratch / f"prepared_{self.system}_{source}"
        program = self.start()
        program.wait_until(lambda: any(re.search("unfinished|incomplete", str(p)) for p in self.prepared.rglob("*")))
        time.sleep(self.random.uniform(0, 0.05))
        return self.killed("SIGKILL while images are prepared", program)

    # ---------------------------------------------------------------- what follows a fault

    def wait_for_iteration(self, program: Program, stage: str) -> None:
        """Waits for a random iteration of a stage, and a moment longer."""
        step = self.random.randrange(STEPS[stage] - STEPS[stage] // SAVES)
        program.wait_until(lambda: program.reached(stage, step))
        time.sleep(self.random.uniform(0, 0.1))

    def killed(self, kind: str, program: Program, number: int = signal.SIGKILL) -> bool:
        """Ends a program by a signal, and may damage what it has written."""
        program.kill(number)
        took_effect = self.close(kind, program)
        if took_effect and self.random.random() < DAMAGED:
            self.damage(next(self.damages))
        return took_effect

    def damage(self, kind: str) -> None:
        """Damages the newest checkpoint of the last stage that has one, or its log."""
        begun = [stage for stage in self.stages if newest(self.workdir / stage)]
        if not begun or self.damaged:
            return
        step = newest(self.workdir / begun[-1])
        DAMAGES[kind](self.random, self.workdir / begun[-1] / "checkpoints" / str(step))
        self.tally.fault(kind)
        self.damaged = kind, begun[-1], step

    def close(self, kind: str, program: Program) -> bool:
        """Counts how a program ended. Returns whether the fault took effect."""
        code, row = program.process.returncode, self.tally.row(kind)
        trained = [stage for stage in self.stages if program.logged(stage)]
        if trained:
            self.settle(trained[0], program.logged(trained[0])[0] - 1)
        if trained or code == 0:
            self.tally.recovered()
        if "Traceback" in program.text():
            row.tracebacks += 1
            self.tally.fail(f"{kind}: a traceback: {program.text()[-2000:]}")
        elif code not in (0, -signal.SIGKILL) and (code, len(program.sentences())) != (EXIT_STATUS.get(kind, 1), 1):
            self.tally.fail(
                f"{kind}: exit code {code}, and {len(program.sentences())} sentences: {program.text()[-2000:]}"
            )
        row.refusals += len(program.sentences())
        self.tally.sentences.update(program.sentences())
        if code == 0 or self.follow_advice(program):
            row.missed += code == 0 and kind != "finishing"
            return False
        last = trained[-1] if trained else None
        lost = intervals(last, program.last(last) - newest(self.workdir / last)) if last else 0.0
        if lost > MOST_LOST:
            self.tally.fail(f"{kind}: {lost} save intervals of {last} are lost")
        self.tally.fault(kind, lost)
        print(f"{self.system}, {last or 'before training'}: {kind}", flush=True)
        return True

    def settle(self, stage: str, start: int) -> None:
        """Counts what a damage has cost, once a program trains from iteration `start`; without one, nothing may be."""
        if self.damaged:
            kind, damaged, step = self.damaged
            self.tally.row(kind).lost.append(intervals(stage, step - start) if damaged == stage else 0.0)
            self.damaged = None
        elif start != self.newest[stage]:
            self.tally.fail(f"{stage} was resumed from iteration {start}, although {self.newest[stage]} was saved")

    def follow_advice(self, program: Program) -> bool:
        """Deletes what a sentence says is to be deleted."""
        advice = re.search(rf"delete ({self.workdir}/\w+) and train this stage again", program.text())
        if not advice or not self.damaged:
            return False
        kind, stage, step = self.damaged
        self.tally.row(kind).lost.append(intervals(stage, step))
        self.damaged = None
        shutil.rmtree(advice[1])
        return True


def intervals(stage: str, steps: int) -> float:
    """Returns how many intervals between two checkpoints so many iterations of a stage are; 0 for a negative number."""
    return round(max(steps, 0) / (STEPS[stage] // SAVES), 2)


def plan(random: Random, stages: tuple[str, ...], only: list[str]) -> list[tuple[str, str]]:
    """Draws the order of the faults: (kind, stage)."""
    faults = [("preparing memory", stages[0])]
    for stage in stages:
        kinds = [kind for kind, times in EACH.items() for _ in range(times)]
        kinds += ["two"] * (stage == stages[-1])
        faults += [(kind, stage) for kind in random.sample(kinds, len(kinds))]
    faults.append(("preparing tf_data", stages[-1]))
    return [fault for fault in faults if not only or fault[0].split()[0] in only]


def travel(journey: Journey, faults: list[tuple[str, str]], reference: dict) -> None:
    """Trains with these faults, resumes to the end and compares it."""
    for kind, stage in faults:
        name, *rest = kind.split()
        fault: Callable[[str], bool] = partial(getattr(journey, name), *rest)
        any(fault(stage) for _ in range(2))  # a second time if a refusal came first
    journey.finish()
    tally, files = journey.tally, [*journey.workdir.rglob("*"), *journey.scratch.glob("prepared*/**/*")]
    tally.left += [path.name for path in files if re.search("unfinished|incomplete|checkpoint-tmp", path.name)]
    for difference in differences(reference, end_of(journey.workdir)):
        tally.fail(f"{journey.system} ends otherwise: {difference}")


def draw(tree: Path, kills: int, random: Random, tally: Tally, scratch: Path) -> dict[str, bytes]:
    """Draws the people, with SIGKILLs after random numbers of pictures. Returns the content of all files."""

    def start() -> Program:
        return Program(["-m", "rgbir_jax.synthetic", f"--out={tree}", *PEOPLE], tree, (), scratch / "drawing.txt", {})

    def drawn() -> int:
        return len(list(tree.glob("cam*/*/*.jpg")))

    def kill_after(pictures: int) -> bool:
        program = start()
        in_time = program.wait_until(lambda: tree.is_dir() and drawn() >= pictures)
        program.kill()
        return in_time

    for _ in range(kills):
        before = drawn()
        if kill_after(before + random.randrange((PICTURES - before) // 2)):
            tally.fault("SIGKILL while people are drawn")
    program = start()
    if program.end():
        tally.fail(f"people cannot be drawn: {program.text()[-1000:]}")
    elif drawn() != PICTURES:
        tally.fail(f"{drawn()} pictures were drawn, not {PICTURES}")
    tally.recovered()
    return {str(path.relative_to(tree)): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of moments and damages")
    parser.add_argument("--systems", nargs="+", choices=tuple(SYSTEMS), default=["image", "embedding"])
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help=f"{', '.join(EACH)}, preparing or two")
    parser.add_argument("--drawing", type=int, default=3, help="kills of the program that draws people")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments, begun, tally = parse(argv), time.time(), Tally()
    random = Random(arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as scratch, small_disk(Path(scratch, "disk")) as disk:
        scratch, tree = Path(scratch), Path(scratch, "tree")
        drawn = draw(tree, arguments.drawing, random, tally, scratch)
        if arguments.drawing and draw(scratch / "undisturbed", 0, random, tally, scratch) != drawn:
            tally.fail("people that were drawn with interruptions differ")
        for system in arguments.systems:
            journey = Journey(system, tree, disk, scratch, random, tally)
            journey.finish()
            reference = end_of(journey.workdir)
            shutil.rmtree(journey.workdir)
            travel(journey, plan(random, journey.stages, arguments.only), reference)
    figures = {
        "command": f"python -m tests.reliability.chaos --seed {arguments.seed}",
        "date": time.strftime("%Y-%m-%d"),
        "minutes": round((time.time() - begun) / 60, 1),
        "disk": disk.kind,
        "machine": machine(),
        "versions": versions("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    } | tally.content()
    print(tally.table())
    print("; ".join(str(figures[name]) for name in ("command", "date", "disk", "machine", "versions")))
    print(f"{figures['minutes']} minutes, {len(tally.failures)} failures, {len(tally.left)} unfinished files are left.")
    keep(arguments.json, figures)
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main())
