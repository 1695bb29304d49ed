"""The install of the encryption tests, for the faults too."""

from tests.encryption.conftest import house

__all__ = ["house"]
