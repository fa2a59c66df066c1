"""What widths cost in loss, as estimated from its curvature: HAWQ-V2, for weights and activations.

Rounding moves a tensor by d, and the loss by about d'Hd / 2; if the error is no more in one direction than in another,
that is the trace of H times the mean square error over 2. The trace is estimated by Hutchinson's method: of a vector v
of random signs, v'Hv has it as its expectation.

Each tensor has its own vectors. One vector over all of them would be estimates too, as what mixes two tensors has the
expectation zero; but its variance hid the activations of ResNet-20, whose traces are a hundredth of those of weights.

Source: Dong et al., HAWQ-V2, arXiv 1911.03852, from memory: the mean trace times the squared error of the weights, and
of the activations with the Hessian with respect to them. The half, which changes no choice, makes it a loss.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from taran_eo.errors import WidthError
from taran_eo.nn.allocation import Sensitivity
from taran_eo.nn.learned_bits import Widths
from taran_eo.nn.quantized_modules import QuantizedSite

LossOf = Callable[[nn.Module], Tensor]
"""The loss of a network, ``float32[]``, with a gradient."""


def estimated(widths: Widths, network: nn.Module, losses: Sequence[LossOf]) -> list[Sensitivity]:
    """Estimate the loss with each group at each width.

    Args:
        widths: Of a calibrated `taran_eo.nn.quantized_modules.QuantizedModules`.
        network: The float network that it was made of, in evaluation mode.
        losses: For each batch.

    Returns:
        For each group and its bits, the loss that its rounding adds.

    Raises:
        WidthError: The quantized network is of another kind.
    """
    places = [place for group in widths.groups for place in group.places]
    held: dict[int, QuantizedSite] = {}
    for place in places:
        site = widths.sites[place]
        if not isinstance(site, QuantizedSite):
            raise WidthError(
                f"{site.name} has no tensor of its own in the float network, as its batch norm is folded into it",
                remedy='Take bits.method = "greedy", or a residual network',
            )
        held[place] = site
    found = traces(network, list(held.values()), losses, widths.how.draws, widths.how.seed)
    # Where the curvature is not told from none, rounding is taken to be free; it cannot be taken to be a gain.
    energy = {
        place: max(0.0, trace) / 2 * float(site.held().square().mean())
        for (place, site), trace in zip(held.items(), found.mean(dim=0).tolist(), strict=True)
    }
    return [
        {
            bits: sum(energy[place] * held[place].error(widths.format_of(place, [bits])) for place in group.places)
            for bits in range(group.widths[0].lowest, group.widths[0].highest + 1)
        }
        for group in widths.groups
    ]


def traces(
    network: nn.Module, places: Sequence[QuantizedSite], losses: Sequence[LossOf], draws: int, seed: int
) -> Tensor:
    """Estimates of the trace of the Hessian of the loss, with respect to what each site would round.

    Args:
        network: The float network.
        places: Sites, by whose name and kind the layers and activations of the network are found.
        losses: For each batch.
        draws: Random vectors for each site and batch.
        seed: What they are drawn from.

    Returns:
        ``float64[batches * draws, sites]``; each row is an estimate, their mean is the best one.
    """
    rng = torch.Generator().manual_seed(seed)
    passed: dict[str, list[Tensor]] = {}
    modules = [network.get_submodule(site.name) for site in places]

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, given, result: passed.setdefault(name, []).append(result)

    hooks = [
        module.register_forward_hook(keep(site.name))
        for module, site in zip(modules, places, strict=True)
        if site.kind == "activations"
    ]
    rows = []
    try:
        for loss_of in losses:
            passed.clear()
            loss = loss_of(network)
            tensors = [
                passed[site.name] if site.kind == "activations" else [module.get_parameter("weight")]
                for module, site in zip(modules, places, strict=True)
            ]
            each = hutchinson(loss, [one for some in tensors for one in some], draws, rng)
            parts = each.split([len(some) for some in tensors], dim=1)
            rows.append(torch.stack([part.sum(dim=1) for part in parts], dim=1))
    finally:  # nobody goes on keeping after a failure
        for hook in hooks:
            hook.remove()
    return torch.cat(rows)


def hutchinson(loss: Tensor, tensors: Sequence[Tensor], draws: int, rng: torch.Generator) -> Tensor:
    """Estimates of the trace of the Hessian of a loss, with respect to each of some tensors.

    Args:
        loss: ``float32[]``, made of the tensors.
        tensors: Leaves, or what lies between them and the loss.
        draws: Random vectors, for each tensor.
        rng: On the CPU; what they are drawn from.

    Returns:
        ``float64[draws, tensors]``: estimates without bias, independent of each other.
    """
    slopes = torch.autograd.grad(loss, tensors, create_graph=True, materialize_grads=True)
    found = torch.zeros(draws, len(tensors), dtype=torch.float64)
    for row in range(draws):
        for place, (tensor, slope) in enumerate(zip(tensors, slopes, strict=True)):
            if not slope.requires_grad:  # the loss is linear in it
                continue
            signs = torch.randint(0, 2, tensor.shape, generator=rng).mul_(2).sub_(1).to(tensor)
            (turned,) = torch.autograd.grad(slope, tensor, signs, retain_graph=True, materialize_grads=True)
            found[row, place] = (signs * turned).sum()
    return found
