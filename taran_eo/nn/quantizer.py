"""What turns values into those of a format while a network trains: each way to find the scale is one `Quantizer`."""

from torch import Tensor, nn

from taran_eo.formats import Format


class Quantizer(nn.Module):
    """Rounds values to a format, at a scale of its own.

    Attributes:
        rate: Learning rate of its parameters, as a multiple of that of the weights.
        decays: Whether they decay as weights do.
    """

    rate = 1.0
    decays = True

    def begin(self, sample: Tensor, fmt: Format) -> None:
        """Find the first scale from values ``float32[n]``, some of them above zero."""

    def switch(self, before: Format, after: Format) -> None:
        """Go from one format to another."""

    def beside(self, values: Tensor, present: Format, fmt: Format) -> Tensor:
        """Round to a format while the scale is that of the present one; to the present one as `forward` does."""
        result: Tensor = self(values, fmt)
        return result

    def forward(self, values: Tensor, fmt: Format) -> Tensor:
        """Round values of any shape; the result has the same shape and type."""
        raise NotImplementedError
