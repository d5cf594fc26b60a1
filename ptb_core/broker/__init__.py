"""The broker: development evaluation whose answers, graders and keys stay outside the sandbox.

evaluate.py generates with the agent's own hardware and posts its completions through a unix
socket; a process beside the supervisor scores them as the final evaluation would, and answers
with numbers only. :mod:`~ptb_core.broker.messages` is what is said,
:mod:`~ptb_core.broker.client` the inside, :mod:`~ptb_core.broker.server` and
:mod:`~ptb_core.broker.scoring` the outside, :mod:`~ptb_core.broker.calls` what is kept of it, and
:mod:`~ptb_core.broker.process` the process and who looks after it.
"""
