"""The parts of tests/benign/run.py: what a function of the corpus is, how it is run, how its runs are compared."""
