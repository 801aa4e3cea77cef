"""The words of the pictures, in English and in Simplified Chinese, and the fonts that have the latter's signs."""

from matplotlib import font_manager

from gradus.errors import GradusError, InvalidInput

__all__ = ["CHINESE", "FONTS", "LANGUAGES", "font_for", "translated"]

LANGUAGES = ("en", "zh")
# Fonts with the signs of Simplified Chinese, as systems and packages name them; the first that is installed is taken.
FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Arial Unicode MS",
)


def font_for(lang: str) -> list[str]:
    """The fonts that a language is written in; each sign is taken from the first that has it.

    Args:
        lang: "en" or "zh".

    Raises:
        InvalidInput: another language.
        GradusError: no font with Chinese signs is installed.
    """
    _known(lang)
    if lang == "en":
        return ["DejaVu Sans"]
    installed = set(font_manager.get_font_names())
    found = next((font for font in FONTS if font in installed), None)
    if found is None:
        raise GradusError(
            f"captions in Chinese need one of these fonts, and none is installed: {', '.join(FONTS)}; install one (Debian: "
            "apt install fonts-noto-cjk), or give matplotlib its file: matplotlib.font_manager.fontManager.addfont(path)"
        )
    return ["DejaVu Sans", found]


def translated(text: str, lang: str) -> str:
    """A text of the pictures in a language.

    Args:
        text: in English; what has no word in it, such as a formula, is the same in each.
        lang: "en" or "zh".

    Raises:
        InvalidInput: another language.
    """
    _known(lang)
    return text if lang == "en" else CHINESE.get(text, text)


def _known(lang: str) -> None:
    if lang not in LANGUAGES:
        raise InvalidInput(f'the language must be "en" or "zh"; got {lang!r}')


CHINESE = {
    # What many pictures share.
    "update": "更新次数",
    "loss": "损失",
    "loss y": "损失 y",
    "learning rate": "学习率",
    # Descent.
    "What does the learning rate do to plain gradient descent?": "学习率怎样影响普通的梯度下降？",
    "Below 1/L the path comes in from one side, at 1/L it lands in one update, up to 2/L it jumps to and fro and still "
    "comes in, at 2/L it bounces for ever, and beyond it runs away. L is the curvature.": (
        "学习率小于 1/L 时，参数从一侧逼近最小值；等于 1/L 时一步到达；在 1/L 与 2/L 之间来回振荡而仍收敛；"
        "等于 2/L 时永远往返；超过 2/L 就发散。L 是曲率。"
    ),
    "Gradient descent on y = 4x²: one start, several learning rates": "在 y = 4x² 上的梯度下降：同一起点，不同学习率",
    "Gradient descent on y = 4x²: many rates, {updates} updates": "在 y = 4x² 上的梯度下降：多个学习率，{updates} 次更新",
    "rate {rate:g}: {fate}": "学习率 {rate:g}：{fate}",
    "rates {low:g} to {high:g}": "学习率 {low:g} 至 {high:g}",
    "loss after {updates} updates": "{updates} 次更新后的损失",
    "runs away": "发散",
    "bounces for ever": "永远往返",
    "lands in one update": "一步到达",
    "jumps to and fro, and comes in": "来回振荡而收敛",
    "comes in from one side": "从一侧收敛",
}
