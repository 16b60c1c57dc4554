"""What holds for all tests, and the processes that they start."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before anybody imports torch: its models are tiny here, and threads that wait for each other on
processors with other work make a test of seconds take minutes."""
