"""Running programs that a model wrote: in sandboxes of their own, with limits, for a verdict."""
