"""The words of the pictures, in English and in Simplified Chinese, and the fonts that have the latter's signs."""

from gradus.errors import GradusError, InvalidInput
from gradus.names import did_you_mean

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
    from matplotlib import font_manager  # a list of names takes captions, and no matplotlib

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
        raise InvalidInput(f'the language must be "en" or "zh"; got {lang!r}{did_you_mean(lang, LANGUAGES)}')


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
    # Averages.
    "What does an exponentially weighted average remember?": "指数加权平均记住了什么？",
    "About the last 1/(1 − β) values. The longer the memory, the smoother the average and the later it follows. It "
    "begins at 0, so early averages are too low until they are divided by 1 − βᵗ, as Adam does.": (
        "大约最近 1/(1 − β) 个值。记忆越长，平均越平滑，也越滞后。它从 0 开始，所以早期的平均偏小，"
        "要除以 1 − βᵗ 来修正偏差，Adam 正是这样做的。"
    ),
    "The weights (1 − β)βᵗ of an exponentially weighted average": "指数加权平均的权重 (1 − β)βᵗ",
    "A noisy daily series and its exponentially weighted averages": "带噪声的每日序列及其指数加权平均",
    "β = {beta:g}: memory {memory:.3g} days": "β = {beta:g}：记忆 {memory:.3g} 天",
    "dots: the memory 1/(1 − β)": "圆点：记忆 1/(1 − β)",
    "weight": "权重",
    "age t of the value, days": "数值的年龄 t（天）",
    "sum of the weights": "权重之和",
    "uncorrected": "未修正",
    "corrected": "已修正",
    "temperature, °C": "温度（°C）",
    "with bias correction": "有偏差修正",
    "day": "天",
    "β = {beta:g}, with and without bias correction": "β = {beta:g}，有无偏差修正",
    # Momentum.
    "What does momentum add, and how much is too much?": "动量带来什么？多少算太多？",
    "Without momentum small rates crawl; with too much the path overshoots and swings. Between lies critical damping at "
    "(1 − √(γL))². The averaged form is torch's at the rate γ(1 − μ), so its rates must be 1/(1 − μ) times as high.": (
        "没有动量，小学习率走得很慢；动量太大，路径越过最小值并来回摆动。两者之间是临界阻尼 (1 − √(γL))²。"
        "平均形式等于学习率为 γ(1 − μ) 的 torch 形式，所以它的学习率要大 1/(1 − μ) 倍。"
    ),
    "Momentum on y = 4x², from x = 2": "y = 4x² 上的动量法，从 x = 2 出发",
    "Four forms of momentum: rate {rate:g}, momentum {amount:g}": "动量的四种形式：学习率 {rate:g}，动量 {amount:g}",
    "What one update leaves of the distance on y = 4x²": "在 y = 4x² 上，一次更新后剩下的距离比例",
    "{amount:.3g} (critical): overshoot {over:.0f} %": "{amount:.3g}（临界）：超调 {over:.0f} %",
    "{amount:.3g}: overshoot {over:.0f} %": "{amount:.3g}：超调 {over:.0f} %",
    "momentum": "动量",
    "rate {rate:g}": "学习率 {rate:g}",
    "torch's": "torch 的形式",
    "averaged": "平均形式",
    "dampened: its first gradient is whole": "dampening 形式：第一个梯度不打折",
    "Nesterov's": "Nesterov 形式",
    "white: critical damping": "白线：临界阻尼",
    "part left after an update": "一次更新后剩下的比例",
    # Condition.
    "plain": "普通",
    "Why can't one learning rate serve two directions?": "为什么一个学习率不能同时照顾两个方向？",
    "The steep direction allows no rate above 2/κ, at which the flat one hardly moves: plain descent needs about κ "
    "updates, momentum √κ. Adam divides each axis by its own gradients, and needs about the same whatever κ is.": (
        "陡的方向不允许学习率超过 2/κ，而这时平的方向几乎不动：普通梯度下降约需 κ 次更新，动量法约需 √κ 次。"
        "Adam 把每个坐标除以它自己的梯度大小，无论 κ 多大，所需次数都差不多。"
    ),
    "Paths in ravines ½(x² + κy²), {updates} updates": "峡谷 ½(x² + κy²) 中的路径，{updates} 次更新",
    "{method}, κ = {kappa:g}": "{method}，κ = {kappa:g}",
    "What one update of plain descent leaves of the distance": "普通梯度下降一次更新后剩下的距离比例",
    "flat direction": "平的方向",
    "steep direction": "陡的方向",
    "best rate": "最佳学习率",
    "part left": "剩下的比例",
    "Updates until the loss is a millionth of the first": "损失降到最初的百万分之一所需的更新次数",
    "Adam, ravine turned": "Adam，峡谷转向",
    "condition number κ": "条件数 κ",
    "updates needed": "所需更新次数",
    # Race.
    "Where do the optimizers go, from one start and from ten thousand?": "从一个起点和一万个起点出发，各优化器走到哪里？",
    "Each has its rate found by the same rule, and still none wins everywhere. Which minimum is reached depends on the "
    "start, the optimizer and the rate; momentum shoots over, and noise keeps most from coming to rest.": (
        "各优化器的学习率按同一规则选出，仍没有一个处处领先。到达哪个最小值取决于起点、优化器和学习率；"
        "动量会冲过头，而噪声使大多数优化器停不下来。"
    ),
    "From one start: {landscape}": "从同一起点出发：{landscape}",
    "Where {points:,} starts end: {landscape}": "{points:,} 个起点的终点：{landscape}",
    "Rosenbrock's function": "Rosenbrock 函数",
    "Beale's function": "Beale 函数",
    "Himmelblau's function": "Himmelblau 函数",
    "a saddle": "鞍点",
    "a noisy quadratic": "带噪声的二次函数",
    "a cliff": "悬崖",
    "none": "无",
    "the minimum that was reached": "到达的最小值",
    "log₁₀ of the loss at the end": "终点损失的 log₁₀",
    "update {update}": "第 {update} 次更新",
    "{entrant}\nγ = {rate:g}; {starts} starts": "{entrant}\nγ = {rate:g}；{starts} 个起点",
    # Schedules.
    "Which schedules are there, and what do they do to the loss?": "有哪些学习率调度？它们怎样影响损失？",
    "The highest rate matters first, the shape second: schedules that fall forgive rates that are too high for a "
    "constant one. Warmup lets a deep network without normalisation train at a rate that it can't begin with.": (
        "首先要紧的是最高学习率，其次才是形状：下降的调度能容忍对恒定学习率来说过高的值。"
        "预热使没有归一化的深层网络能用一个一开始承受不了的学习率来训练。"
    ),
    "Every kind of schedule over {steps} steps": "每一种学习率调度，共 {steps} 步",
    "value": "取值",
    "factor": "乘法因子",
    "step": "步",
    "The six schedules of the reference experiment, on digits": "参考实验的六种调度，在手写数字上",
    "constant": "恒定",
    "square-root": "平方根",
    "multi-factor": "多步因子",
    "cosine": "余弦退火",
    "cosine with warmup": "预热后余弦退火",
    "epoch": "轮数",
    "training loss": "训练损失",
    "Warmup on a network of {layers} layers without normalisation": "{layers} 层无归一化网络上的预热",
    "warmup of {updates} updates": "{updates} 次更新的预热",
    "no warmup": "无预热",
    "guessing": "随机猜测",
    "loss of the batch": "小批量的损失",
    "Test accuracy on digits after {epochs} epochs": "手写数字上 {epochs} 轮后的测试准确率",
    "test accuracy, %": "测试准确率（%）",
    "highest learning rate": "最高学习率",
    "schedule": "调度",
    "inverse root": "平方根倒数",
    "steps": "阶梯",
    "linear": "线性",
    "warmup, cosine": "预热，余弦退火",
    # Rate and batch.
    "How far may one step go, and what has the batch size to do with it?": "一步可以走多远？批量大小与它有什么关系？",
    "Along the gradient the loss falls and rises again: a step at a low rate stops short of the lowest point, one at "
    "too high a rate lands beyond it, or higher than it began. In so many epochs a larger batch makes fewer updates, "
    "and has to go further with each.": (
        "沿负梯度方向损失先降后升：学习率低，一步到不了最低点；学习率太高，就越过它，甚至落到更高处。"
        "轮数固定时，批量越大，更新越少，每一步就得走得越远。"
    ),
    "The loss along the negative gradient, where training at a rate led": "沿负梯度的损失，起点为以某学习率训练到的地方",
    "the training's rate": "训练所用学习率",
    "after {update} updates": "{update} 次更新后",
    "step γ along −g": "沿 −g 的步长 γ",
    "loss there / loss here": "那里的损失 / 这里的损失",
    "batch size, images": "批量大小（图像）",
    "circles: the best rate of each batch size": "圆圈：每种批量大小的最佳学习率",
}
