"""The training loop: one for the float network and for the quantized one.

Everything random in step ``k`` is drawn from ``default_rng([seed, k])``, so a run that was killed and resumed
from its checkpoint takes the very steps that it would have taken.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from taran_eo.errors import ConfigError, DivergedError, WidthError
from taran_eo.nn.fracbits import FracBits
from taran_eo.nn.learned_bits import LearnedBits, Widths
from taran_eo.nn.quantized import QuantizedNetwork
from taran_eo.nn.quantized_modules import QuantizedModules
from taran_eo.nn.quantizer import Quantizer
from taran_eo.nn.rounding import compile_kernels
from taran_eo.nn.scales import Scale
from taran_eo.provenance import Environment, environment
from taran_eo.train.recipe import Recipe, Schedule
from taran_eo.train.task import Task

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
WIDTHS = "widths.csv"
"""The real widths of a network whose bits are learned, after each probe; or those that were chosen before, once."""

LEARNED: dict[str, type[LearnedBits] | type[FracBits]] = {"adaqat": LearnedBits, "fracbits": FracBits}
"""Methods of `[bits]` that go on through the training; the others choose before it."""

CHECKPOINT_EVERY = 200
LOG_EVERY = 20
WORTH_COMPILING = 50
"""Steps from which a quantized run gains more by compiled kernels than compiling takes."""


@dataclass(frozen=True)
class Progress:
    """What the loop reports after a step.

    Attributes:
        step: Steps done.
        steps: Steps of the run.
        loss: Loss of this step.
        learning_rate: Rate of this step.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float


def learning_rate(step: int, schedule: Schedule) -> float:
    """One cycle: a linear rise over the warm-up, then a cosine down to a hundredth of the peak."""
    rise = max(1, round(schedule.steps * schedule.warmup))
    if step < rise:
        return schedule.learning_rate * (step + 1) / rise
    fall = (step - rise) / max(1, schedule.steps - rise)
    return schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


@dataclass(frozen=True)
class Teacher:
    """A float network whose answers are learned beside the labels.

    Attributes:
        network: In evaluation mode.
        weight: Its share of the loss.
    """

    network: nn.Module
    weight: float


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters for the optimizer; what is learned of scales may have a rate of its own, and need not decay."""
    scales = [each.log2 for each in network.modules() if isinstance(each, Scale) and each.log2.requires_grad]
    steady = [
        parameter
        for each in network.modules()
        if isinstance(each, Quantizer) and not each.decays
        for parameter in each.parameters()
    ]
    known = {id(each) for each in (*scales, *steady)}
    groups: list[dict[str, Any]] = [{"params": [each for each in network.parameters() if id(each) not in known]}]
    if steady:
        groups.append({"params": steady, "weight_decay": 0.0})
    if scales and recipe.quantization is not None:
        groups.append({"params": scales, "weight_decay": 0.0, "rate": recipe.quantization.scale_rate})
    return groups


def train(
    network: nn.Module,
    task: Task[Any],
    recipe: Recipe,
    folder: Path,
    report: Callable[[Progress], None],
    *,
    resume: bool,
    teacher: Teacher | None = None,
) -> tuple[nn.Module, tuple[Environment, ...]]:
    """Train a network as a recipe says.

    Args:
        network: What to train; its parameters are changed in place.
        task: Draws the batches, and says what they cost.
        recipe: The run.
        folder: Where the checkpoint, ``log.csv`` and the TensorBoard log go.
        report: Called after each step.
        resume: Go on from the checkpoint in `folder`, if there is one, else start.
        teacher: What is learned beside the labels.

    Returns:
        The running average of the network over the run, on the CPU, in evaluation mode; and where it was trained.

    Raises:
        ConfigError: The checkpoint is damaged or belongs to another recipe.
        DivergedError: The loss or its gradient is no longer finite.
    """
    schedule = recipe.schedule
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
    groups = _groups(network, recipe)
    optimizer = _optimizer(groups, schedule)
    if teacher is not None:
        teacher.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(network, QuantizedNetwork | QuantizedModules) and schedule.steps >= WORTH_COMPILING:
        compile_kernels()
    bits = _bits(network, average.module, recipe)
    state = _State(recipe.name, recipe.identity(), network, average, optimizer, task, bits)
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        (folder / CHECKPOINT).unlink(missing_ok=True)  # a run begun anew and killed must not go on from the old one
    start = state.restore(folder)
    if start < schedule.steps and (here := environment()) not in state.environments:
        state.environments.append(here)
    # What a killed run logged after its checkpoint is done again, and must not stand there twice.
    logged = [row for row in _logged(folder / LOG) if int(row[0]) <= start]
    with SummaryWriter(str(folder), purge_step=start + 1) as board, (folder / LOG).open("w", newline="") as file:
        log = csv.writer(file)
        log.writerows([["step", "loss", "learning_rate"], *logged])
        file.flush()  # killed before the first new line, the old ones must not be lost
        network.train()
        for step in range(start, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, schedule) * group.get("rate", 1.0)
            torch.manual_seed(recipe.seed + step)  # for dropout, so that a run that goes on draws what it would have
            batch = task.batch(step)
            # Before the network, whose formats it may mix.
            penalty = None if bits is None else bits.before(step, schedule.steps)
            lesson = Lesson(task, batch.pixels.to(device), batch.truth.to(device), teacher, schedule)
            loss, each = lesson.loss(network)
            optimizer.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            slope = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            if not torch.isfinite(loss + slope):
                raise DivergedError(
                    f"The loss of {recipe.name!r} became {loss.item()}, and its gradient {slope.item()}, "
                    f"in step {step + 1}",
                    remedy="Lower schedule.learning_rate; the last checkpoint is from before",
                )
            if bits is not None:
                try:
                    bits.after(step, schedule.steps, partial(lesson.probe, network))
                except WidthError:
                    state.save(folder, step)
                    write_widths(folder / WIDTHS, bits)
                    raise
            optimizer.step()
            average.update_parameters(network)
            task.learn(batch, each)
            done = Progress(step + 1, schedule.steps, loss.item(), learning_rate(step, schedule))
            report(done)
            if done.step % LOG_EVERY == 0:
                log.writerow([done.step, f"{done.loss:.5f}", f"{done.learning_rate:.3e}"])
                file.flush()
                board.add_scalar("loss", done.loss, done.step)
                board.add_scalar("learning_rate", done.learning_rate, done.step)
            if done.step % CHECKPOINT_EVERY == 0 or done.step == schedule.steps:
                state.save(folder, done.step)
                if bits is not None:
                    write_widths(folder / WIDTHS, bits)
    kept: nn.Module = average.module
    return kept.cpu().eval(), tuple(state.environments)


def _optimizer(groups: list[dict[str, Any]], schedule: Schedule) -> torch.optim.Optimizer:
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.momentum is None:
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
    return torch.optim.SGD(groups, lr=rate, momentum=schedule.momentum, nesterov=True, weight_decay=decay)


def _bits(network: nn.Module, average: nn.Module, recipe: Recipe) -> LearnedBits | FracBits | None:
    if recipe.bits is None or recipe.bits.method not in LEARNED:
        return None
    assert isinstance(network, QuantizedNetwork | QuantizedModules)  # noqa: S101 - asked by the recipe
    assert isinstance(average, QuantizedNetwork | QuantizedModules)  # noqa: S101 - a copy of it
    method = LEARNED[recipe.bits.method]
    return method(network.layers(), recipe.bits, fixed=network.fixed(), followers=[average.layers()])


class Lesson:
    """What one step learns from."""

    def __init__(self, task: Task[Any], pixels: Tensor, truth: Tensor, teacher: Teacher | None, how: Schedule) -> None:
        self.task, self.pixels, self.truth, self.teacher, self.how = task, pixels, truth, teacher, how
        with torch.no_grad(), self._precision():
            self.said = None if teacher is None else teacher.network(pixels).float()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.pixels.device.type, torch.bfloat16, enabled=self.how.precision == "bf16")

    def loss(self, network: nn.Module, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """The loss of the first share of the batch, and that of each example without the teacher."""
        part = slice(max(1, round(share * len(self.pixels))))
        with self._precision():
            logits = network(self.pixels[part]).float()
        loss, each = self.task.loss(logits, self.truth[part])
        if self.teacher is not None and self.said is not None:
            weight = self.teacher.weight
            loss = (1 - weight) * loss + weight * self.task.taught(logits, self.said[part])
        return loss, each

    def probe(self, network: nn.Module, share: float) -> float:
        """That loss without a gradient, as in evaluation: batch norms neither see nor keep the batch."""
        training = network.training
        network.eval()
        with torch.no_grad():
            loss = self.loss(network, share)[0].item()
        network.train(training)
        return loss


def write_widths(path: Path, bits: Widths) -> None:
    """Write the real widths, a line for each probe."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "cost", *bits.names])
        rows.writerows([f"{value:g}" for value in line] for line in bits.trace)
    unfinished.replace(path)


def _logged(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row and row[0].isdigit()]


@dataclass(frozen=True)
class _State:
    """Everything that a run must remember to go on."""

    name: str
    identity: str
    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    task: Task[Any]
    bits: LearnedBits | FracBits | None
    environments: list[Environment] = field(default_factory=list)

    def save(self, folder: Path, step: int) -> None:
        state = {
            "identity": self.identity,
            "environments": [asdict(each) for each in self.environments],
            "step": step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "task": self.task.remember(),
            "bits": None if self.bits is None else self.bits.remember(),
        }
        # A kill while saving must leave the checkpoint before it whole.
        unfinished = folder / (CHECKPOINT + ".part")
        torch.save(state, unfinished)
        unfinished.replace(folder / CHECKPOINT)

    def restore(self, folder: Path) -> int:
        """Take up the checkpoint of a folder, returning its step, or 0 where there is none."""
        path = folder / CHECKPOINT
        if not path.exists():
            return 0
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            raise ConfigError(
                f"The checkpoint {path} cannot be read ({type(error).__name__})",
                remedy="Restore it, or begin anew with --restart",
                path=path,
            ) from error
        if state.get("identity") != self.identity:
            raise ConfigError(
                f"The checkpoint {path} was made by another recipe, or from other masks or weights, than "
                f"{self.name!r} as it stands now",
                remedy="Restore the recipe, train into another folder, or begin anew with --restart",
                path=path,
            )
        self.environments.extend(Environment(**each) for each in state["environments"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.task.recall(state["task"])
        if self.bits is not None:
            self.bits.recall(state["bits"])
        return int(state["step"])
