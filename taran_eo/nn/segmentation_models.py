"""Networks of segmentation-models-pytorch: teachers and baselines."""

import sys

from torch import Tensor, library, nn

from taran_eo.errors import ConfigError, MissingExtraError
from taran_eo.nn.thin_unet import PIXEL_SCALE


def ensure_torchvision() -> None:
    """Import torchvision even where its compiled operators do not fit torch.

    The registry's torchvision is built for CUDA; beside a CPU torch its extension does not load, and the
    import fails on an operator that segmentation-models-pytorch never calls. Declaring the two operators
    lets the import pass (pytorch/vision issue 9085).

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("smp", "torchvision") from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


class SegmentationModel(nn.Module):
    """A network of segmentation-models-pytorch that takes pixels of 0 to 255 and gives logits of one class.

    Args:
        architecture: E.g. ``unet``, ``fpn``, ``deeplabv3plus``; any that ``create_model`` knows.
        encoder: E.g. ``vgg11_bn``, ``resnet18``; begins with random weights.

    Raises:
        MissingExtraError: The extra ``smp`` is not installed.
        ConfigError: There is no such architecture or encoder.
    """

    def __init__(self, architecture: str, encoder: str) -> None:
        super().__init__()
        ensure_torchvision()
        try:
            from segmentation_models_pytorch import create_model
        except ModuleNotFoundError as error:
            raise MissingExtraError.of("smp", "segmentation-models-pytorch") from error
        try:
            self.network = create_model(architecture, encoder, encoder_weights=None, in_channels=3, classes=1)
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"segmentation-models-pytorch has no {architecture} with the encoder {encoder}: {error}",
                remedy="Take e.g. architecture = 'unet' and encoder = 'resnet18'",
            ) from error

    def forward(self, pixels: Tensor) -> Tensor:
        """Segment pixels ``[n, 3, rows, cols]``: logits ``[n, 1, rows, cols]``."""
        logits: Tensor = self.network(pixels * PIXEL_SCALE)
        return logits
