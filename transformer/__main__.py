"""`python -m transformer` is the `transformer` command."""

from transformer.cli.main import command

if __name__ == "__main__":
    command()
