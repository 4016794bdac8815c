"""Run `transformer train` from a checkout; for launchers that need a file, such as torchrun."""

import sys

from transformer.cli.main import command

if __name__ == "__main__":
    command(["train", *sys.argv[1:]])
