"""A member that starts again: what its objects show before it is ready."""

from contextlib import closing

from campaign import wait_until

from syncstructs import Node, ReplCounter
from syncstructs.cli.processes import free_addresses


def test_a_barrier_right_after_a_start_covers_the_objects_of_a_snapshot(tmp_path):
    [address] = free_addresses(1)
    config = {"data_dir": tmp_path, "snapshot_log_entries": 10, "log_keep_bytes": 100}
    hits = ReplCounter()
    with Node(address, [], consumers={"hits": hits}, **config) as node:
        for _ in range(100):
            hits.add(1)
        wait_until(lambda: node.status()["snapshot_index"] > 0, "a snapshot")
    again = ReplCounter()
    # Not as a context manager, which would wait until the node is ready.
    with closing(Node(address, [], consumers={"hits": again}, **config)) as node:
        node.barrier(10)
        assert again.value == 100
