"""`python -m polyseme`: the command line without its script (torchrun starts modules)."""

from polyseme.cli.main import run

if __name__ == "__main__":
    run()
