"""Sweeps over fine-tuning settings of image classifiers, and a report of which differences are real."""

import os

__version__ = "0.1.0"

# torch's threads otherwise wait for one another in a busy loop, which starves whatever shares the machine with them:
# the processes that prepare photos, and other runs (on two busy cores: 5 photos a second instead of 78).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
