"""A module that does what its argument says: for tests.house.test_warm."""

import sys

if __name__ == "__main__":
    exec(sys.argv[1])  # noqa: S102 - the test's own lines
