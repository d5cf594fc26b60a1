"""A real small file system, as the tests of a full disk use it."""

from ..faults.conftest import disk as disk
