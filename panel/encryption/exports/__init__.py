"""The key exported and imported again: an age file, or a sheet of paper for a safe.

`export` writes and takes back; `age` and `sheet` are the two forms as pure functions, `sheet_page` what
is printed, and `copies` reads whichever form a copy has.
"""
