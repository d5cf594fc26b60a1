"""What of a recorded cell stays on the disk, and how the rest goes without harm.

One rule decides (:mod:`policy`), one place knows what lies where (:mod:`places`), one removes
(:mod:`removal`): noted first, moved away in one step, then deleted, so that nothing half-removed
is ever taken for whole. What a record cites, what a live cell uses and what lies outside the cell's
folder is never touched; links are never followed.
"""
