"""What pages show, as plain data: no HTTP and no HTML."""
