"""Sweeps over fine-tuning settings of image classifiers, and a report of which differences are real."""

import os

__version__ = "0.1.0"

# Between two operations torch's threads wait for one another. In a busy loop, as by default, they starve whatever
# shares the machine with them: the processes that prepare photos, and other runs (on two busy cores: 5 photos a second
# instead of 78). Asleep, they have to be woken thousands of times a second: an epoch of a small model on two idle cores
# took 15.4 s. So they sleep after some microseconds: 5.8 s, and on busy cores no longer than asleep.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
