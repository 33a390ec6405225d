"""`python -m cli` is `fumehood`."""

from cli.app import main

main()
