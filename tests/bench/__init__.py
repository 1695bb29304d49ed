"""The benchmarks still run; how quick they find things to be is asserted nowhere."""
