"""The command `evaline`."""

from controller.cli.app import main

__all__ = ["main"]
