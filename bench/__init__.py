"""One file per question; peers beside us in the same run. See script/bench."""
