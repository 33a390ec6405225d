"""One module per revision of the schema; a published one is never changed."""
