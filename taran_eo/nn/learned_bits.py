"""Bit-widths that are learned while the network trains: AdaQAT, for integers and minifloats, in any grouping.

Each width is a real number. A step is trained with one of the two whole numbers beside it, drawn so that the real one
is their mean; the gradient is a finite difference: the loss of a batch with the upper one, less that of the same batch
with one bit fewer. A cost of the hardware, as a share of what the widest formats cost, is differenced alike and presses
down; the sum moves the real number (Gernigon, Filip, Sentieys, Coggiola and Bruno, arXiv 2404.16876: relaxed widths,
discretised for all quantization and updated by gradient descent). Of the paper only the abstract was at hand: every
constant here is ours, and so are the draw, the groups, the target, the deadline and all about minifloats.

A width that is never trained with a bit fewer looks dearer than it is, and weights more so than activations, as they
adapt: hence the draw.

The further passes are amortised: widths are probed every few steps, a few of them in turn. A width that keeps going
back and forth is frozen at the upper of the two, and at the deadline all of them are, so that the training ends with
widths that no longer change.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from taran_eo.config import Settings
from taran_eo.errors import WidthError
from taran_eo.formats import Format, Integer, MiniFloat, parse_format, spend_sign
from taran_eo.nn.sites import COSTS, CostName, Kind, Layer, Site, present, sites

LARGEST_EXPONENT = 3
"""Exponent bits of the widest split that has an exact integer graph."""

FARTHEST = 1.0
"""A width moves by no more bits at once: a slope between neighbours says nothing of what is beyond them, and one batch
on which the network is ruined would send its width to the other end."""


class Learning(Settings):
    """The `[bits]` table: how the widths of a network are found.

    Attributes:
        method: ``adaqat`` learns them by finite differences; ``fracbits`` by interpolation between neighbouring widths;
            ``greedy`` and ``hessian`` choose them before the training, by what narrowing costs in loss, or by the
            curvature of the loss.
        lowest: Fewest bits.
        highest: Most bits.
        group: One pair of widths (weights, activations) for the network, as in the paper; one a layer; or one for each
            of so many groups of neighbouring layers with about the same number of multiplications.
        cost: What presses the widths down.
        pressure: Its weight in the loss, times the share of the cost that the widest formats have.
        target: The share from which nothing presses any more; None presses to the end, which ``greedy`` and ``hessian``
            do not know.
        rise: How many times the pressure has grown at the deadline, so that a target is met that the first pressure
            would miss; without a target it does not grow.
        weight_rate: Learning rate of the widths of weights.
        activation_rate: Learning rate of those of activations.
        every: Steps from one probe to the next.
        probed: Groups of widths that a probe looks at, in turn.
        share: Of the batch that is probed.
        reversals: A width that turned so often is frozen.
        until: Share of the training after which all widths are frozen.
        split: Of minifloats: the one of the least error in calibration for a learned width, or exponent and mantissa
            learned apart, which ``adaqat`` alone does.
        batches: Of ``greedy`` and ``hessian``: batches that they look at.
        draws: Of ``hessian``: random vectors for each tensor and batch.
        seed: What is drawn at random follows from it: vectors of ``hessian``, widths of the steps of ``adaqat``.
    """

    method: Literal["adaqat", "fracbits", "greedy", "hessian"] = "adaqat"
    lowest: int = Field(2, ge=1)
    highest: int = Field(8, le=8)
    group: Literal["network", "layer"] | int = "network"
    cost: CostName = "bit_operations"
    pressure: float = Field(1.0, ge=0)
    target: float | None = Field(None, gt=0, le=1)
    rise: float = Field(10.0, ge=1)
    weight_rate: float = Field(1.0, gt=0)
    activation_rate: float = Field(1.0, gt=0)
    every: int = Field(4, ge=1)
    probed: int = Field(2, ge=1)
    share: float = Field(1.0, gt=0, le=1)
    reversals: int = Field(20, ge=1)
    until: float = Field(0.5, gt=0, le=1)
    split: Literal["calibrated", "relaxed"] = "calibrated"
    batches: int = Field(2, ge=1)
    draws: int = Field(4, ge=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _can_be_done(self) -> Self:
        if self.method in ("greedy", "hessian") and self.target is None:
            raise ValueError(f"`bits.method` {self.method} lowers widths down to a `bits.target`, which is missing")
        if self.method != "adaqat" and self.split == "relaxed":
            raise ValueError(f"`bits.split` is learned by `bits.method` adaqat, and not by {self.method}")
        return self


@dataclass
class Width:
    """A number of bits that is learned.

    Attributes:
        value: The real number.
        lowest: Where it stops.
        highest: Where it stops.
        rate: Its learning rate.
        turns: How often it turned.
        rising: Whether its bits last grew; None before they changed.
        frozen: Whether it is learned no more.
    """

    value: float
    lowest: int
    highest: int
    rate: float
    turns: int = 0
    rising: bool | None = None
    frozen: bool = False

    @property
    def bits(self) -> int:
        """What is computed with."""
        return math.ceil(self.value)

    def drawn(self, chance: float) -> int:
        """What a step is trained with: with a chance, of 0 to 1, a bit fewer, the oftener the nearer it is."""
        return self.bits - (chance < self.bits - self.value)

    @property
    def neighbour(self) -> int:
        """What that is compared with: a bit fewer, or at the lowest a bit more."""
        return self.bits - 1 if self.bits > self.lowest else self.bits + 1

    def follow(self, slope: float) -> None:
        """Go down a slope, within the range."""
        far = max(-FARTHEST, min(FARTHEST, self.rate * slope))
        self.value = min(float(self.highest), max(float(self.lowest), self.value - far))

    def move(self, slope: float, most_turns: int) -> None:
        """Follow a slope, and freeze after too many turns."""
        before = self.bits
        self.follow(slope)
        if self.bits == before:
            return
        rising = self.bits > before
        self.turns += self.rising is not None and rising != self.rising
        self.rising = rising
        if self.turns >= most_turns:
            self.value, self.frozen = float(max(before, self.bits)), True


@dataclass(frozen=True, eq=False)
class Group:
    """Sites of one kind that share their widths.

    Attributes:
        name: Its name.
        kind: What its sites hold.
        places: Its sites, by their number among those of the network.
        widths: One, of all bits; or two of a minifloat: of the exponent and of the mantissa with what the sign left.
    """

    name: str
    kind: Kind
    places: tuple[int, ...]
    widths: tuple[Width, ...]

    @property
    def bits(self) -> tuple[int, ...]:
        """Those of its widths."""
        return tuple(width.bits for width in self.widths)


Loss = Callable[[float], float]
"""The loss of the first share of the present batch, without a gradient and without a trace in the network. Batch norms
take their running statistics: those of the batch would undo much of the rounding, and differ from batch to batch."""


class Widths:
    """The widths of a network, in groups, with their formats and their cost.

    Attributes:
        groups: What is learned or chosen.
        whole: The cost of the widest formats.
        trace: A line for each probe: the step, the cost as a share of `whole`, and the real widths.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        how: Learning,
        *,
        fixed: Iterable[Site] = (),
        followers: Iterable[Sequence[Layer]] = (),
    ) -> None:
        """Begin with the widths that the network has.

        Args:
            layers: Of the network.
            how: Settings.
            fixed: Sites that keep their format.
            followers: Layers of networks of the same shape that take every width too, such as its running average.

        Raises:
            WidthError: A width begins out of range, nothing is left to learn, or the target is below the lowest widths.
        """
        self.layers, self.how, self.cost = tuple(layers), how, COSTS[how.cost]
        self.sites = sites(layers)
        self.followers = [sites(each) for each in followers]
        self.splits: dict[str, str] = {}
        self.trace: list[list[float]] = []
        stay = {id(site) for site in fixed}
        self.groups = tuple(
            _groups(self.layers, [site for site in self.sites if id(site) not in stay], self.sites, how)
        )
        if not self.groups:
            raise WidthError("All layers have a fixed format", remedy="Leave out first_weights and head_weights")
        self.whole = self.cost_at(lambda width: width.highest)
        least = self.cost_at(lambda width: width.lowest) / self.whole
        if how.target is not None and least > how.target:
            raise WidthError(
                f"With {how.lowest} bits everywhere the network has {least:.3f} of the cost of {how.highest} bits, "
                f"which is above the target of {how.target:g}",
                remedy="Raise `target`, lower `lowest`, or let the first and the last layer learn too",
                least=least,
            )

    def pressure(self, step: int, steps: int, cost: float) -> float:
        """The weight of the cost in a step, where the present cost is given."""
        how = self.how
        if how.target is None:
            return how.pressure
        if cost <= how.target * self.whole:
            return 0.0
        grown: float = how.rise ** min(1.0, step / (how.until * steps))
        return how.pressure * grown

    @property
    def done(self) -> bool:
        """Whether all widths are frozen."""
        return all(width.frozen for group in self.groups for width in group.widths)

    @property
    def share(self) -> float:
        """Present cost as a share of that of the widest formats."""
        return self.cost(self.layers, present) / self.whole

    def remember(self) -> dict[str, Any]:
        """What a checkpoint must hold; the formats themselves are in the state of the networks."""
        widths = [asdict(width) for group in self.groups for width in group.widths]
        return {"widths": widths, "splits": dict(self.splits), "trace": self.trace}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Take up what was remembered."""
        for width, kept in zip(
            (width for group in self.groups for width in group.widths), state["widths"], strict=True
        ):
            for name, value in kept.items():
                setattr(width, name, value)
        self.splits, self.trace = dict(state["splits"]), list(state["trace"])

    @property
    def names(self) -> list[str]:
        """Of the real widths, as in the lines of `trace`."""
        parts = ("",) if self.how.split == "calibrated" else (" exponent", " mantissa")
        return [
            f"{group.kind} {group.name}{part}"
            for group in self.groups
            for part, _ in zip(parts if len(group.widths) > 1 else ("",), group.widths, strict=True)
        ]

    def _total(self, bits: Sequence[int]) -> int:
        """All bits; of exponent and mantissa no more than there may be."""
        return bits[0] if len(bits) == 1 else min(self.how.highest, max(self.how.lowest, 1 + sum(bits)))

    def take(self, group: Group, bits: Sequence[int]) -> None:
        """Give the sites of a group, here and in the followers, the formats of so many bits."""
        for place in group.places:
            fmt = self.format_of(place, bits)
            for each in (self.sites, *self.followers):
                each[place].take(fmt)

    def attempt(self, group: Group, bits: Sequence[int]) -> list[Callable[[], None]]:
        """Give the sites of a group, but not those of the followers, other formats until what is returned is called."""
        return [self.sites[place].attempt(self.format_of(place, bits)) for place in group.places]

    def cost_at(self, bits_of: Callable[[Width], int]) -> float:
        """The cost with other bits; of minifloats it is that of their width, whatever the split."""
        widths = {
            id(self.sites[place]): Integer(self._total([bits_of(width) for width in group.widths]), signed=False)
            for group in self.groups
            for place in group.places
        }
        return self.cost(self.layers, lambda site: widths.get(id(site), site.format))

    def cost_with(self, other: Width, bits: int) -> float:
        """The cost with other bits of one width."""
        return self.cost_at(lambda width: bits if width is other else width.bits)

    def freeze(self) -> dict[str, Format]:
        """Freeze all widths: where the target is not met, first the ones nearest to a bit fewer lose that bit.

        Returns:
            The format of each site that was learned, by kind and name.

        Raises:
            WidthError: The target is out of reach even so.
        """
        target, widths = self.how.target, [width for group in self.groups for width in group.widths]
        # Those that turned too often come last: they froze at the upper of two widths, of which the lower will do.
        lower = sorted(
            (width for width in widths if width.bits > width.lowest),
            key=lambda width: (width.frozen, width.value - width.bits),
        )
        bits = {id(width): width.bits for width in widths}

        def cost() -> float:
            return self.cost_at(lambda width: bits[id(width)])

        for width in lower:
            if target is None or (before := cost()) <= target * self.whole:
                break
            bits[id(width)] -= 1
            if cost() == before:  # what saves nothing is kept
                bits[id(width)] += 1
        if target is not None and cost() > target * self.whole:
            raise WidthError(
                f"At the deadline the widths cost {cost() / self.whole:.3f} of {self.how.highest} bits even with a bit "
                f"fewer each, above the target of {target:g}",
                remedy="Raise `pressure`, `rise`, rates, `until` or the target; widths.csv has how far they came",
                share=cost() / self.whole,
            )
        for width in widths:
            width.value, width.frozen = float(bits[id(width)]), True
        for group in self.groups:
            self.take(group, group.bits)
        return self.formats()

    def formats(self) -> dict[str, Format]:
        """The present format of each site that is learned, by kind and name."""
        return {
            f"{group.kind} {self.sites[place].name}": self.sites[place].format
            for group in self.groups
            for place in group.places
        }

    def format_of(self, place: int, bits: Sequence[int]) -> Format:
        """The format of a site with so many bits."""
        site = self.sites[place]
        signed = site.kind == "weights"
        fmt: Format
        if isinstance(site.format, Integer):
            return Integer(bits[0], signed=signed)
        if len(bits) == 2:
            fmt = MiniFloat(bits[0], bits[1])
            return fmt if signed else spend_sign(fmt)
        key = f"{place} {bits[0]}"
        if key not in self.splits:
            found = splits(bits[0])
            self.splits[key] = str(min(found if signed else map(spend_sign, found), key=site.error))
        return parse_format(self.splits[key])


class LearnedBits(Widths):
    """The widths of a network, as they are learned by AdaQAT."""

    def __init__(
        self,
        layers: Sequence[Layer],
        how: Learning,
        *,
        fixed: Iterable[Site] = (),
        followers: Iterable[Sequence[Layer]] = (),
    ) -> None:
        super().__init__(layers, how, fixed=fixed, followers=followers)
        self.turn = 0
        self.narrowed: list[Callable[[], None]] = []

    def before(self, step: int, steps: int) -> Tensor | None:
        """Narrow some widths for the coming step; to be called before the network.

        Returns:
            Nothing: the cost is differenced beside the loss.
        """
        rng = np.random.default_rng([self.how.seed, step])
        for group in self.groups:
            bits = [width.drawn(rng.random()) for width in group.widths]
            if tuple(bits) != group.bits:
                self.narrowed += self.attempt(group, bits)
        return None

    def after(self, step: int, steps: int, loss_of: Loss) -> None:
        """Learn from the batch of a step, if it is one to probe, or freeze.

        Args:
            step: The step, from 0.
            steps: Steps of the training.
            loss_of: Gives the loss with the present widths, whatever they are.

        Raises:
            WidthError: At the deadline the target is out of reach; the widths are as they were.
        """
        for undo in self.narrowed:
            undo()
        self.narrowed.clear()
        if self.done:
            return
        if step + 1 >= self.how.until * steps:
            self.freeze()
        elif (step + 1) % self.how.every == 0:
            base = loss_of(self.how.share)
            for _ in range(min(self.how.probed, len(self.groups))):
                group = self.groups[self.turn % len(self.groups)]
                self.turn += 1
                before = group.bits
                cost = self.cost(self.layers, present)
                self._probe(group, base, cost, self.pressure(step, steps, cost), loss_of)
                if group.bits != before:
                    base = loss_of(self.how.share)
            if all(width.frozen for each in self.groups for width in each.widths):
                self.freeze()
        else:
            return
        values = [width.value for group in self.groups for width in group.widths]
        self.trace.append([step + 1, self.share, *values])

    def _probe(self, group: Group, base: float, cost: float, pressure: float, loss_of: Loss) -> None:
        """Look at each width of a group with a bit fewer, then move them all."""
        slopes = []
        for number, width in enumerate(group.widths):
            if width.frozen or width.lowest == width.highest:
                slopes.append(0.0)
                continue
            bits = list(group.bits)
            bits[number] = width.neighbour
            undo = self.attempt(group, bits)
            other, other_cost = loss_of(self.how.share), self.cost_with(width, width.neighbour)
            for each in undo:
                each()
            apart = width.bits - width.neighbour
            change = (base - other) if math.isfinite(other) else -math.inf
            slopes.append((change + pressure * (cost - other_cost) / self.whole) / apart)
        before = [width.value for width in group.widths]
        for width, slope in zip(group.widths, slopes, strict=True):
            width.move(slope, self.how.reversals)
        if len(group.widths) > 1 and not self.how.lowest <= 1 + sum(group.bits) <= self.how.highest:
            for width, value in zip(group.widths, before, strict=True):
                width.value = value
        self.take(group, group.bits)

    def remember(self) -> dict[str, Any]:
        """What a checkpoint must hold; the formats themselves are in the state of the networks."""
        return super().remember() | {"turn": self.turn}

    def recall(self, state: Mapping[str, Any]) -> None:
        """Take up what was remembered."""
        super().recall(state)
        self.turn = state["turn"]


def splits(bits: int) -> list[MiniFloat]:
    """The signed minifloats of a width that have an exact integer graph, at least one mantissa bit among them."""
    return [MiniFloat(exponent, bits - 1 - exponent) for exponent in range(1, min(LARGEST_EXPONENT, bits - 2) + 1)]


def _groups(layers: Sequence[Layer], learned: Sequence[Site], every: Sequence[Site], how: Learning) -> Iterator[Group]:
    number = {id(site): place for place, site in enumerate(every)}
    names = _grouping(layers, how.group)
    for kind, rate in (("weights", how.weight_rate), ("activations", how.activation_rate)):
        chosen = sorted((site for site in learned if site.kind == kind), key=lambda site: names[id(site)])
        parts = [(name, list(members)) for name, members in groupby(chosen, key=lambda site: names[id(site)])]
        for (_, name), members in parts:
            places = tuple(number[id(site)] for site in members)
            # The differences of one of many groups are as many times smaller.
            yield Group(name, members[0].kind, places, _widths(members, how, rate * len(parts)))


def _grouping(layers: Sequence[Layer], group: str | int) -> dict[int, tuple[int, str]]:
    """Number and name of the group of each site: that of the first layer that has it."""
    names: dict[int, tuple[int, str]] = {}
    whole, before = sum(layer.macs for layer in layers), 0.0
    for place, layer in enumerate(layers):
        for site in (layer.weights, layer.activations):
            if site is None or id(site) in names:
                continue
            if group == "layer":
                names[id(site)] = place, site.name
            elif group == "network":
                names[id(site)] = 0, "network"
            else:
                part = min(int(group) - 1, int(int(group) * (before + layer.macs / 2) / whole))
                names[id(site)] = part, f"part {part + 1}"
        before += layer.macs
    return names


def _widths(members: Sequence[Site], how: Learning, rate: float) -> tuple[Width, ...]:
    fmt = members[0].format
    if any(type(each.format) is not type(fmt) or each.format.bits != fmt.bits for each in members):
        raise WidthError(
            f"{members[0].name} and {members[-1].name} share a width, but begin with {fmt} and {members[-1].format}",
            remedy="Give them one format, or learn a width a layer",
        )
    least = how.lowest if isinstance(fmt, Integer) else max(how.lowest, 3)
    least = max(least, 2 if members[0].kind == "weights" else 1)
    if least != how.lowest or not how.lowest <= fmt.bits <= how.highest:
        raise WidthError(
            f"The widths of {members[0].name} begin with {fmt} and shall have {how.lowest} to {how.highest} bits, but "
            f"{'a minifloat' if isinstance(fmt, MiniFloat) else 'an integer'} has {least} at least",
            remedy="Correct `lowest`, `highest`, or the formats in [quantization]",
        )
    if isinstance(fmt, Integer) or how.split == "calibrated":
        return (Width(float(fmt.bits), how.lowest, how.highest, rate),)
    mantissa = fmt.bits - 1 - fmt.exponent_bits
    return (
        Width(float(fmt.exponent_bits), 1, LARGEST_EXPONENT, rate),
        Width(float(mantissa), 1, how.highest - 2, rate),
    )
