"""`python -m gradus`: the command line."""

from gradus.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
