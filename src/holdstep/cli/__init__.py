"""The command ``holdstep``."""


def main() -> int:
    """Run the command line."""
    raise NotImplementedError
