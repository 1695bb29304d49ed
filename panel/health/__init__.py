"""The state of the install: the checks, and the pages, command and metrics that show them."""
