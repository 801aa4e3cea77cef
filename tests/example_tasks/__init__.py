"""Tasks as a newcomer writes them, from docs/tasks.md; small enough for a test to train."""
