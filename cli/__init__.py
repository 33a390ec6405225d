"""The counter: the `fumehood` command. It runs on the user's own machine, so it may read tables; the service never does."""
