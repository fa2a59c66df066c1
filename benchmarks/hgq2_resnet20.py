"""HGQ2 on the task of pipelines/study_adaqat.toml: ResNet-20 on CIFAR-10 with learned widths, one for each weight.

Usage: .venv-hgq2/bin/python benchmarks/hgq2_resnet20.py [ROW ...]

A row goes on from the float network of `pipelines/train_resnet20.toml` with the pictures, their order, the steps and
the rate of `pipelines/further_resnet20.toml`, as ours do, and is scored on the same pictures. HGQ2 has no target: it is
steered to that of our rows by its weight of the cost, over the first half of the steps. All of its layers are learned,
the first and the last too. A killed row goes on from its last checkpoint; what is done is not done again.
Writes pipelines/results/hgq2_resnet20.json.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from taran_eo.config import load_toml
from taran_eo.metrics import Accuracy
from taran_eo.nn.resnet import PIXEL_MIDDLE, PIXEL_UNIT
from taran_eo.provenance import Provenance, environment
from taran_eo.train import Recipe
from taran_eo.train.loop import learning_rate
from taran_eo.train.pictures import Pictures, as_pixels, scored
from taran_eo.train.recipe import Images

# With JAX a step takes twice as long on a processor, because its convolutions do.
os.environ["KERAS_BACKEND"] = "torch"

import keras
from hgq.config import QuantizerConfig
from hgq.layers import QAdd, QConv2D, QDense, QGlobalAveragePooling2D
from hgq.quantizer.internal import DefaultBitwidthMapper
from hgq.utils import trace_minmax
from hgq.utils.sugar import BetaScheduler

keras.config.set_image_data_format("channels_first")  # as torch has it

RECIPE = Path("pipelines/further_resnet20.toml")
RESULT = Path("pipelines/results/hgq2_resnet20.json")
RUNS = Path("runs/hgq2_resnet20")

UNIFORM_8 = 2.612e9
"""Bit operations of a picture with 8 bits everywhere."""

WIDTH_RATE = 0.01
"""Peak of Adam's rate for widths: they can move by about so many bits a step."""

RAMP = 0.5
"""The share of the steps over which the cost falls to the target."""

STEER_EVERY = 10
"""Steps between two looks at the cost."""

BETA = 1e-10
"""Weight of the cost to begin with."""

PROPORTIONAL, INTEGRAL = 8.0, 0.3
"""Powers of the ratio of the cost to where it should be: how much of it acts at once, and how much stays."""

LOG_EVERY, CHECKPOINT_EVERY = 20, 200

RANGED = 10_000
"""Training pictures that the ranges of activations are taken from: numbers beyond them wrap around."""

BATCH = 500
"""Pictures that are scored at once."""

FLOOR = 8
"""A small weight begins with at most so many bits fewer than the largest of its layer."""

Values = NDArray[np.float32]
State = Mapping[str, Values]


@dataclass(frozen=True)
class Row:
    """A way to run it.

    Attributes:
        target: Bit operations, as a share of those with 8 bits: as `bits.target` of our rows.
        own: What has a width of its own, a weight or a layer's weights together.
    """

    target: float
    own: Literal["weight", "layer"] = "weight"


ROWS = {
    "hgq2 as 4/4": Row(0.25815),
    "hgq2 as 3/3": Row(0.14996),
    "hgq2 by layer as 3/3": Row(0.14996, own="layer"),
}


class Known(keras.initializers.Initializer):
    """Begins with given values."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        """The values, in a shape."""
        return keras.ops.convert_to_tensor(self.values.reshape(shape), dtype=dtype)


class OneWidth(DefaultBitwidthMapper):
    """One width for a whole tensor, which broadcasting spreads over a batch: spread before, it takes half of a step."""

    def __init__(self) -> None:
        super().__init__(heterogeneous_axis=())

    def bw_to_x(self, bw: Tensor, x_shape: Sequence[int]) -> Tensor:
        """The width as it is; spread over one picture, in which bits are counted."""
        return super().bw_to_x(bw, x_shape) if x_shape[0] == 1 else bw

    def x_to_bw_absmax(self, x: Tensor) -> Tensor:
        """The largest magnitude, in two passes over memory."""
        values = x.detach()
        return torch.maximum(values.amax(), -values.amin()).reshape((1,) * values.ndim)


class Norm(keras.layers.Layer):
    """The batch norm of torch, which is ours."""

    def __init__(self, state: State, name: str) -> None:
        super().__init__(name=name.replace(".", "_"))
        self.begin = {key: state[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make parameters and statistics."""
        self.parts = [
            self.add_weight(name=key, shape=values.shape, initializer=Known(values), trainable="running" not in key)
            for key, values in self.begin.items()
        ]

    def call(self, features: Tensor, training: object = None) -> Tensor:
        """Normalize; HGQ2 traces with a `training` that is neither True nor False, and learns nothing of it."""
        weight, bias, mean, variance = (part.value for part in self.parts)
        return nn.functional.batch_norm(features, mean, variance, weight, bias, training is True)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """As it was."""
        return input_shape


def integer_bits(weights: Values, own: str) -> Values:
    """Bits in front of the point that hold a trained weight, or the largest one of a layer."""
    bits = np.frexp(np.abs(weights))[1].astype(np.float32)
    if own == "layer":
        return bits.max(keepdims=True)
    return np.where(weights == 0, bits.min(), bits).clip(bits.max() - FLOOR)


def build(state: State, row: Row | None) -> keras.Model:
    """ResNet-20 with our weights; without a row its quantizers do nothing."""

    def reads(sign: bool = False, **how: Any) -> QuantizerConfig:  # noqa: ANN401
        if row is None:
            return QuantizerConfig("dummy")
        return QuantizerConfig("kif", "datalane", k0=sign, bw_mapper=OneWidth(), **how)

    def holds(weights: Values) -> dict[str, Any]:
        begin = {"kernel_initializer": Known(weights)}
        if row is None:
            return begin | {"kq_conf": QuantizerConfig("dummy"), "bq_conf": QuantizerConfig("dummy")}
        axes = {"heterogeneous_axis": ()} if row.own == "layer" else {}
        config = QuantizerConfig("kbi", "weight", i0=Known(integer_bits(weights, row.own)), **axes)
        return begin | {"kq_conf": config}

    def convolved(name: str, features: Any, stride: int = 1, **how: Any) -> Any:  # noqa: ANN401
        weights = state[f"{name}.weight"].transpose(2, 3, 1, 0)
        side, *_, outputs = weights.shape
        if side == 3 and stride == 2:  # torch pads on both sides, Keras would on one
            features = keras.layers.ZeroPadding2D(1)(features)
        layer = QConv2D(
            outputs,
            side,
            stride,
            "valid" if stride == 2 else "same",
            use_bias=False,
            iq_conf=reads(**how),
            name=name.replace(".", "_"),
            **holds(weights),
        )
        return layer(features)

    def block(name: str, features: Any) -> Any:  # noqa: ANN401
        stride = 2 if f"{name}.shortcut.0.weight" in state else 1
        inside = Norm(state, f"{name}.first_norm")(convolved(f"{name}.first", features, stride))
        inside = convolved(f"{name}.second", keras.layers.ReLU()(inside))
        inside = Norm(state, f"{name}.second_norm")(inside)
        if stride == 2:
            features = Norm(state, f"{name}.shortcut.1")(convolved(f"{name}.shortcut.0", features, stride))
        both = [reads(sign=True), reads(sign=stride == 2)]
        return keras.layers.ReLU()(QAdd(iq_confs=both, name=f"{name.replace('.', '_')}_sum")([inside, features]))

    pixels = keras.Input((3, 32, 32))
    # 8 bits: a sign, one in front of the point and 6 behind it.
    features = convolved("stem.0", pixels, sign=True, i0=1, f0=6, trainable=False)
    features = keras.layers.ReLU()(Norm(state, "stem.1")(features))
    for number in range(sum(name.endswith("first.weight") for name in state)):
        features = block(f"blocks.{number}", features)
    means = QGlobalAveragePooling2D(iq_conf=reads(), name="mean")(features)
    head = QDense(
        len(state["head.bias"]),
        bias_initializer=Known(state["head.bias"]),
        iq_conf=reads(),
        name="head",
        **holds(state["head.weight"].T),
    )
    return keras.Model(pixels, head(means))


def units(pixels: Tensor) -> Tensor:
    """Pixels as our network takes them."""
    return (pixels - PIXEL_MIDDLE) / PIXEL_UNIT


def multiplying(model: keras.Model) -> list[Any]:
    """The layers with weights."""
    return [layer for layer in model.layers if isinstance(layer, QConv2D | QDense)]


def macs(layer: Any) -> int:  # noqa: ANN401
    """Multiplications a picture, those with padding among them."""
    return math.prod(layer.output.shape[2:]) * math.prod(layer.kernel.shape)


@torch.no_grad()
def weight_bits(layer: Any) -> Tensor:  # noqa: ANN401
    """Bits of each weight, with the sign of those that have any."""
    bits = layer.kq.quantizer.b
    return torch.broadcast_to(bits + layer.kq.quantizer.k * (bits > 0), layer.kernel.shape)


@torch.no_grad()
def read_bits(quantizer: Any) -> float:  # noqa: ANN401
    """Bits of what one quantizer for a whole tensor leaves, with the sign."""
    bits = torch.relu(quantizer.b)
    return float(bits + quantizer.k * (bits > 0))


def bit_operations(model: keras.Model) -> float:
    """As `taran_eo.nn.sites.bit_operations`, with the mean of the widths of a layer's weights."""
    return sum(
        macs(layer) * float(weight_bits(layer).mean()) * read_bits(layer.iq.quantizer) for layer in multiplying(model)
    )


def hasten(model: keras.Model) -> None:
    """Compile the rounding of activations: the same numbers in 70 % of the time of a step."""
    for layer in model._flatten_layers():  # noqa: SLF001 - no public way reaches quantizers inside of layers
        if hasattr(layer, "stateless_quantizer") and len(layer.i.shape) and layer.i.numel() == 1:
            layer.stateless_quantizer.round = torch.compile(layer.stateless_quantizer.round, dynamic=True)


class Steering:
    """Chooses `beta`, so that the cost falls evenly to the target and stays there.

    Attributes:
        beta: The present one.
    """

    def __init__(self, model: keras.Model, target: float, steps: int) -> None:
        self.model, self.target, self.steps = model, target, steps
        self.begin = bit_operations(model)
        self.base = self.beta = BETA
        self.cost = self.begin
        self.scheduler = BetaScheduler(lambda _: self.beta)
        self.scheduler.set_model(model)

    def before(self, step: int) -> None:
        """Look at the cost before a step, now and then."""
        if step % STEER_EVERY == 0:
            self.cost = bit_operations(self.model)
            left = max(0.0, 1 - step / (RAMP * self.steps))
            ratio = self.cost / (self.target * (self.begin / self.target) ** left)
            self.base *= ratio**INTEGRAL
            self.beta = self.base * ratio**PROPORTIONAL
        self.scheduler.on_epoch_begin(0)


class Training:
    """A training that can be killed.

    Attributes:
        step: Steps done.
        seconds: What they took.
        environments: Where they were taken.
    """

    def __init__(self, model: keras.Model, target: float, recipe: Recipe, checkpoint: Path) -> None:
        self.model, self.recipe, self.checkpoint = model, recipe, checkpoint
        self.identity = [recipe.identity(), target, environment().commit]
        schedule = recipe.schedule
        self.widths = [each for each in model.trainable_variables if each.name in ("b", "i", "f")]
        known = {id(each) for each in self.widths}
        self.weights = [each.value for each in model.trainable_variables if id(each) not in known]
        self.descent = torch.optim.SGD(
            self.weights,
            schedule.learning_rate,
            schedule.momentum or 0,
            nesterov=True,
            weight_decay=schedule.weight_decay,
        )
        self.adam = torch.optim.Adam([each.value for each in self.widths])
        self.steering = Steering(model, target, schedule.steps)
        self.values = [each.value.data for each in model.variables]
        self.average = [each.clone() for each in self.values]
        self.step, self.seconds = 0, 0.0
        self.environments: list[dict[str, Any]] = []

    def run(self, task: Pictures) -> None:
        """Take the steps that are left."""
        self.restore()
        if (here := asdict(environment())) not in self.environments:
            self.environments.append(here)
        schedule = self.recipe.schedule
        while self.step < schedule.steps:
            begin = time.perf_counter()
            loss = self._step(task)
            self.seconds += time.perf_counter() - begin
            self.step += 1
            if self.step % LOG_EVERY == 0:
                cost = self.steering.cost / self.steering.target
                print(
                    f"step {self.step} of {schedule.steps}, loss {loss:.4f}, {cost:.3f} of the target, "
                    f"beta {self.steering.beta:.2e}, {self.seconds / self.step:.2f} s a step",
                    flush=True,
                )
            if self.step % CHECKPOINT_EVERY == 0 or self.step == schedule.steps:
                self.save()

    def _step(self, task: Pictures) -> float:
        rate = learning_rate(self.step, self.recipe.schedule)
        for optimizer, peak in ((self.descent, self.recipe.schedule.learning_rate), (self.adam, WIDTH_RATE)):
            for group in optimizer.param_groups:
                group["lr"] = rate * peak / self.recipe.schedule.learning_rate
            optimizer.zero_grad()
        self.steering.before(self.step)
        batch = task.batch(self.step)
        loss, _ = task.loss(self.model(units(batch.pixels), training=True), batch.truth)
        (loss + sum(self.model.losses)).backward()
        slope = nn.utils.clip_grad_norm_(self.weights, 1.0)
        if not torch.isfinite(loss + slope):
            raise FloatingPointError(f"the loss became {loss.item()} in step {self.step + 1}")
        self.descent.step()
        self.adam.step()
        decay = self.recipe.schedule.average if self.step else 0.0
        with torch.no_grad():
            for width in self.widths:
                if width.constraint is not None:
                    width.assign(width.constraint(width.value))
            for kept, now in zip(self.average, self.values, strict=True):
                if now.is_floating_point():
                    kept.lerp_(now, 1 - decay)
        return loss.item()

    def save(self) -> None:
        """Write what a killed run must remember; killed while it writes, it has the checkpoint before."""
        state = {
            "identity": self.identity,
            "step": self.step,
            "seconds": self.seconds,
            "environments": self.environments,
            "values": self.values,
            "average": self.average,
            "descent": self.descent.state_dict(),
            "adam": self.adam.state_dict(),
            "steering": [self.steering.base, self.steering.beta, self.steering.cost],
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def restore(self) -> None:
        """Take up the checkpoint of the same run, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["identity"] != self.identity:
            raise ValueError(f"{self.checkpoint} is of another run: remove it to begin anew")
        for name in ("values", "average"):
            for own, kept in zip(getattr(self, name), state[name], strict=True):
                own.copy_(kept)
        self.descent.load_state_dict(state["descent"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.seconds, self.environments = state["step"], state["seconds"], state["environments"]
        self.steering.base, self.steering.beta, self.steering.cost = state["steering"]

    def end(self, task: Pictures) -> None:
        """Give the model its averaged values, and ranges of activations that hold training pictures."""
        with torch.no_grad():
            for own, kept in zip(self.values, self.average, strict=True):
                own.copy_(kept)
        pictures = task.found.crops(task.numbers[:RANGED], None)
        trace_minmax(self.model, units(as_pixels(pictures)), batch_size=BATCH, verbose=False)


@torch.no_grad()
def is_right(model: keras.Model, images: Images) -> NDArray[np.bool_]:
    """Whether it gives each scored picture its class, ``bool[n]``."""
    found, numbers = scored(images)
    parts = []
    for chosen in np.split(numbers, range(BATCH, len(numbers), BATCH)):
        logits = model(units(as_pixels(found.crops(chosen, None))), training=False)
        parts.append(logits.argmax(dim=1).numpy() == found.labels[chosen])
    return np.concatenate(parts)


def carry_out(name: str, row: Row, recipe: Recipe) -> dict[str, Any]:
    """Train a row, or go on with it, and score it."""
    assert recipe.images is not None
    assert recipe.start is not None
    keras.utils.set_random_seed(recipe.seed)
    state = {key: values.numpy() for key, values in load_file(recipe.start).items()}
    images, task = recipe.images, Pictures(recipe, recipe.images)
    before = Accuracy(len(right := is_right(build(state, None), images)), int(right.sum()))
    model = build(state, row)
    trace_minmax(model, units(task.batch(0).pixels), verbose=False)
    hasten(model)
    training = Training(model, row.target * UNIFORM_8, recipe, RUNS / f"{name.replace(' ', '_').replace('/', '-')}.pt")
    training.run(task)
    training.end(task)
    right = is_right(model, images)
    operations = bit_operations(model)
    bits = torch.cat([weight_bits(layer).flatten() for layer in multiplying(model)])
    lanes = [(macs(layer), read_bits(layer.iq.quantizer)) for layer in multiplying(model)]
    score = Accuracy(len(right), int(right.sum()))
    print(f"{name}: {score}; {operations / UNIFORM_8:.4f} of the bit operations of 8 bits, asked {row.target}")
    return {
        **score.to_dict(),
        "float_before": before.to_dict(),
        "bit_operations": operations,
        "share_of_8_bits": operations / UNIFORM_8,
        "target": row.target,
        "weight_bits_mean": float(bits.mean()),
        "weights_of_no_bits": float((bits == 0).float().mean()),
        "activation_bits_mean_by_macs": sum(many * own for many, own in lanes) / sum(many for many, _ in lanes),
        "step_s": training.seconds / training.step,
        "recipe_sha256": recipe.digest(),
        "environments": training.environments,
    }


def main() -> None:
    """Carry out rows, and put what came out beside what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; all if left out")
    rows = parser.parse_args().rows or list(ROWS)
    recipe = load_toml(RECIPE, Recipe)
    for name in rows:
        told = carry_out(name, ROWS[name], recipe)
        result = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": {}}
        result["rows"][name] = told
        result["packages"] = {each: version(each) for each in ("hgq2", "keras", "quantizers", "torch")}
        result["provenance"] = Provenance((environment(),), seed=recipe.seed, inputs=recipe.pixels()).to_dict()
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
