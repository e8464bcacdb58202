"""`python -m calotype`: the same as the command `calotype`."""

from calotype.cli import main

if __name__ == "__main__":
    main()
