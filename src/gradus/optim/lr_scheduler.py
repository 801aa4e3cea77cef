"""`gradus.lr_scheduler`, under the name by which torch's is imported."""

import sys

import gradus.lr_scheduler

__all__: list[str] = []

sys.modules[__name__] = gradus.lr_scheduler  # the very module: `import` gives what stands here
