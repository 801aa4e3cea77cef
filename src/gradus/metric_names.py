"""What names of numbers in rows say: the part of the data, the metric; and how numbers are shown. Any other name is fine."""

__all__ = ["counted", "heading", "is_accuracy", "is_loss", "metric_of", "part_of", "shown", "worded"]

_PARTS = ("train", "valid", "test")


def part_of(name: str) -> str | None:
    """The part of the data that a number is of: "train", "valid" or "test"; None where its name doesn't say.

    >>> part_of("valid/accuracy"), part_of("reward")
    ('valid', None)
    """
    part, slash, _ = name.partition("/")
    return part if slash and part in _PARTS else None


def metric_of(name: str) -> str:
    """A number's name without the part of the data.

    >>> metric_of("valid/accuracy"), metric_of("reward")
    ('accuracy', 'reward')
    """
    return name if part_of(name) is None else name.partition("/")[2]


def is_accuracy(name: str) -> bool:
    """Whether a number is shown in per cent: its name ends in "accuracy"."""
    return name.endswith("accuracy")


def is_loss(name: str) -> bool:
    """Whether a number is drawn on a logarithmic axis: its name ends in "loss"."""
    return name.endswith("loss")


def worded(name: str) -> str:
    """The name as words.

    >>> worded("valid/top5_accuracy")
    'valid top5 accuracy'
    """
    return name.replace("/", " ").replace("_", " ")


def heading(name: str) -> str:
    """What a column of the number is called.

    >>> heading("valid/accuracy"), heading("train/loss")
    ('valid accuracy %', 'train loss')
    """
    return worded(name) + " %" * is_accuracy(name)


def shown(name: str, value: float) -> str:
    """The number under its heading: accuracies in per cent.

    >>> shown("valid/accuracy", 0.97224), shown("train/loss", 0.0123456)
    ('97.22', '0.01235')
    """
    return f"{100 * value:.2f}" if is_accuracy(name) else f"{value:.4g}"


def counted(number: int, noun: str) -> str:
    """A number of things, in words.

    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
