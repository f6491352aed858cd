"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("holdstep")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0.0.0"
