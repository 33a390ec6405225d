"""The gate: stands between worker and engine, and lets through what a worker needs. Its process alone has the engine's socket."""
