"""Installed plugins for the tests of ``ptb check``."""

from tests.plugins.conftest import install, site

__all__ = ["install", "site"]
