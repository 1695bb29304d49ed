"""The mail that came in: its log, its counts, its rounds, and the pages that show them."""
