"""What answers a request: a module a page."""
