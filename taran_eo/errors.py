"""Every error that taran_eo raises on purpose: a letter to the person on shift at three in the morning.

Each message says what went wrong, with which value and against which limit, and ends with what to do.
There is one root, `TaranError`; each error is also its built-in kin, so that ``except ValueError`` works.
The facts of the message are kept as attributes, for programs that read errors.
"""


class TaranError(Exception):
    """The root of all errors raised by taran_eo.

    Args:
        what: What happened, with the value and the limit that it met, as a sentence without its full stop.
        remedy: What the reader can do about it, as a sentence without its full stop.
        **facts: Values named in the message, kept in `facts` and readable as attributes.
    """

    def __init__(self, what: str, *, remedy: str, **facts: object) -> None:
        super().__init__(f"{what}. {remedy}{'' if remedy.endswith('?') else '.'}")
        self.what = what
        self.remedy = remedy
        self.facts = facts

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; the default pickling would lose the keyword arguments.
        return _rebuild, (type(self), self.what, self.remedy, self.facts)


def _rebuild(kind: type[TaranError], what: str, remedy: str, facts: dict[str, object]) -> TaranError:
    return kind(what, remedy=remedy, **facts)


class FormatError(TaranError, ValueError):
    """A number format that cannot exist, or a value that a format cannot hold."""


class GraphError(TaranError, ValueError):
    """A program that is not well formed, or not exact where it must be."""


class LoweringError(TaranError, ValueError):
    """A network that has no program, or no exact one of integers; says which layer and why."""


class ContractError(TaranError, ValueError):
    """Imagery that does not meet the input contract of a model."""


class ImageryError(TaranError, OSError):
    """An image file that cannot be read, or a folder that holds none."""


class ModelError(TaranError, ValueError):
    """A model folder that is incomplete, altered or of another version."""


class CorruptDataError(TaranError, ValueError):
    """Bytes that no encoder of ours wrote, or that changed since."""


class ConfigError(TaranError, ValueError):
    """A configuration file or an option with a value that makes no sense."""


class DivergedError(TaranError, ArithmeticError):
    """A training run whose loss or gradient is no number any more."""


class WidthError(TaranError, ValueError):
    """Bit-widths that cannot be learned, or a cost that they cannot reach."""


class OutputError(TaranError, OSError):
    """An output place that cannot be written, or that belongs to another run."""


class MissingExtraError(TaranError, ImportError):
    """A part of taran_eo that needs an optional dependency which is not installed."""

    @classmethod
    def of(cls, extra: str, module: str) -> "MissingExtraError":
        """The error for `module`, which comes with the optional extra `extra`."""
        return cls(
            f"This needs the Python package {module}, which is not installed",
            remedy=f"Install the extra that brings it: pip install 'taran-eo[{extra}]'",
            extra=extra,
            module=module,
        )
