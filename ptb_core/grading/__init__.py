"""The grader: the outside LLM that decides what no rule can, and what it may cost.

One question passes through cache (:mod:`~ptb_core.grading.replies_cache`), budget
(:mod:`~ptb_core.grading.ledger`), patience (:mod:`~ptb_core.grading.patience`) and client
(:mod:`~ptb_core.grading.client`); :mod:`~ptb_core.grading.grader` puts them together and
:mod:`~ptb_core.grading.opening` makes one for a cell or for a folder.
"""
