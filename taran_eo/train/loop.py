"""The training loop: one for the float network and for the quantized one.

Everything random in step ``k`` is drawn from ``default_rng([seed, k])``, so a run that was killed and resumed
from its checkpoint takes the very steps that it would have taken.
"""

import csv
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from taran_eo.errors import ConfigError, DivergedError
from taran_eo.nn.quantized import QuantizedNetwork
from taran_eo.nn.rounding import compile_kernels
from taran_eo.nn.scales import Scale
from taran_eo.provenance import Environment, environment
from taran_eo.train.augment import augment, paste
from taran_eo.train.data import Crop, Pool, cut
from taran_eo.train.losses import SegmentationLoss
from taran_eo.train.recipe import Recipe, Schedule

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
CHECKPOINT_EVERY = 200
LOG_EVERY = 20
DIFFICULTY_MEMORY = 0.7
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


class Sampler:
    """Draws batches of crops from the pools of a recipe."""

    def __init__(self, recipe: Recipe, found: list[Pool]) -> None:
        self.recipe = recipe
        self.pools = found
        shares = np.array([pool.share for pool in found])
        self.shares = shares / shares.sum()
        self.donors = [pool for pool in found if pool.on_ships and pool.paste]

    def crop(self, rng: np.random.Generator) -> Crop:
        """Draw one augmented crop."""
        size = self.recipe.schedule.crop
        number = int(rng.choice(len(self.pools), p=self.shares))
        pool = self.pools[number]
        index = pool.draw(rng)
        pixels, mask = cut(pool.images[index], size, rng, on_ship=pool.on_ships)
        if self.donors and not mask.any() and rng.random() < self.recipe.augmentation.paste:
            donors = self.donors[int(rng.integers(len(self.donors)))]
            pixels, mask = paste(pixels, mask, *cut(donors.images[donors.draw(rng)], size, rng, on_ship=True), rng)
        pixels, mask = augment(pixels, mask, self.recipe.augmentation, rng)
        return Crop(pixels, mask, number, index)

    def batch(self, step: int) -> list[Crop]:
        """The crops of step `step`; depends on nothing but the recipe, the step and the difficulties."""
        rng = np.random.default_rng([self.recipe.seed, step])
        return [self.crop(rng) for _ in range(self.recipe.schedule.batch)]

    def learn(self, crops: list[Crop], losses: list[float]) -> None:
        """Draw empty images that were hard more often: the false alarms of today are the batch of tomorrow."""
        strength = self.recipe.schedule.hard_negatives
        for crop, loss in zip(crops, losses, strict=True):
            pool = self.pools[crop.pool]
            if not pool.on_ships and not crop.mask.any():
                hard = 1.0 + strength * min(100.0 * loss, 10.0)
                kept = DIFFICULTY_MEMORY * pool.difficulty[crop.index]
                pool.difficulty[crop.index] = kept + (1 - DIFFICULTY_MEMORY) * hard


def in_cells(truth: Tensor, logits: Tensor) -> Tensor:
    """The truth ``[n, 1, rows, cols]`` for logits that may be coarser: a cell is ship where any of its pixels is."""
    cell = truth.shape[-1] // logits.shape[-1]
    return truth if cell == 1 else nn.functional.max_pool2d(truth, cell)


def tensors(crops: list[Crop], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack crops into ``float32[n, 3, rows, cols]`` pixels and ``float32[n, 1, rows, cols]`` truth."""
    pixels = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)
    truth = torch.from_numpy(np.stack([crop.mask for crop in crops]))[:, None]
    return pixels.to(device).float().contiguous(memory_format=torch.channels_last), truth.to(device).float()


@dataclass(frozen=True)
class Teacher:
    """A float network whose probabilities are learned beside the labels.

    Attributes:
        network: In evaluation mode.
        weight: Its share of the loss.
    """

    network: nn.Module
    weight: float

    def loss(self, pixels: Tensor, logits: Tensor) -> Tensor:
        """Cross entropy with the teacher's probabilities; least where both say the same."""
        with torch.no_grad():
            taught = self.network(pixels).float().sigmoid()
        return nn.functional.binary_cross_entropy_with_logits(logits, in_cells(taught, logits))


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters for the optimizer; learned scales have a rate of their own and do not decay."""
    scales = [each.log2 for each in network.modules() if isinstance(each, Scale) and each.log2.requires_grad]
    known = {id(scale) for scale in scales}
    groups: list[dict[str, Any]] = [{"params": [each for each in network.parameters() if id(each) not in known]}]
    if scales and recipe.quantization is not None:
        groups.append({"params": scales, "weight_decay": 0.0, "rate": recipe.quantization.scale_rate})
    return groups


def train(
    network: nn.Module,
    sampler: Sampler,
    folder: Path,
    report: Callable[[Progress], None],
    *,
    resume: bool,
    teacher: Teacher | None = None,
) -> tuple[nn.Module, tuple[Environment, ...]]:
    """Train a network as the recipe of a sampler says.

    Args:
        network: What to train; its parameters are changed in place.
        sampler: Draws the batches.
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
    recipe, schedule = sampler.recipe, sampler.recipe.schedule
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(schedule.average), use_buffers=True)
    groups = _groups(network, recipe)
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    loss_of = SegmentationLoss(schedule)
    if teacher is not None:
        teacher.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(network, QuantizedNetwork) and schedule.steps >= WORTH_COMPILING:
        compile_kernels()
    state = _State(recipe.identity(), network, average, optimizer, sampler)
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
            crops = sampler.batch(step)
            pixels, truth = tensors(crops, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bf16"):
                logits = network(pixels).float()
                taught = None if teacher is None else teacher.loss(pixels, logits)
            loss, each = loss_of(logits, in_cells(truth, logits))
            if teacher is not None and taught is not None:
                loss = (1 - teacher.weight) * loss + teacher.weight * taught
            optimizer.zero_grad()
            loss.backward()
            slope = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            if not torch.isfinite(loss + slope):
                raise DivergedError(
                    f"The loss of {recipe.name!r} became {loss.item()}, and its gradient {slope.item()}, "
                    f"in step {step + 1}",
                    remedy="Lower schedule.learning_rate; the last checkpoint is from before",
                )
            optimizer.step()
            average.update_parameters(network)
            sampler.learn(crops, each.tolist())
            done = Progress(step + 1, schedule.steps, loss.item(), learning_rate(step, schedule))
            report(done)
            if done.step % LOG_EVERY == 0:
                log.writerow([done.step, f"{done.loss:.5f}", f"{done.learning_rate:.3e}"])
                file.flush()
                board.add_scalar("loss", done.loss, done.step)
                board.add_scalar("learning_rate", done.learning_rate, done.step)
            if done.step % CHECKPOINT_EVERY == 0 or done.step == schedule.steps:
                state.save(folder, done.step)
    kept: nn.Module = average.module
    return kept.cpu().eval(), tuple(state.environments)


def _logged(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.reader(file) if row and row[0].isdigit()]


@dataclass(frozen=True)
class _State:
    """Everything that a run must remember to go on."""

    identity: str
    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    sampler: Sampler
    environments: list[Environment] = field(default_factory=list)

    def save(self, folder: Path, step: int) -> None:
        state = {
            "identity": self.identity,
            "environments": [asdict(each) for each in self.environments],
            "step": step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "difficulty": [torch.from_numpy(pool.difficulty) for pool in self.sampler.pools],
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
                f"{self.sampler.recipe.name!r} as it stands now",
                remedy="Restore the recipe, train into another folder, or begin anew with --restart",
                path=path,
            )
        self.environments.extend(Environment(**each) for each in state["environments"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for pool, difficulty in zip(self.sampler.pools, state["difficulty"], strict=True):
            pool.difficulty = difficulty.numpy()
        return int(state["step"])
