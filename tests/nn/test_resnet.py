"""The residual networks have the size, the work and the answers of the published ones."""

import pytest
import torch
from torch import nn

from taran_eo.nn.resnet import PIXEL_MIDDLE, PIXEL_UNIT, ResNet
from taran_eo.nn.segmentation_models import ensure_torchvision


def parameters(network):
    return sum(each.numel() for each in network.parameters())


def multiplications(network, side):
    """Of the convolutions and the head, counted as they run."""
    counted = []

    def count(module, inputs, output):
        one = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_features
        counted.append(one * output[0].numel())

    hooks = [each.register_forward_hook(count) for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def test_resnet_20_is_as_large_as_it_should_be():
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (16 + 6 * 16 + 6 * 32 + 6 * 64)
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    head = 64 * 10 + 10
    assert (convolutions, norms, projections, head) == (267_696, 1_376, 2_752, 650)
    assert parameters(ResNet(20, 10)) == convolutions + norms + projections + head == 272_474


def test_resnet_20_does_the_work_that_it_should():
    plain = 9 * 1024 * (3 * 16 + 6 * 16 * 16) + 9 * 256 * (16 * 32 + 5 * 32 * 32) + 9 * 64 * (32 * 64 + 5 * 64 * 64)
    projections = 256 * 16 * 32 + 64 * 32 * 64
    assert (plain, projections) == (40_550_400, 262_144)  # 40.8 million
    assert multiplications(ResNet(20, 10), 32) == plain + projections + 64 * 10


@pytest.mark.parametrize("depth", [18, 20])
def test_layers_are_counted_as_their_names_count_them(depth):
    """Those in a row: the 1x1 convolutions beside the blocks do not count."""
    layers = [each for each in ResNet(depth, 10).modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    assert sum(isinstance(each, nn.Linear) or each.kernel_size != (1, 1) for each in layers) == depth


def test_resnet_18_is_that_of_torchvision():
    ensure_torchvision()
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs, ours = resnet18(num_classes=1000).eval(), ResNet(18, 1000).eval()
    assert parameters(ours) == parameters(theirs) == 11_689_512
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # else most of them do nothing
            for values in (module.weight.data, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.1)
    # Both name their layers in the order in which they run, the 1x1 convolution of a block last.
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    pixels = torch.randint(0, 256, (2, 3, 96, 96)).float()
    with torch.no_grad():
        said, expected = ours(pixels), theirs((pixels - PIXEL_MIDDLE) / PIXEL_UNIT)
    assert expected.std() > 0.01 and torch.allclose(said, expected, rtol=1e-4, atol=1e-5)
    assert multiplications(ours, 224) == 1_814_073_344  # the 1.8 billion of table 1
