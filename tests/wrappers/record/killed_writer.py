"""Records until it is killed, and prints the number of each episode that was acknowledged.

Run as a program, it starts such processes one after the other, and kills them: each is a copy of
this one, so that they need not all import NumPy and HDF5.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from holdstep.wrappers.record.columns import Column, RowLayout
from holdstep.wrappers.record.store import EpisodeStore

LAYOUT = RowLayout(
    [Column("actions", "int32", (16,), "step"), Column("obs/x", "uint8", (3,), "observation")]
)


def content(uid, num_steps):
    """Rows that tell whose they are."""
    words = (np.arange(num_steps * 16, dtype=np.int32) + 1000 * uid).reshape(num_steps, 16)
    return words, (words[:, :3] % 251).astype(np.uint8)


def length(uid):
    return 3 + uid % 5


def main(path):
    store = EpisodeStore(path, layout=LAYOUT, attributes={}, segment_bytes=4000, shard_bytes=20_000)
    print("ready", flush=True)
    while True:
        uids = []
        for row in range(4):
            first = np.zeros(LAYOUT.num_words, np.int32), np.zeros(LAYOUT.num_bytes, np.uint8)
            uid = store.begin(row, *first, {})
            words, bytes_ = content(uid, length(uid))
            store.append(uid, words[:2], bytes_[:2])
            store.append(uid, words[2:], bytes_[2:])
            store.end(uid, ended="reset", success=None, attributes={}, final=None)
            uids.append(uid)
        store.commit()
        print(*uids, sep="\n", flush=True)
        store.compact()


def kill_one(path, delay_s):
    """Start a writer, kill it, and pass on what it had acknowledged."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writing, 1)
        main(path)
    os.close(writing)
    with open(reading) as output:
        assert output.readline() == "ready\n"
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        # The last line may have been cut off.
        print(*output.read().split("\n")[:-1], sep="\n", flush=True)


if __name__ == "__main__":
    for delay_s in map(float, sys.argv[2:]):
        kill_one(sys.argv[1], delay_s)
