"""The tasks of docs/tasks.md: each is a newcomer's one function, in a file as the page shows it, and it learns."""

import re
from pathlib import Path

import pytest
import torch

from gradus.tasks import Scores, Task, check_task, examples_in, load_task
from gradus.tasks.hashing import digest_of

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "tasks.md"
EXAMPLES = sorted(path.stem for path in (HERE / "example_tasks").glob("*.py") if path.stem != "__init__")
examples = pytest.mark.parametrize("name", EXAMPLES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def load(name: str) -> Task:
    return load_task(f"example_tasks.{name}:task")


def test_the_page_shows_the_files() -> None:
    """Each file of an example is on the page, word for word but for the docstring at its top."""
    shown = dict(re.findall(r'```python title="(\w+)\.py"\n(.*?)```', PAGE.read_text(), re.DOTALL))
    files = {name: (HERE / "example_tasks" / f"{name}.py").read_text().split('"""', 2)[2].lstrip() for name in EXAMPLES}
    assert shown == files


@examples
def test_an_example_fits_and_learns(name: str) -> None:
    """The parts of each example fit together, and a few of its updates, each with its rate, lower the validation loss."""
    task = load(name)
    check_task(task, task.model())
    torch.manual_seed(0)
    model = task.model()
    first = _validated(task, model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(3):
        for batch in task.data("train").batches(0, epoch, task.batch_size):
            optimizer.zero_grad()
            task.loss_of(model, batch).loss.backward()
            optimizer.step()
    last = _validated(task, model)
    assert last["loss"] < first["loss"]
    assert task.objective.better(last[task.objective.name.removeprefix("valid/")], task.objective.worst)


@torch.inference_mode()
def _validated(task: Task, model: torch.nn.Module) -> dict[str, float]:
    scores = Scores(task.metrics or {})
    model.eval()
    for batch in task.data("valid").batches(0, 0, task.batch_size, shuffle=False):
        scores.add(task.loss_of(model, batch), examples_in(batch))
    model.train()
    return scores.values()


@examples
def test_an_examples_batches_go_on_from_any(name: str) -> None:
    """An example's batches from a number on are those of the whole pass, and so they are when it is loaded anew."""
    whole = [digest_of([batch]) for batch in load(name).data("train").batches(1, 2, 16)]
    again = [digest_of([batch]) for batch in load(name).data("train").batches(1, 2, 16, start=3)]
    assert again == whole[3:]
    assert load(name).digest() == load(name).digest()
