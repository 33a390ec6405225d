"""The runner: what runs inside a sandbox.

A supervisor (the container's first process) imports the libraries, waits for the go line and forks a child, which reads
the tables, runs the script and writes the result. A second clean child collects figures and artifacts when the first is
dead. Only the supervisor writes the log and the report.
"""
