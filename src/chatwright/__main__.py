"""`python -m chatwright`: the same as the `chatwright` command, for `torchrun -m`."""

from chatwright.cli import main

if __name__ == "__main__":
    main()
