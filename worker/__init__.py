"""The workshop: carries one job through the rooms."""
