"""`python -m qtheory` is the command line."""

from qtheory.cli import main

main()
