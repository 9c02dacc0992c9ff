"""The Build panel: a network from the gallery or block by block, seen before any weight is made."""

import html
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, Final

import ipywidgets as widgets
import traitlets

from convlab.data.resolve import Data
from convlab.frontend.copy import CopyButton
from convlab.frontend.style import Style
from convlab.frontend.summary import SummaryTable
from convlab.limits import SpecError
from convlab.models.build import code, preview
from convlab.models.gallery import GALLERY
from convlab.models.summary import summarize
from convlab.net_spec import CHOICES, MOST_BLOCKS, NET_LIMITS, Block, Head, NetSpec
from convlab.panels.latest import Latest
from convlab.panels.messages import Messages

OWN: Final = "your own"
_STYLE: Final = {"description_width": "7em"}

WORDS: Final = {
    "out_channels": "Filters of the block, and so the channels that come out.",
    "kind": "conv: a convolution. residual: two, added to their input. inception: several kernels side by side. "
    "separable: each channel by itself, then across channels.",
    "repeat": "How many of them follow each other before the pooling.",
    "kernel_size": "Side of the kernel, in pixels.",
    "stride": "Pixels from one position of the kernel to the next, in the first of them.",
    "padding": "same: the size stays (stride 1 only). valid: none. keras_same: as Keras pads. Or a number of pixels.",
    "norm": "What brings the values to one scale after each convolution.",
    "activation": "What bends them after that.",
    "pool": "What makes the picture smaller at the end of the block.",
    "pool_size": "Side of the pooling's window, and its stride, in pixels.",
    "dropout": "Probability that a value is set to 0 while training; 0 puts no layer there.",
    "bias": "Whether a number of its own is added to each channel.",
    "hidden": "Units of the layers between the blocks and the classes, such as 64 or 120, 84; none if empty.",
}

HEAD_KIND: Final = (
    "flatten: every position has weights of its own. avg: the average of each feature map. "
    "pixels: a class for every pixel."
)


class NetBuilder(widgets.VBox):
    """Choose a network, or put blocks one after the other; shapes, fields, cost and code follow at once.

    Args:
        data: what it shall take: the size of its pictures and the number of classes.
        use: takes the recipe and the seed of the weights, when it is to be trained.
        spec: to begin with.

    Attributes:
        spec: the network as the controls stand; set it to move them.
        block: which block's controls are shown, from 0.

    Example:
        >>> from convlab.data import resolve
        >>> panel = NetBuilder(resolve("digits"), lambda spec, seed: None)
        >>> panel.choose("resnet")
        >>> panel.change(out_channels=24)
        >>> panel.spec.blocks[0].out_channels
        24
    """

    spec = traitlets.Instance(NetSpec)

    def __init__(self, data: Data, use: Callable[[NetSpec, int], object], spec: NetSpec | None = None) -> None:
        self._data, self._use = data, use
        self.block = 0
        self._moving = False
        self._messages = Messages()
        self._latest = Latest(self._on_error)
        self.gallery = widgets.Dropdown(
            options=[(OWN, ""), *((net.title, name) for name, net in GALLERY.items())],
            description="Network",
            style=_STYLE,
        )
        self.about = widgets.HTML()
        self.ladder = widgets.Text("16-32-64", description="Filters", style=_STYLE, continuous_update=False)
        self.ladder.tooltip = "A block for each number, alike in everything else; Enter builds them."
        self.blocks = widgets.Select(rows=5, description="Blocks", style=_STYLE)
        self.acts = {name: _button(*about) for name, about in _ACTS.items()}
        self.controls = {name: _control("Block", name) for name in _of("Block")}
        self.head = {name: _control("Head", name) for name in _of("Head")}
        self.init = _menu("init", CHOICES["NetSpec"]["init"], "How the weights are drawn; default is torch's own.")
        self.seed = widgets.BoundedIntText(0, min=0, max=2**31 - 1, description="Weights' seed", style=_STYLE)
        self.seed.tooltip = "Decides the first weights: the same seed draws the same ones."
        self.use_button = _button("Use this network", "check", "Put it on the bench, with new weights.")
        self.use_button.button_style = "primary"
        self.table = SummaryTable()
        self.copy = CopyButton(description="Copy code", tooltip="Copy the network as plain PyTorch.")
        self.code = widgets.HTML().add_class("convlab-code")
        grid = widgets.GridBox(list(self.controls.values())).add_class("convlab-settings")
        ends = widgets.GridBox([*self.head.values(), self.init, self.seed]).add_class("convlab-settings")
        top = widgets.HBox([self.gallery, self.ladder]).add_class("convlab-buttons")
        acts = widgets.HBox(list(self.acts.values())).add_class("convlab-buttons")
        end = widgets.HBox([self.use_button, self.copy]).add_class("convlab-buttons")
        words = {"block": "<b>The selected block</b>", "head": "<b>Head: from feature maps to classes</b>"}
        captions = {name: widgets.HTML(text) for name, text in words.items()}
        parts = [top, self.about, self.blocks, acts, captions["block"], grid, captions["head"], ends]
        super().__init__([Style(), *parts, end, self._messages, self.table, self.code], spec=spec or self._first())
        self.add_class("convlab").add_class("convlab-build")
        self._listen()
        self._show()

    def _first(self) -> NetSpec:
        size: Any = self._data.input_size
        net = NetSpec(size, num_classes=self._data.num_classes or 1, blocks=(Block(16),))
        try:
            return net.replace(blocks=Block.ladder(16, 32))
        except SpecError:  # too small to be pooled twice
            return net

    # -- what a hand does ---------------------------------------------------------------------------------------------

    def choose(self, name: str) -> None:
        """Take a network of the gallery, in the size that the data ask for.

        Raises:
            SpecError: it takes no such pictures.
        """
        size: Any = self._data.input_size
        adapted = GALLERY[name].adapted(input_size=size, num_classes=self._data.num_classes or 1)
        self.block = 0
        self.spec = adapted

    def change(self, **settings: object) -> None:
        """Change the selected block.

        Raises:
            SpecError: it cannot be; nothing changes.
        """
        blocks = list(self.spec.blocks)
        blocks[self.block] = blocks[self.block].replace(**settings)
        self.spec = self.spec.replace(blocks=tuple(blocks))

    def act(self, name: str) -> None:
        """``"add"``, ``"copy"``, ``"up"``, ``"down"`` or ``"remove"`` the selected block.

        Raises:
            SpecError: the network cannot be; nothing changes.
        """
        blocks, at = list(self.spec.blocks), self.block
        if name in ("add", "copy"):
            blocks.insert(at + 1, blocks[at].replace(pool="none") if name == "add" and blocks else blocks[at])
            to = at + 1
        elif name == "remove":
            if len(blocks) == 1:
                raise SpecError("the last block cannot be removed; change it, or choose a network above.")
            del blocks[at]
            to = max(0, at - 1)
        else:
            to = min(max(at + {"up": -1, "down": 1}[name], 0), len(blocks) - 1)
            blocks.insert(to, blocks.pop(at))
        spec = self.spec.replace(blocks=tuple(blocks))
        self.block = to
        self.spec = spec
        self._show()

    def climb(self, text: str) -> None:
        """Blocks with these numbers of filters, such as ``"16-32-64"``, all like the first.

        Raises:
            SpecError: the text holds no such numbers, or the network cannot be; nothing changes.
        """
        words = text.replace(",", "-").replace(" ", "-").split("-")
        try:
            numbers = [int(word) for word in words if word]
        except ValueError:
            numbers = []
        if not numbers:
            raise SpecError(f"Filters must be whole numbers, got {text[:40]!r}; try 16-32-64.")
        like = self.spec.blocks[0] if self.spec.blocks else Block(16)
        blocks = tuple(like.replace(out_channels=number) for number in numbers)
        spec = self.spec.replace(blocks=blocks)
        self.block = 0
        self.spec = spec

    def settle(self) -> None:
        """Block until everything asked for is shown."""
        self._latest.wait()

    # -- wiring -------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self.observe(lambda _: self._show(), "spec")
        self.gallery.observe(self._guarded(self._choose_named), "value")
        self.ladder.observe(self._guarded(self.climb), "value")
        self.blocks.observe(self._guarded(self._select), "value")
        for name, button in self.acts.items():
            button.on_click(lambda _, name=name: self._try(lambda: self.act(name)))
        for name, control in self.controls.items():
            control.observe(self._guarded(partial(self._change_block, name)), "value")
        for name, control in self.head.items():
            control.observe(self._guarded(partial(self._change_head, name)), "value")
        self.init.observe(self._guarded(lambda value: setattr(self, "spec", self.spec.replace(init=value))), "value")
        self.use_button.on_click(lambda _: self._latest.also(self._take))

    def _choose_named(self, name: str) -> None:
        if name:
            self.choose(name)

    def _change_block(self, name: str, value: Any) -> None:
        self.change(**{name: _typed(name, value)})

    def _change_head(self, name: str, value: Any) -> None:
        self.spec = self.spec.replace(head=self.spec.head.replace(**{name: _typed(name, value)}))

    def _select(self, value: Any) -> None:
        if value is not None:
            self.block = int(value)
            self._show()

    def _guarded(self, act: Callable[[Any], object]) -> Callable[[Any], None]:
        def changed(change: Any) -> None:
            if not self._moving:
                self._try(lambda: act(change["new"]))

        return changed

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except SpecError as error:
            self._messages.error(str(error))
            self._show(keep_message=True)
        except Exception as error:
            self._messages.exception(error)

    def _take(self) -> None:
        self._use(self.spec, int(self.seed.value))

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, SpecError):
            self._messages.error(str(error))
        else:
            self._messages.exception(error)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _show(self, keep_message: bool = False) -> None:
        """Move the controls to the recipe, and draw what it makes."""
        if not keep_message:
            self._messages.clear()
        spec = self.spec
        self._moving = True
        try:
            name = next((name for name in GALLERY if self._is(name, spec)), "")
            self.gallery.value = name
            self.about.value = _about(name, spec)
            self.block = min(self.block, max(0, len(spec.blocks) - 1))
            self.blocks.options = [(_told(i, block), i) for i, block in enumerate(spec.blocks)]
            self.blocks.value = self.block if spec.blocks else None
            if spec.blocks:
                for key, control in self.controls.items():
                    control.value = _shown(key, getattr(spec.blocks[self.block], key))
            for key, control in self.head.items():
                control.value = _shown(key, getattr(spec.head, key))
            self.init.value = spec.init
            self.acts["remove"].disabled = len(spec.blocks) < 2
            self.acts["add"].disabled = self.acts["copy"].disabled = len(spec.blocks) >= MOST_BLOCKS
            self.acts["up"].disabled, self.acts["down"].disabled = (
                self.block == 0,
                self.block >= len(spec.blocks) - 1,
            )
        finally:
            self._moving = False
        self._latest(lambda: self._draw(spec))

    def _is(self, name: str, spec: NetSpec) -> bool:
        try:
            return GALLERY[name].adapted(input_size=spec.input_size, num_classes=spec.num_classes) == spec
        except SpecError:
            return False

    def _draw(self, spec: NetSpec) -> None:
        self.table.show(summarize(preview(spec)))
        text = code(spec)
        self.copy.text = text
        self.code.value = f'<pre tabindex="0" aria-label="The network in PyTorch">{html.escape(text)}</pre>'


_ACTS: Final = {
    "add": ("Add", "plus", "A further block after this one, without pooling."),
    "copy": ("Duplicate", "copy", "The same block once more."),
    "up": ("Earlier", "arrow-up", "Swap it with the block before."),
    "down": ("Later", "arrow-down", "Swap it with the block after."),
    "remove": ("Remove", "trash", "Take it away."),
}


def _of(kind: str) -> list[str]:
    cls = {"Block": Block, "Head": Head}[kind]
    return [field.name for field in fields(cls) if field.name != "_"]


def _control(kind: str, name: str) -> Any:
    tooltip = HEAD_KIND if (kind, name) == ("Head", "kind") else WORDS.get(name, "")
    if name in CHOICES[kind]:
        return _menu(name, CHOICES[kind][name], tooltip)
    if name == "bias":
        control: Any = widgets.Checkbox(description="bias", indent=True, style=_STYLE)
    elif name == "dropout":
        control = widgets.FloatSlider(
            min=0, max=0.9, step=0.05, description="dropout", style=_STYLE, continuous_update=False
        )
    elif name in ("padding", "hidden"):
        control = widgets.Text(description=name, style=_STYLE, continuous_update=False)
    else:
        limits = NET_LIMITS[kind][name]
        control = widgets.BoundedIntText(
            min=int(limits.low), max=int(limits.high), description=name.replace("_", " "), style=_STYLE
        )
    control.tooltip = tooltip
    return control


def _menu(name: str, words: tuple[str, ...], tooltip: str) -> widgets.Dropdown:
    titled = f'<span title="{html.escape(tooltip)}">{name.replace("_", " ")}</span>'
    return widgets.Dropdown(options=words, description=titled, description_allow_html=True, style=_STYLE)


def _button(text: str, icon: str, tooltip: str) -> widgets.Button:
    return widgets.Button(description=text, icon=icon, tooltip=tooltip)


def _typed(name: str, value: Any) -> Any:
    if name == "hidden":
        words = str(value).replace(",", " ").split()
        if not all(word.isdigit() for word in words):
            raise SpecError(f"hidden must be whole numbers, got {str(value)[:40]!r}; try 64 or 120, 84.")
        return tuple(int(word) for word in words)
    if name == "padding" and str(value).strip().isdigit():
        return int(value)
    return value.strip() if isinstance(value, str) else value


def _shown(name: str, value: Any) -> Any:
    if name == "hidden":
        return ", ".join(map(str, value))
    return str(value) if name == "padding" else value


def _told(number: int, block: Block) -> str:
    """A block in a line."""
    times = f"{block.repeat} x " if block.repeat > 1 else ""
    parts = [f"{number + 1}: {times}{block.kind} {block.out_channels}, {block.kernel_size}x{block.kernel_size}"]
    parts += [f"stride {block.stride}"] if block.stride > 1 else []
    parts += [block.norm] if block.norm != "none" else []
    parts += [block.activation] if block.activation != "none" else []
    parts += [f"{block.pool} pool {block.pool_size}"] if block.pool != "none" else []
    parts += [f"dropout {block.dropout:g}"] if block.dropout else []
    return ", ".join(parts)


def _about(name: str, spec: NetSpec) -> str:
    if not name:
        return "<span>Blocks of your own; every change shows below before any weight is made.</span>"
    net = GALLERY[name]
    made_for = "x".join(map(str, net.spec.input_size))
    here = "x".join(map(str, spec.input_size))
    adapted = f", here adapted to {here} and {spec.num_classes} classes" if spec != net.spec else ""
    text = f"{net.lesson} Made for pictures of {made_for}{adapted}. {net.source}"
    return f"<span>{html.escape(text)}</span>"
