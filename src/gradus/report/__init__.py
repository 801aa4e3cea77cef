"""What came of many runs, as numbers first: tables, JSON and pictures are made from these, and from the Store alone."""

from gradus.report.comparison import Comparison
from gradus.report.finished import Finished, TaskInfo
from gradus.report.summary import Summary
from gradus.report.tables import Table

__all__ = ["Comparison", "Finished", "Summary", "Table", "TaskInfo"]
