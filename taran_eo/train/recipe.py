"""A training recipe: one TOML file that says everything a run depends on, apart from the pixels."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import nn

from taran_eo.config import Settings
from taran_eo.nn.learned_bits import Learning
from taran_eo.nn.quantized_modules import Way
from taran_eo.nn.resnet import ResNet, ResNetDepth
from taran_eo.nn.scales import Calibration
from taran_eo.nn.segmentation_models import SegmentationModel
from taran_eo.nn.ship_gate import SHALLOWEST_GATE, ShipGate, ShipGateShape
from taran_eo.nn.thin_unet import ThinUNet, ThinUNetShape
from taran_eo.provenance import sha256_config, sha256_file, sha256_folder

SMP_ALIGNMENT = 32
"""What encoders of segmentation-models-pytorch halve to at most."""


class Network(Settings):
    """The `[network]` table: the shape of the Thin U-Net, of a gate, or a network of segmentation-models-pytorch.

    Attributes:
        gate: Whether it is a gate, `taran_eo.nn.ShipGate`, of `width` channels and `depth` poolings; None is no.
        width: Channels at the top level.
        depth: Poolings.
        growth: Factor by which each level is wider than the one above it; 1 is the constant width.
        skips: Channels that each skip connection is squeezed to by a 1x1 convolution; 0 takes the skips out, None
            leaves them as they are.
        architecture: An architecture of segmentation-models-pytorch, e.g. ``unet``; None is the Thin U-Net.
        encoder: Its encoder, e.g. ``resnet18``.
        resnet: Layers of a residual network that classifies `[images]`: 20 for small ones, 18 for large ones.
    """

    gate: bool | None = None
    width: int = Field(32, ge=1)
    depth: int = Field(4, ge=1, le=6)
    growth: int = Field(1, ge=1)
    skips: int | None = Field(None, ge=0)
    architecture: str | None = None
    encoder: str | None = None
    resnet: ResNetDepth | None = None

    @model_validator(mode="after")
    def _is_one_network(self) -> Self:
        if (self.architecture is None) != (self.encoder is None):
            raise ValueError("give both `architecture` and `encoder`, or neither for the Thin U-Net")
        if self.gate and (self.architecture is not None or self.growth != 1 or self.skips is not None):
            raise ValueError("a `gate` has `width` and `depth`, and nothing else")
        if self.resnet is not None and (self.gate or self.architecture is not None or self.skips is not None):
            raise ValueError("a `resnet` has a number of layers, and nothing else")
        if self.gate and self.depth < SHALLOWEST_GATE:
            raise ValueError(f"a `gate` has a `depth` of at least {SHALLOWEST_GATE}")
        return self

    def build(self, classes: int = 1) -> nn.Module:
        """The network for three bands, with random weights.

        Args:
            classes: Of a residual network; all others tell ships from the rest.

        Raises:
            ConfigError: There is no such architecture.
            MissingExtraError: It needs segmentation-models-pytorch, which is not installed.
        """
        if self.resnet is not None:
            return ResNet(self.resnet, classes)
        if self.architecture is not None and self.encoder is not None:
            return SegmentationModel(self.architecture, self.encoder)
        if self.gate:
            return ShipGate(ShipGateShape(width=self.width, depth=self.depth))
        return ThinUNet(ThinUNetShape(width=self.width, depth=self.depth, growth=self.growth, skips=self.skips))

    @property
    def alignment(self) -> int:
        """Rows and columns of a crop or tile are multiples of this."""
        return 1 << self.depth if self.architecture is None else SMP_ALIGNMENT


class Source(Settings):
    """A `[[source]]` table: a folder of JPEG tiles with a CSV of run-length masks.

    Attributes:
        images: Folder of the images that the CSV names, e.g. ``train_v2`` of the competition.
        masks: CSV with ``ImageId, EncodedPixels`` and optionally ``width, height, label`` (one row a ship).
        labels: Keep only rows with these labels; empty keeps all.
        exclude: Names of files to leave out, or patterns of them, e.g. of images that overlap a held-out one.
        ship_share: Relative share of training crops that are placed on a ship of this source.
        empty_share: Relative share of crops placed anywhere on its images without a ship.
        paste: Whether its ships may be cut out and pasted onto empty sea (their masks must be tight).
    """

    images: Path
    masks: Path
    labels: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ship_share: float = Field(0.0, ge=0)
    empty_share: float = Field(0.0, ge=0)
    paste: bool = False


class Synthetic(Settings):
    """The `[synthetic]` table: generated scenes with known truth among the training crops.

    Attributes:
        scenes: How many are generated when the run starts.
        size: Rows and columns of each.
        ship_share: Relative share of training crops that are placed on one of their ships.
        empty_share: Relative share of crops placed anywhere on scenes without ships: land, piers, waves, clouds.
    """

    scenes: int = Field(200, ge=1)
    size: int = Field(448, ge=16)
    ship_share: float = Field(0.0, ge=0)
    empty_share: float = Field(0.0, ge=0)


class Images(Settings):
    """The `[images]` table: pictures of classes, in place of ships.

    Attributes:
        train: What is learned: an ``.npz`` of JPEGs, the folder ``cifar-10-batches-py``, or a folder with a folder of
            pictures for each class, as ImageNet is kept.
        test: What is scored, of the same kinds; never trained or tuned on.
        side: Rows and columns of a crop.
        tuning: So many training pictures, drawn once, are left out of the training and scored in place of `test`: for
            whatever is chosen by its scores. None learns all.
    """

    train: Path
    test: Path
    side: int = Field(32, ge=8)
    tuning: int | None = Field(None, ge=1)


class Augmentation(Settings):
    """The `[augmentation]` table: probabilities and ranges of the random changes to a crop.

    Attributes:
        zoom: Smallest and largest factor of the zoom.
        affine: Probability of a zoom and a turn by any angle, beside one of the 8 symmetries, which is always drawn.
        colour: Probability of a change of brightness and contrast, of one of hue and saturation, and half that of
            one of gamma.
        haze: Probability of an even veil of haze.
        degrade: Probability of blur, noise, JPEG artefacts or a lower resolution.
        paste: Probability that a crop without ships gets ships of another one pasted.
    """

    zoom: tuple[float, float] = (0.7, 1.4)
    affine: float = Field(0.6, ge=0, le=1)
    colour: float = Field(0.7, ge=0, le=1)
    haze: float = Field(0.12, ge=0, le=1)
    degrade: float = Field(0.25, ge=0, le=1)
    paste: float = Field(0.25, ge=0, le=1)


class Schedule(Settings):
    """The `[schedule]` table: how long and how fast.

    Attributes:
        steps: Optimizer steps; with 0 a quantized run calibrates and nothing more.
        batch: Crops a step.
        crop: Rows and columns of a crop, a multiple of 2 to the depth of the network.
        learning_rate: Peak of the one-cycle schedule.
        warmup: Share of the steps in which the rate rises; it then falls along a cosine.
        weight_decay: Decoupled weight decay of AdamW.
        average: Decay of the running average of the weights, which is what is kept. After n steps it still holds
            ``average**n`` of where it began: 0.998 is for thousands of steps.
        focal_tversky: Weight of the overlap loss beside the cross entropy.
        missed_weight: Weight of missed ship pixels in the overlap loss; false ones have the rest to 1.
        positive_weight: Weight of ship pixels in the cross entropy.
        hard_negatives: How strongly empty images that raised false alarms are drawn again; 0 draws evenly.
        precision: ``bf16``, which is faster where the processor has it, or ``float32``.
        momentum: Stochastic gradient descent with this momentum (Nesterov's), whose `weight_decay` is not decoupled,
            in place of AdamW.
    """

    steps: int = Field(6000, ge=0)
    batch: int = Field(8, ge=1)
    crop: int = Field(256, ge=16)
    learning_rate: float = Field(3e-3, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(1e-2, ge=0)
    average: float = Field(0.99, ge=0, lt=1)
    focal_tversky: float = Field(1.0, ge=0)
    missed_weight: float = Field(0.6, gt=0, lt=1)
    positive_weight: float = Field(2.0, gt=0)
    hard_negatives: float = Field(1.0, ge=0)
    precision: Literal["bf16", "float32"] = "bf16"
    momentum: float | None = Field(None, gt=0, lt=1)


class Quantization(Settings):
    """The `[quantization]` table; without it the run trains the float network.

    Attributes:
        weights: Format of the weights of every convolution but the first and the last, e.g. ``e2m3`` or ``mxfp4``.
        activations: Format after each ReLU; None is the unsigned one of the same width as `weights`, whose sign bit
            goes to the mantissa. A signed one keeps its sign bit, unused.
        first_weights: Format of the weights of the first layer, whose input is the 8-bit pixel; None is `weights`.
        head_weights: Format of the weights of the last layer, whose output is not quantized; None is `weights`.
        skips: Format that skip connections are rounded to once more; None leaves them in `activations`. Emulated only.
        power_of_two: Whether scales are powers of two, which is what flies, or any positive number.
        per_channel: Whether weights have one scale an output channel, or one a layer.
        learned: Whether scales train.
        scale_rate: Learning rate of their logarithms, as a multiple of that of the weights.
        scale_by: What scales are chosen by before training: ``max``, ``percentile`` or ``mse``.
        calibration: Batches that the scales of the activations are chosen on.
        head_activations: Of a residual network, the format of what its last layer reads; None is `activations`.
        way: Of a residual network, how scales are found; they are real numbers, and batch norms stay. ``pact`` has one
            of the weights' statistics and a learned clip for activations, ``lsq`` learned steps for both.
    """

    weights: str = "e2m3"
    activations: str | None = None
    first_weights: str | None = None
    head_weights: str | None = None
    skips: str | None = None
    power_of_two: bool = True
    per_channel: bool = True
    learned: bool = False
    scale_rate: float = Field(20.0, gt=0)
    scale_by: Calibration = "mse"
    calibration: int = Field(16, ge=1)
    head_activations: str | None = None
    way: Way | None = None


class Distillation(Settings):
    """The `[distillation]` table: the network also learns what another says of each pixel.

    Attributes:
        weight: Share of the cross entropy with the teacher's probabilities; the loss on the labels has the rest to 1.
        teacher: Float weights of the teacher; None is what the run starts from, before it is quantized.
        network: Shape of the teacher; None is that of the run.
    """

    weight: float = Field(1.0, gt=0, le=1)
    teacher: Path | None = None
    network: Network | None = None


class Held(Settings):
    """A `[[held_out]]` table: labelled images that are only ever scored, never trained or tuned on.

    Attributes:
        name: What the set is called in the results.
        images: Folder of the images.
        masks: CSV of their masks.
        only: Score only files that match one of these patterns; empty is all.
    """

    name: str
    images: Path
    masks: Path
    only: tuple[str, ...] = ()


class Publication(Settings):
    """The `[publication]` table: the model folder that a run writes.

    Attributes:
        folder: Where the model goes.
        version: Its version.
        threshold: Probability from which a pixel is a ship, for the model and for the scores in its card. Choose it
            without any of the tiles that it is scored on.
        golden: Seed of the synthetic scene that the golden vectors are cut from.
        notes: Markdown file with what the card says of data and known failures; None says nothing.
    """

    folder: Path
    version: str
    threshold: float = Field(0.5, gt=0, lt=1)
    golden: int = 1
    notes: Path | None = None


class Recipe(Settings):
    """A whole training run; its paths are relative to the working directory.

    Attributes:
        name: Name of the run and of the model that it makes.
        question: What the run is for, in a sentence.
        seed: Fixes initialization, sampling and augmentation.
        start: Float weights that the run begins with, in place of random ones.
        network: Shape of the network.
        source: What crops of ships are cut from.
        images: Pictures of classes, of which a residual network learns; None segments ships.
        synthetic: Generated scenes among the crops; None has none.
        augmentation: Random changes to the crops.
        schedule: How long and how fast.
        quantization: Formats of the quantized network; None trains the float network.
        bits: How widths are found that differ from those of `quantization`, with which they begin.
        distillation: A teacher beside the labels; None has none.
        held_out: What the trained network is scored on.
        publication: The model folder to write; None writes none.
    """

    name: str
    question: str
    seed: int = 0
    start: Path | None = None
    network: Network = Network()
    source: tuple[Source, ...] = ()
    images: Images | None = None
    synthetic: Synthetic | None = None
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    quantization: Quantization | None = None
    bits: Learning | None = None
    distillation: Distillation | None = None
    held_out: tuple[Held, ...] = ()
    publication: Publication | None = None

    @model_validator(mode="after")
    def _has_one_task(self) -> Self:
        if (self.images is None) == (not self.source):
            raise ValueError("give the `[[source]]` of ships, or the `[images]` of classes")
        if (self.images is None) != (self.network.resnet is None):
            raise ValueError("`network.resnet` classifies `[images]`, and nothing else does")
        taught = None if self.distillation is None else self.distillation.network
        if taught is not None and (taught.resnet is None) != (self.images is None):
            raise ValueError(
                "`distillation.network` and `network` must do the same: classify `[images]`, or find ships"
            )
        others = self.publication or self.held_out or self.synthetic or self.augmentation != Augmentation()
        if self.images is not None and others:
            raise ValueError("`augmentation`, `publication`, `held_out` and `synthetic` are for ships")
        return self

    @model_validator(mode="after")
    def _quantizes_what_it_says(self) -> Self:
        if self.bits is not None and self.quantization is None:
            raise ValueError("`[bits]` begin with the formats of `[quantization]`, which is missing")
        how = self.quantization
        if how is not None and (how.way is None) != (self.network.resnet is None):
            raise ValueError("a residual network needs `quantization.way`, and no other has it")
        return self

    @model_validator(mode="after")
    def _crops_can_be_pooled(self) -> Self:
        if self.images is None and self.schedule.crop % self.network.alignment:
            raise ValueError(f"this network needs crops of a multiple of {self.network.alignment}")
        return self

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        if self.distillation is not None and self.distillation.teacher is None and self.start is None:
            raise ValueError("a network that starts from random weights can only learn from a `distillation.teacher`")
        return self

    def digest(self) -> str:
        """SHA-256 over all that decides the training; its name, and what is scored or published afterwards, do not."""
        silent = {"name": "", "question": "", "held_out": (), "publication": None}
        return sha256_config(self.model_copy(update=silent))

    def inputs(self) -> dict[str, str]:
        """SHA-256, by path, of the files that the training reads besides images: tables of masks, and `start`."""
        teacher = None if self.distillation is None else self.distillation.teacher
        files = {source.masks for source in self.source} | {path for path in (self.start, teacher) if path is not None}
        return {str(path): sha256_file(path) for path in sorted(files)}

    def pixels(self) -> dict[str, str]:
        """SHA-256, by path, of the folders or files of images that the training reads."""
        places = {source.images for source in self.source} | ({self.images.train} if self.images else set())
        return {str(path): sha256_folder(path) if path.is_dir() else sha256_file(path) for path in sorted(places)}

    def identity(self) -> str:
        """The digest of the recipe and those of its inputs: what makes two runs one."""
        return " ".join((self.digest(), *self.inputs().values()))
