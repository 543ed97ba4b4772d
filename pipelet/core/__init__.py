"""The pure part: text to graph, outputs to inputs, facts to decisions. No file, clock, process or database."""
