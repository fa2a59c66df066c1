"""Rounding to a minifloat inside training: against a plain copy, against other packages, and in a training step.

Usage: python benchmarks/fake_quantize.py [ROUNDS] [THREADS]
Once, on a machine that did nothing else, it said what fake_quantize.txt holds.

Other packages come with the extra `bench`; what cannot be imported is left out by name. Each is called at its best,
also compiled where it can be, and has to give the values that `taran_eo` gives. All run with an allocator that keeps
its pages, but for the first table.
"""

import copy
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from timing import compare
from torch import Tensor, nn

from taran_eo.formats import Format, parse_format, spend_sign
from taran_eo.nn.quantized import calibrate, quantize
from taran_eo.nn.rounding import compile_kernels, fake_quantize
from taran_eo.nn.scales import Quantization
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape
from taran_eo.provenance import environment

WARM = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
"""Without them each fresh tensor costs more in page faults than its arithmetic, for whoever makes it."""

SHAPE = (32, 768, 768)
E3M2 = parse_format("e3m2")
OURS = "fake_quantize e3m2"
STEP_THREADS = 2
STRAY = 1e-6
"""Share of values in which another package may differ, as qtorch does at ties."""

Kernel = Callable[[Tensor], Tensor]


def torch_float8() -> Kernel:
    """The cast of torch, which saturates since 2.12."""
    return lambda values: values.to(torch.float8_e4m3fn).float()


def torch_int8() -> Kernel:
    """The uniform fake quantizer of torch."""
    return lambda values: torch.fake_quantize_per_tensor_affine(values, 0.125, 0, -128, 127)


def brevitas() -> nn.Module:
    """A constant scale, which spares it the search for one."""
    from brevitas.nn import QuantIdentity
    from brevitas.quant.float_quant_ocp import FpOCPAct

    class Quantizer(FpOCPAct):
        bit_width, exponent_bit_width, mantissa_bit_width = 6, 3, 2
        scaling_impl_type, scaling_init, restrict_scaling_type = "const", 1.0, "fp"

    return QuantIdentity(act_quant=Quantizer, return_quant_tensor=False)


def brevitas_compiled() -> nn.Module:
    """The same after its own call of the compiler."""
    quantizer = brevitas()
    quantizer.act_quant.compile_quant()
    return quantizer


def torchao() -> Kernel:
    """To codes and back; it has no other way."""
    from torchao.prototype.custom_fp_utils import _f32_to_floatx_unpacked, _floatx_unpacked_to_f32

    return lambda values: _floatx_unpacked_to_f32(_f32_to_floatx_unpacked(values, 3, 2), 3, 2)


def qtorch() -> Kernel:
    """Its own C++, which it builds at its first import."""
    from qtorch.quant import float_quantize

    return lambda values: float_quantize(values, exp=3, man=2, rounding="nearest")


def ml_dtypes() -> Kernel:
    """A cast in numpy and back."""
    from ml_dtypes import float6_e3m2fn

    return lambda values: torch.from_numpy(values.numpy().astype(float6_e3m2fn).astype(np.float32))


def apytypes() -> Kernel:
    """One exponent bit more, as the topmost is infinity there, and saturated by hand."""
    from apytypes import APyFloatArray, reset_thread_pool

    reset_thread_pool(torch.get_num_threads())

    def run(values: Tensor) -> Tensor:
        rounded = APyFloatArray.from_array(values.clamp(-28, 28).numpy(), exp_bits=4, man_bits=2, bias=3)
        return torch.from_numpy(rounded.to_numpy().astype(np.float32))

    return run


def compiled(make: Callable[[], Kernel]) -> Callable[[], Kernel]:
    """The kernel of a package that has no compiled form of its own, compiled."""
    return lambda: torch.compile(make())


PEERS: dict[str, tuple[Callable[[], Kernel], str, float]] = {
    "torch, cast to float8": (torch_float8, "e4m3fn", 1.0),
    "torch, cast to float8, compiled": (compiled(torch_float8), "e4m3fn", 1.0),
    "torch, int8 fake quantize": (torch_int8, "int8", 0.125),
    "torch, int8 fake quantize, compiled": (compiled(torch_int8), "int8", 0.125),
    "brevitas": (brevitas, "e3m2", 1.0),
    "brevitas, compiled": (brevitas_compiled, "e3m2", 1.0),
    "torchao": (torchao, "e3m2", 1.0),
    "torchao, compiled": (compiled(torchao), "e3m2", 1.0),
    "qtorch": (qtorch, "e3m2", 1.0),
    "ml_dtypes": (ml_dtypes, "e3m2", 1.0),
    "apytypes": (apytypes, "e3m2", 1.0),
}
"""How to make each, the format that it rounds to, and its scale."""


def peers(values: Tensor) -> dict[str, Kernel]:
    """Those that can be imported, after their results were compared with ours."""
    found = {}
    for name, (make, fmt, scale) in PEERS.items():
        try:
            kernel = make()
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} left out: {str(error).splitlines()[0]}")
            continue
        different = int((kernel(values) != fake_quantize(values, parse_format(fmt), scale)).sum())
        assert different <= STRAY * values.numel(), f"{name} rounds otherwise"
        if different:
            print(f"{name} differs in {different} of {values.numel()} values")
        found[name] = kernel
    return found


@torch.no_grad()
def forward(values: Tensor, rounds: int) -> None:
    """The table of one call."""
    place = torch.empty_like(values)
    runs: dict[str, Callable[[], object]] = {"copy into place": lambda: place.copy_(values), "clone": values.clone}
    for name in ("e3m2", "e2m3", "ue2m4", "e4m3", "int8"):
        runs[f"fake_quantize {name}"] = partial(fake_quantize, values, parse_format(name))
    runs["fake_quantize e3m2, scale 0.3"] = partial(fake_quantize, values, E3M2, 0.3)
    others = {name: partial(kernel, values) for name, kernel in peers(values).items()}
    ratios = compare({**runs, **others}, rounds)
    print(f"{OURS} takes {ratios[OURS]:.2f} times as long as the copy (target: 1.10)")
    for name in others:
        print(f"{name} takes {ratios[name] / ratios[OURS]:.1f} times as long as {OURS}")


@torch.no_grad()
def eager(values: Tensor, rounds: int) -> None:
    """What fake quantization costs before it is compiled."""
    place = torch.empty_like(values)
    compare({"copy into place": lambda: place.copy_(values), OURS: partial(fake_quantize, values, E3M2)}, rounds)


@torch.no_grad()
def bfloat16(values: Tensor, rounds: int) -> None:
    """The table in bfloat16, against a copy of bfloat16."""
    halves, place = values.bfloat16(), torch.empty_like(values, dtype=torch.bfloat16)
    compare(
        {
            "copy into place": lambda: place.copy_(halves),
            OURS: partial(fake_quantize, halves, E3M2),
            "torch, cast to float8": lambda: halves.to(torch.float8_e4m3fn).bfloat16(),
        },
        rounds,
    )


def with_gradient(values: Tensor, rounds: int) -> None:
    """The table of a call and its gradient, against the copies of a tensor and of its gradient."""
    place, back, gradient = torch.empty_like(values), torch.empty_like(values), torch.randn_like(values)
    leaf, scale = values.clone().requires_grad_(), torch.tensor(0.5, requires_grad=True)

    def copies() -> None:
        place.copy_(values)
        back.copy_(gradient)

    def both(kernel: Kernel) -> Callable[[], object]:
        return lambda: torch.autograd.grad(kernel(leaf), leaf, gradient)

    runs: dict[str, Callable[[], object]] = {
        "two copies": copies,
        OURS: both(lambda values: fake_quantize(values, E3M2)),
        "fake_quantize e3m2, scale learned": lambda: torch.autograd.grad(
            fake_quantize(leaf, E3M2, scale), (leaf, scale), gradient
        ),
        "torch, int8 fake quantize": both(torch_int8()),
    }
    for name, make in (("brevitas", brevitas), ("brevitas, compiled", brevitas_compiled)):
        try:
            runs[name] = both(make())
        except ImportError as error:
            print(f"{name} left out: {error}")
    compare(runs, rounds)


def training_step(rounds: int) -> None:
    """The table of a training step of Thin U-Net 32, 8 crops of 256 x 256 pixels, bfloat16 where autocast says so."""
    pixels = torch.randint(0, 256, (8, 3, 256, 256)).float().contiguous(memory_format=torch.channels_last)
    truth = torch.rand(8, 1, 256, 256).round()
    float_network = ThinUNet(ThinUNetShape()).eval()

    def step(network: nn.Module) -> Callable[[], None]:
        network = network.train().to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

        def run() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(pixels).float()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

        return run

    def quantized(fmt: Format, **how: bool) -> Callable[[], None]:
        network = quantize(float_network, Quantization(fmt, spend_sign(fmt), **how))
        calibrate(network, [pixels])
        return step(network)

    e2m3, int6 = parse_format("e2m3"), parse_format("int6")
    runs = {
        "float": step(copy.deepcopy(float_network)),
        "E2M3, unsigned E2M4": quantized(e2m3),
        "int6, uint6": quantized(int6),
        "E2M3, unsigned E2M4, scales learned": quantized(e2m3, learned=True),
        "E2M3, unsigned E2M4, real scales": quantized(e2m3, power_of_two=False),
    }
    ratios = compare(runs, rounds)
    print(f"A quantized step takes {ratios['E2M3, unsigned E2M4']:.2f} times as long as a float step (target: 1.30)")


def about() -> str:
    """The machine and the packages, in a line."""
    here, versions = environment(), []
    for name in ("torch", "brevitas", "torchao", "qtorch", "ml_dtypes", "apytypes"):
        with suppress(PackageNotFoundError):
            versions.append(f"{name} {version(name)}")
    return f"{here.cpu}, {here.cores} cores; Python {here.python}, {', '.join(versions)}"


def main(rounds: int = 5, threads: int = 1) -> None:
    """Print the tables."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    values = torch.randn(SHAPE) * 7
    if not WARM.keys() <= os.environ.keys():
        print(about())
        print(f"{list(SHAPE)} float32, {threads} threads, {rounds} rounds; the allocator as it comes")
        assert compile_kernels(), "compiling needs a C++ compiler"
        forward(values, rounds)
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **WARM})  # noqa: S606
    print("\nthe allocator kept warm, before compile_kernels")
    eager(values, rounds)
    assert compile_kernels(), "compiling needs a C++ compiler"
    print("\nafter it")
    forward(values, rounds)
    print("\nbfloat16")
    bfloat16(values, rounds)
    print("\nforward and backward")
    with_gradient(values, rounds)
    torch.set_num_threads(STEP_THREADS)
    print(f"\na training step of Thin U-Net 32, 8 crops of 256 x 256, bfloat16 autocast, {STEP_THREADS} threads")
    training_step(rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
