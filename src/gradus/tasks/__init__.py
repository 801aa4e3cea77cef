"""What is trained: data, model, loss, metrics and objective; by name, or a user's own by import path."""

from gradus.tasks.batches import examples_in, kind_of
from gradus.tasks.checking import check_task
from gradus.tasks.data import Data
from gradus.tasks.diabetes import diabetes
from gradus.tasks.digits import digits
from gradus.tasks.fashion_mnist import fashion_mnist
from gradus.tasks.loading import MODELS, TASKS, load, load_model, load_task
from gradus.tasks.metrics import R2, Perplexity, accuracy
from gradus.tasks.models import CharacterNet, DiabetesNet, DigitsNet, LeNet
from gradus.tasks.objective import Objective
from gradus.tasks.scores import Outcome, Scores
from gradus.tasks.task import Split, Task
from gradus.tasks.topics import topics

__all__ = [
    "MODELS",
    "R2",
    "TASKS",
    "CharacterNet",
    "Data",
    "DiabetesNet",
    "DigitsNet",
    "LeNet",
    "Objective",
    "Outcome",
    "Perplexity",
    "Scores",
    "Split",
    "Task",
    "accuracy",
    "check_task",
    "diabetes",
    "digits",
    "examples_in",
    "fashion_mnist",
    "kind_of",
    "load",
    "load_model",
    "load_task",
    "topics",
]
