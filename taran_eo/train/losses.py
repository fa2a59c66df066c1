"""The loss: cross entropy for every pixel plus an overlap loss for the few that are ships."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from taran_eo.errors import MissingExtraError
from taran_eo.nn.segmentation_models import ensure_torchvision
from taran_eo.train.recipe import Schedule


class SegmentationLoss(torch.nn.Module):
    """Weighted binary cross entropy plus focal Tversky loss over the batch.

    The overlap part is the one of segmentation-models-pytorch (exponent 0.75; Abraham and Khan, arXiv 1810.07842):
    with 0.5 % ship pixels the cross entropy alone is content with an empty sea.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        ensure_torchvision()
        try:
            from segmentation_models_pytorch.losses import TverskyLoss
        except ModuleNotFoundError as error:
            raise MissingExtraError.of("smp", "segmentation-models-pytorch") from error
        missed = schedule.missed_weight
        self.overlap = TverskyLoss("binary", alpha=1 - missed, beta=missed, gamma=0.75)
        self.overlap_weight = schedule.focal_tversky
        self.positive_weight = torch.tensor(schedule.positive_weight)

    def forward(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch.

        Args:
            logits: ``[n, 1, rows, cols]``.
            truth: The same shape, 0 or 1.

        Returns:
            The scalar to minimize, and the cross entropy of each example ``[n]``, detached.
        """
        positive_weight = self.positive_weight.to(logits.device)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=positive_weight, reduction="none")
        each = entropy.mean(dim=(1, 2, 3))
        loss = each.mean()
        # Without a ship in the batch there is no overlap, and the gradient of 0**0.75 is not a number.
        if truth.any():
            loss = loss + self.overlap_weight * self.overlap(logits, truth)
        return loss, each.detach()
