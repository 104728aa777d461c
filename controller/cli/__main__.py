"""`python -m controller.cli` is the command `evaline`."""

from controller.cli.app import main

main()
