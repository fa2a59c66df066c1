"""Widths chosen between calibration and training, on batches of the training data."""

from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from taran_eo.nn.allocation import settle
from taran_eo.nn.greedy import measured
from taran_eo.nn.hessian import estimated
from taran_eo.nn.learned_bits import Learning, Widths
from taran_eo.nn.quantized import QuantizedNetwork
from taran_eo.nn.quantized_modules import QuantizedModules
from taran_eo.train.loop import WIDTHS, Lesson, Teacher, write_widths
from taran_eo.train.pictures import CALIBRATION_STEP
from taran_eo.train.recipe import Recipe
from taran_eo.train.task import Task


def choose_bits(
    network: QuantizedNetwork | QuantizedModules,
    plain: nn.Module,
    task: Task[Any],
    recipe: Recipe,
    how: Learning,
    folder: Path,
    teacher: Teacher | None,
) -> None:
    """Give a calibrated network the widths that ``greedy`` or ``hessian`` choose, and leave ``widths.csv``.

    Args:
        network: On the CPU, where it is left, in evaluation mode.
        plain: The float network that it was made of.
        task: Draws the batches, and says what they cost.
        recipe: The run.
        how: Its table of bits.
        folder: Where the widths are written.
        teacher: What is learned beside the labels.

    Raises:
        WidthError: The target is out of reach, or the method does not know this kind of network.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The second derivatives would drown in the steps of bfloat16.
    precision = "float32" if how.method == "hessian" else recipe.schedule.precision
    schedule = recipe.schedule.model_copy(update={"precision": precision})
    if teacher is not None:
        teacher.network.to(device)
    # With the statistics of a batch, norms undo much of what rounding does, and the rest is lost in chance: the losses
    # of ResNet-20 with one layer of 2 bits rose by nothing that two batches agreed on, and by 0.03 to 0.7 without.
    network.to(device).eval()
    widths = Widths(network.layers(), how, fixed=network.fixed())
    lessons = []
    for number in range(how.batches):
        batch = task.batch(CALIBRATION_STEP + number)
        lessons.append(Lesson(task, batch.pixels.to(device), batch.truth.to(device), teacher, schedule))
    if how.method == "greedy":
        sensitivities = measured(widths, lambda: fmean(lesson.probe(network, 1.0) for lesson in lessons))
    else:
        losses = [lambda float_network, lesson=lesson: lesson.loss(float_network)[0] for lesson in lessons]
        sensitivities = estimated(widths, plain.to(device).eval(), losses)
    settle(widths, sensitivities)
    network.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    write_widths(folder / WIDTHS, widths)
