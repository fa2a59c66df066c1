"""What an export tells of itself, for programs."""

from pydantic import Field

from taran_eo.config import Settings


class Memory(Settings):
    """Bytes that a program takes on its target.

    Attributes:
        weights: Weights, as they are packed.
        constants: All constants: weights, biases, scales and the program.
        arena: The tensors, and the weights of one operation.
        stripe: Rows of logits that are made at a time.
        lacking: Bytes that the memories of the target lack, 0 where all fits; None where they have no figures.
    """

    weights: int
    constants: int
    arena: int
    stripe: int
    lacking: int | None = None


class Identity(Settings):
    """Which model it is."""

    name: str
    version: str
    digest: str = Field(pattern="^[0-9a-f]{64}$")


class Input(Settings):
    """What goes in: ``uint8[bands, rows, cols]``, whose rows and columns are multiples of ``alignment``.

    Of the logits, those nearer than ``halo`` pixels to a side that is not the scene's depend on where the tile was cut.
    """

    bands: tuple[str, ...]
    bit_depth: int
    gsd_m: float
    alignment: int
    halo: int


class Output(Settings):
    """What comes out: logits.

    Attributes:
        classes: Names of the labels.
        dtype: ``int32``, in units of ``scale``; or ``float32``, real numbers.
        scale: The real logit of one unit of the model.
        reduction: Rows and columns of pixels that a logit stands for.
        threshold: Probability from which it is of the last class.
        limit: The logit, as it comes out, from which it is.
    """

    classes: tuple[str, ...]
    dtype: str
    scale: float
    reduction: int
    threshold: float
    limit: float


class Golden(Settings):
    """The golden vectors: how many, and their shapes."""

    vectors: int
    pixels: tuple[int, int, int]
    logits: tuple[int, int, int]


class Difference(Settings):
    """How far from the model's the golden vectors come out, as measured.

    Attributes:
        vectors: So many were run.
        largest: Largest difference of a real logit.
        logits_differing: Logits that differ at all.
        mask_pixels: Pixels of the mask that do.
    """

    vectors: int
    largest: float
    logits_differing: int
    mask_pixels: int


class Manifest(Settings):
    """What a folder tells of itself; see `taran_eo.export.folder`.

    Attributes:
        difference: None where it was not measured because a tool is missing; nothing else leaves it out.
        memory: Of C; None of other forms.
        target: Name of the processor that C is for.
    """

    format: int
    made_by: str
    form: str
    program: str
    model: Identity
    input: Input
    output: Output
    golden: Golden
    exact: bool
    difference: Difference | None = None
    memory: Memory | None = None
    target: str | None = None
