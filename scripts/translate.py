"""`transformer translate` from a checkout, for launchers that start a file, such as torchrun."""

import sys

from transformer.cli import main

if __name__ == "__main__":
    sys.exit(main(["translate", *sys.argv[1:]]))
