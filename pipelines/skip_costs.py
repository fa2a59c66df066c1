"""What the skip connections of Thin U-Net 32 cost in memory and traffic, whole, squeezed and without.

Usage: python pipelines/skip_costs.py > pipelines/results/skip_costs.md
"""

import torch

from taran_eo.formats import parse_format
from taran_eo.graph import plan, traffic
from taran_eo.nn import Quantization, ThinUNet, ThinUNetShape, calibrate, lower, quantize

SIDE = 768


def main() -> None:
    """Print the table; it follows from the shapes alone, so random weights will do."""
    e2m3, ue2m4 = parse_format("e2m3"), parse_format("ue2m4")
    print(
        f"Thin U-Net 32 in E2M3, a tile of {SIDE} x {SIDE}: activations moved (each tensor written once, read by each"
    )
    print("of its readers), the part of it that is skips read again, and the arena that holds what lives at once.\n")
    print("| skips | parameters | GMAC | moved, MiB | of it skips | arena, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, skips in (("whole", None), ("squeezed to 8", 8), ("without", 0)):
        torch.manual_seed(0)
        pixels, network = torch.randint(0, 256, (2, 3, 64, 64)).float(), ThinUNet(ThinUNetShape(skips=skips))
        for _ in range(50):
            network(pixels)  # so that its batch norms have seen data
        quantized = quantize(network.eval(), Quantization(e2m3, ue2m4))
        calibrate(quantized, [pixels])
        graph = lower(quantized, name)
        moved, memory = traffic(graph, SIDE, SIDE), plan(graph, SIDE, SIDE)
        cells = (
            *(name, f"{graph.parameters:,}", f"{graph.macs(SIDE, SIDE) / 1e9:.1f}", f"{moved.total_bytes / 2**20:.0f}"),
            *(f"{100 * moved.skip_bytes / moved.total_bytes:.1f} %", f"{memory.arena_bytes / 2**20:.0f}"),
        )
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
