"""Batch jobs as workers: the server that they join, the jobs themselves, and the systems that run them."""
