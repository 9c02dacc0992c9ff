"""The settings of the convolution explorer: what each may be, given the others, and why not more.

``src/explorer/limits.js`` holds the same rules for pages without a kernel; a test compares every number and sentence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import index
from typing import Final, Literal, NamedTuple, Self, SupportsIndex, cast

Padding = int | Literal["same", "valid"]

# What the picture can hold legibly, by `dims`.
MAX_INPUT: Final = {1: 32, 2: 16}
MAX_KERNEL: Final = {1: 11, 2: 7}
MAX_PAINTED: Final = {1: 48, 2: 24}
MAX_STEP: Final = 6
MAX_CHANNELS: Final = 4

# Of two that do not go together the one further to the front is to blame.
_BLAMED: Final = ("kernel_size", "dilation", "stride", "padding", "groups", "in_channels", "out_channels", "input_size")
SIZES: Final = ("input_size", "kernel_size", "stride", "dilation", "padding")
CHANNELS: Final = ("in_channels", "out_channels", "groups")


class Limit(NamedTuple):
    """The least and the greatest value that a setting may have now, and the reason for each."""

    low: int
    high: int
    why_low: str
    why_high: str


class Problem(NamedTuple):
    """A setting that does not go with the others, why, and a value of it that would."""

    name: str
    reason: str
    works: object


@dataclass(frozen=True, kw_only=True)
class ConvSettings:
    """One convolution on one small input, every axis alike; sizes in pixels, names and meanings are torch's.

    Making one checks types only, so that a value on its way in can be asked for its `problems`; `check` raises.

    Example:
        >>> next(ConvSettings(input_size=4, kernel_size=5).problems()).works
        4
    """

    dims: int = 2
    input_size: int = 8
    kernel_size: int = 3
    stride: int = 1
    padding: Padding = 0
    dilation: int = 1
    groups: int = 1
    in_channels: int = 1
    out_channels: int = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.dims, bool) or self.dims not in (1, 2):
            raise ValueError(f"dims must be 1 or 2, got {self.dims!r}; try dims=2.")
        if not isinstance(self.transposed, bool):
            raise ValueError(f"transposed must be True or False, got {self.transposed!r}; try transposed=True.")
        for name in (*SIZES, *CHANNELS):
            value = getattr(self, name)
            if name == "padding" and isinstance(value, str) and value in ("same", "valid"):
                continue
            try:
                # numpy's integers are as good as Python's; True is no number.
                whole = index(cast(SupportsIndex, None if isinstance(value, bool) else value))
                object.__setattr__(self, name, whole)
            except TypeError:
                kind = 'a whole number, "same" or "valid"' if name == "padding" else "a whole number"
                raise ValueError(f"{name} must be {kind}, got {value!r}; try {name}=1.") from None

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`."""
        return replace(self, **changes)  # type: ignore[arg-type]  # types are checked as the copy is made

    def check(self, changed: str | None = None) -> None:
        """Raise unless the settings go together.

        Args:
            changed: the setting to blame, where there is a choice.

        Raises:
            ValueError: one sentence with the argument, its value, the reason, and a value that works.
        """
        found = next(self.problems(changed), None)
        if found is None:
            return
        name, reason, works = found
        if changed in (None, name):
            text = f"{name}={getattr(self, name)!r} is not possible here: {reason}; try {name}={works!r}."
        else:
            pair = f"{changed}={getattr(self, str(changed))!r} does not go with {name}={getattr(self, name)!r}"
            text = f"{pair}: {reason}; set {name}={works!r} first."
        raise ValueError(text)

    def problems(self, first: str | None = None) -> Iterator[Problem]:
        """Whatever does not go with the rest, each setting in turn, beginning with `first`."""
        names = sorted(_BLAMED, key=lambda name: name != first)
        # Relations between settings are worked out only for values that the picture can hold at all.
        outside = [problem for problem in map(self._range_problem, names) if problem]
        for name, reason, works in outside:
            inside = self.replace(**{name: works})
            yield Problem(name, reason, inside._settled(name) if len(outside) == 1 else works)
        if not outside:
            yield from filter(None, map(self._relation_problem, names))

    def _relation_problem(self, name: str) -> Problem | None:
        return self._channel_problem(name) if name in CHANNELS else self._size_problem(name)

    def _settled(self, name: str) -> object:
        """The value of `name`, or the nearest that goes with the others."""
        problem = self._relation_problem(name)
        return problem.works if problem else getattr(self, name)

    @property
    def span(self) -> int:
        """Pixels from the first to the last tap of the kernel, along one axis."""
        return self.dilation * (self.kernel_size - 1) + 1

    @property
    def pads(self) -> tuple[int, int]:
        """Pixels added before and after, along each axis; for a transposed convolution: cropped."""
        if self.padding == "same":
            return (self.span - 1) // 2, self.span // 2
        return (0, 0) if isinstance(self.padding, str) else (self.padding, self.padding)

    def limit(self, name: str) -> Limit:
        """The bounds of one of `SIZES`, all others as they are; of `padding`, those of a number."""
        if name == "padding" and isinstance(self.padding, str):
            return self.replace(padding=0).limit(name)
        low, high, why_low, why_high = self._painted(name) if self.transposed else self._fitted(name)
        least, most = self.drawn(name)
        drawable = f"the explorer draws {name} from {least} to {most} in {self.dims}-D"
        if low is None or low <= least:
            low, why_low = least, drawable
        if high is None or high >= most:
            high, why_high = most, drawable
        return Limit(low, high, why_low, why_high)

    def drawn(self, name: str) -> tuple[int, int]:
        """The least and the greatest value that the explorer can draw, whatever the others are."""
        if name in CHANNELS:
            return 1, MAX_CHANNELS
        most = {"input_size": MAX_INPUT[self.dims], "kernel_size": MAX_KERNEL[self.dims]}.get(name, MAX_STEP)
        return 0 if name == "padding" else 1, most

    def _fitted(self, name: str) -> tuple[int | None, int | None, str, str]:
        """Bounds of a convolution: the kernel's span fits into the input with its padding."""
        n, k, d = self.input_size, self.kernel_size, self.dilation
        same, room = self.padding == "same", self.input_size + sum(self.pads)
        has = f"and the input with its padding has {room} px"
        if name == "input_size" and not same:
            why = f"the kernel spans {self.span} px and the padding adds {sum(self.pads)} px"
            return self.span - sum(self.pads), None, why, ""
        if name == "kernel_size" and not same:
            high = (room - 1) // d + 1
            return None, high, "", f"a kernel of {high + 1} would span {d * high + 1} px {has}"
        if name == "dilation" and not same and k > 1:
            high = (room - 1) // (k - 1)
            return None, high, "", f"at {high + 1} the kernel would span {(high + 1) * (k - 1) + 1} px {has}"
        if name == "padding":
            return (self.span - n + 1) // 2, None, f"the kernel spans {self.span} px and the input has {n} px", ""
        if name == "stride" and same:
            return None, 1, "", self.replace(stride=2).no_same()
        return None, None, "", ""

    def _painted(self, name: str) -> tuple[int | None, int | None, str, str]:
        """Bounds of a transposed convolution: something is left after cropping, and the picture can hold it."""
        n, k, s, d = self.input_size, self.kernel_size, self.stride, self.dilation
        full, most, crop = (n - 1) * s + self.span, MAX_PAINTED[self.dims], sum(self.pads)
        left = f"padding crops {crop} px and no output would be left"
        large = f"the output before cropping would have more than {most} px, too large to draw"
        if name == "input_size":
            return 1 - (self.span - crop - 1) // s, (most - self.span) // s + 1, left, large
        if name == "kernel_size":
            return 1 - ((n - 1) * s - crop) // d, (most - 1 - (n - 1) * s) // d + 1, left, large
        if name == "stride" and n > 1:
            return -((self.span - crop - 1) // (n - 1)), (most - self.span) // (n - 1), left, large
        if name == "dilation" and k > 1:
            return -(((n - 1) * s - crop) // (k - 1)), (most - 1 - (n - 1) * s) // (k - 1), left, large
        if name == "padding":
            why = f"the output has {full} px before padding crops it on both sides, and one must be left"
            return None, (full - 1) // 2, "", why
        return None, None, "", ""

    def nearest_padding(self) -> int:
        """The number that comes nearest to what padding="same" promises: ceil(input_size / stride) outputs."""
        promise = -(-self.input_size // self.stride)

        def distance(padding: int) -> tuple[int, int]:
            output = (self.input_size + 2 * padding - self.span) // self.stride + 1
            return abs(output - promise), abs(2 * padding - self.span + 1)

        low, high, *_ = self.limit("padding")
        return min(range(low, high + 1), key=distance, default=low)

    def no_same(self) -> str:
        """Why torch has no padding="same" here, and what comes nearest."""
        nearest = self.nearest_padding()
        output = (self.input_size + 2 * nearest - self.span) // self.stride + 1
        return (
            f"torch has no padding='same' with a stride above 1; with stride {self.stride}, "
            f"padding={nearest} comes nearest and gives {output} px"
        )

    def _range_problem(self, name: str) -> Problem | None:
        value = getattr(self, name)
        least, most = self.drawn(name)
        if isinstance(value, str) or least <= value <= most:
            return None
        reason = f"the explorer draws {name} from {least} to {most} in {self.dims}-D"
        return Problem(name, reason, min(max(value, least), most))

    def _size_problem(self, name: str) -> Problem | None:
        value = getattr(self, name)
        if isinstance(value, str):
            return self._padding_problem()
        low, high, why_low, why_high = self.limit(name)
        if value < low:
            return Problem(name, why_low, "same" if low > high else low)
        return Problem(name, why_high, high) if value > high else None

    def _padding_problem(self) -> Problem | None:
        low, high, *_ = self.limit("padding")
        if self.transposed:
            reason = "torch's transposed convolution takes a number for padding"
            return Problem("padding", reason, min(self.pads[0], high))
        if self.padding == "same" and self.stride > 1:
            return Problem("padding", self.no_same(), self.nearest_padding())
        if self.padding == "valid" and self.span > self.input_size:
            reason = f"the kernel spans {self.span} px and the input has {self.input_size} px"
            return Problem("padding", reason, "same" if low > high else low)
        return None

    def _channel_problem(self, name: str) -> Problem | None:
        value = getattr(self, name)
        if self.works(name, value):
            return None
        reason = f"groups must divide in_channels ({self.in_channels}) and out_channels ({self.out_channels})"
        if name != "groups":
            reason = f"groups={self.groups} must divide {name}"
        options = [option for option in range(1, MAX_CHANNELS + 1) if self.works(name, option)]
        return Problem(name, reason, min(options, key=lambda option: abs(option - value)))

    def works(self, name: str, value: int) -> bool:
        """Whether one of `CHANNELS` may have `value`, the other two as they are."""
        if name == "groups":
            return self.in_channels % value == 0 and self.out_channels % value == 0
        return value % self.groups == 0
