"""The command `calotype`, and `python -m calotype`."""

import signal


def main() -> None:
    """Load the program and run a command; Ctrl-C while it loads ends it without a traceback."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from calotype.cli import main as run  # noqa: PLC0415  (it takes the better part of a second)

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
