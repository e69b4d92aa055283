from __future__ import annotations

import sys

import numpy as np
import pytest

from flowerbench.engine import Epoch
from flowerbench.progress import EpochBar


@pytest.fixture
def epoch():
    return Epoch(3, 0.0001, 0.5, 0.8125, 0.25, 0.9, 12.345, 9, np.zeros((10, 2), dtype=np.float32))


def test_off_a_terminal_there_is_no_bar_and_a_plain_line(epoch, capsys, caplog):
    caplog.set_level("INFO")
    with EpochBar(25) as bar:
        bar("train", 16, 32)
        bar.tell(epoch, is_best=True)
    assert caplog.messages == [
        "epoch  3/25  lr 0.0001   train loss 0.5000 accuracy 0.8125  val loss 0.2500 accuracy 0.9000  "
        "12.3 s  best so far"
    ]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_bar_shows_the_photos_done_and_goes_away(epoch, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), EpochBar(25) as bar:
        bar("train", 16, 32)
        bar.begin(4)
        bar("train", 5, 32)
        bar.tell(epoch, is_best=False)
        bar("val", 5, 10)
        raise KeyboardInterrupt
    shown = capsys.readouterr().err
    assert "epoch 1/25 train" in shown
    assert "16/32" in shown
    assert "epoch 4/25 train" in shown, "of another epoch can be told meanwhile"
    assert "epoch 4/25 val" in shown
    erased = shown.rpartition("epoch 4/25 val")[2]
    assert "\x1b[2K" in erased, "the line is erased at the end"
