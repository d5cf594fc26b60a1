"""Room on the disk: how much there is, how much a run needs, and waiting until it is there.

This is the guard before a disk is full; what happens when it is full all the same is in
:mod:`ptb_core.disk.faults`.
"""
