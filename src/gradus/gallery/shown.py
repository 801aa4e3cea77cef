"""What every demonstration gives: its data, and pictures of it in two languages, on light and dark paper."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from PIL import Image

from gradus.errors import InvalidInput
from gradus.gallery.captions import font_for, translated
from gradus.gallery.demonstrations import DEMONSTRATIONS, FORMATS
from gradus.names import did_you_mean
from gradus.plots import Picture, line_style
from gradus.plots import style as plain_style

__all__ = ["Draw", "Film", "MakeFilm", "Shown", "Style", "StyledFigure", "render"]

WIDTH = 6.5  # inches: at 600 pixels its smallest letters are still 10 pixels high
_FILM_DPI = 92  # 600 pixels
_FRAME = 80  # milliseconds
_PAUSE = 1500  # milliseconds, at the end


class StyledFigure(Picture):
    """A figure that keeps the style it was made in, wherever it is drawn."""

    settings: dict[Any, Any]

    def draw(self, renderer: RendererBase) -> None:
        """Draw it in its own style: ticks are made here, and read their colours from matplotlib's settings."""
        with mpl.rc_context(self.settings):
            super().draw(renderer)


class Style:
    """What a picture is drawn with: a language, and light paper or dark.

    Args:
        lang: "en" or "zh".
        dark: light lines on dark paper.

    Raises:
        InvalidInput: another language.
        GradusError: no font for the language is installed.
    """

    def __init__(self, lang: str = "en", dark: bool = False) -> None:
        self.lang, self.dark = lang, dark
        self.settings = {**plain_style(dark), "font.family": font_for(lang), "svg.hashsalt": "gradus", "axes.titlesize": 10}
        self.ink = "#E6E6E6" if dark else "#222222"
        self.faint = "#7A828C" if dark else "#9A9A9A"
        span = (0.3, 1.0) if dark else (0.0, 0.85)  # colours that contrast with the paper
        colours = mpl.colormaps["viridis"](np.linspace(*span, 256))
        self.colours = ListedColormap(colours).with_extremes(bad=self.faint)

    def text(self, text: str, **values: Any) -> str:
        """A text of the pictures in the style's language, with values put in."""
        return translated(text, self.lang).format(**values)

    def line(self, index: int) -> dict[str, Any]:
        """A colour and a kind of line for the curve of that index."""
        return line_style(index, self.dark)

    def figure(self, height: float, title: str, **values: Any) -> StyledFigure:
        """An empty picture of that height in inches, with a title."""
        figure = StyledFigure(figsize=(WIDTH, height), layout="constrained")
        figure.settings = self.settings
        figure.suptitle(self.text(title, **values), fontsize=11)
        return figure

    def heat(self, axes: Axes, values: np.ndarray, columns: Iterable[float], rows: Iterable[object], scale: str) -> None:
        """A map of numbers, each written in its cell; NaN is grey.

        Args:
            axes: where to.
            values: `[rows, columns]`, from 0 to 100.
            columns: what each column is.
            rows: what each row is.
            scale: what the colours say.
        """
        axes.grid(False)
        image = axes.imshow(values, cmap=self.colours, vmin=0, vmax=100, origin="lower", aspect="auto")
        axes.set_xticks(range(values.shape[1]), [f"{column:g}" for column in columns])
        axes.set_yticks(range(values.shape[0]), [str(row) for row in rows])
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="black" if value > 60 else "white")
        assert axes.figure is not None  # it has been made by one
        axes.figure.colorbar(image, ax=axes, label=scale)

    def label(self, axes: Axes, x: str = "", y: str = "", title: str = "", **values: Any) -> None:
        """Name the axes of a panel, with their units, and the panel."""
        for name, text in (("xlabel", x), ("ylabel", y), ("title", title)):
            if text:
                axes.set(**{name: self.text(text, **values)})

    def label_grid(self, panels: np.ndarray, x: str, y: str) -> None:
        """Name the x axes of the lowest row of panels, and the y axes of the first column."""
        for axes in panels[-1]:
            self.label(axes, x)
        for axes in panels[:, 0]:
            self.label(axes, y=y)


@dataclass(frozen=True)
class Film:
    """A picture that moves.

    Args:
        figure: the picture.
        frames: what `move` is called with, for one frame after the other.
        move: changes the artists to what a frame shows.
        moving: the artists that it changes; all else is drawn once.
    """

    figure: StyledFigure
    frames: Sequence[int]
    move: Callable[[int], None]
    moving: Sequence[Artist]

    def gif(self) -> bytes:
        """The film as the contents of a GIF file that is shown again and again."""
        with mpl.rc_context(self.figure.settings):
            images = self._images()
        palette = images[-1].quantize(128, dither=Image.Dither.NONE)
        first, *others = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images)
        content = io.BytesIO()
        durations = [_FRAME] * len(others) + [_PAUSE]
        first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
        return content.getvalue()

    def _images(self) -> list[Image.Image]:
        self.figure.set_dpi(_FILM_DPI)
        canvas: Any = FigureCanvasAgg(self.figure)  # its methods lack annotations
        for artist in self.moving:
            artist.set_animated(True)  # left out of the background
        canvas.draw()
        background, images = canvas.copy_from_bbox(self.figure.bbox), []
        for frame in self.frames:
            self.move(frame)
            canvas.restore_region(background)
            for artist in self.moving:
                artist.draw(canvas.get_renderer())
            images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
        return images


Draw = Callable[[Style], StyledFigure]
MakeFilm = Callable[[Style], Film]


class Shown:
    """The base of what demonstrations give: the data are fields, the pictures are drawn on request."""

    name: ClassVar[str]  # of `DEMONSTRATIONS`

    def pictures(self) -> Mapping[str, Draw]:
        """What can be drawn, by name; the first is what `figure()` gives."""
        raise NotImplementedError

    def films(self) -> Mapping[str, MakeFilm]:
        """What moves, by name."""
        return {}

    def tables(self) -> str:
        """What is best read as numbers: lines of text, or none."""
        return ""

    def caption(self, lang: str = "en") -> str:
        """The question, and what to take away.

        Args:
            lang: "en" or "zh".

        Raises:
            InvalidInput: another language.
        """
        said = DEMONSTRATIONS[self.name]
        return f"{translated(said.question, lang)}\n{translated(said.lesson, lang)}"

    def figure(self, picture: str | None = None, *, lang: str = "en", dark: bool = False) -> StyledFigure:
        """A picture.

        Args:
            picture: which of `pictures()`; the first unless given.
            lang: "en" or "zh", which needs a font with Chinese signs.
            dark: light lines on dark paper.

        Raises:
            InvalidInput: there is no such picture or language.
            GradusError: no font for the language is installed.
        """
        style = Style(lang, dark)
        with mpl.rc_context(style.settings):
            draw: Draw = _named(self.pictures(), picture, "picture")
            return draw(style)

    def film(self, film: str | None = None, *, lang: str = "en", dark: bool = False) -> Film:
        """A picture that moves.

        Args:
            film: which of `films()`; the first unless given.
            lang: "en" or "zh", which needs a font with Chinese signs.
            dark: light lines on dark paper.

        Raises:
            InvalidInput: there is no such film or language, or nothing that moves.
            GradusError: no font for the language is installed.
        """
        style = Style(lang, dark)
        with mpl.rc_context(style.settings):
            make: MakeFilm = _named(self.films(), film, "film")
            return make(style)


def _named(choices: Mapping[str, Any], name: str | None, kind: str) -> Any:
    if not choices:
        raise InvalidInput(f"this demonstration has no {kind}")
    if name is not None and name not in choices:
        raise InvalidInput(f"unknown {kind} {name!r}{did_you_mean(name, choices)}; there is {', '.join(choices)}")
    return choices[name if name is not None else next(iter(choices))]


def render(shown: Shown, name: str, format: str, *, lang: str = "en", dark: bool = False) -> bytes:  # noqa: A002
    """A picture or film as the contents of a file, the same bytes each time.

    Args:
        shown: what a demonstration gave.
        name: of the picture, or of the film where the format is "gif".
        format: "png", "svg" or "gif".
        lang: "en" or "zh".
        dark: light lines on dark paper.

    Raises:
        InvalidInput: there is no such picture, film, format or language.
        GradusError: no font for the language is installed.
    """
    if format not in FORMATS:
        raise InvalidInput(
            f"the format must be {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; got {format!r}{did_you_mean(format, FORMATS)}"
        )
    if format == "gif":
        return shown.film(name, lang=lang, dark=dark).gif()
    figure = shown.figure(name, lang=lang, dark=dark)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    with mpl.rc_context(figure.settings):  # the salt of an SVG's names is read when it is saved
        figure.savefig(content, format=format, metadata={"Date": None} if format == "svg" else None)
    return _with_few_colours(content) if format == "png" else content.getvalue()


def _with_few_colours(png: io.BytesIO) -> bytes:
    """The same picture in 256 colours: a third of the size, and no eye sees a difference."""
    smaller = io.BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()
