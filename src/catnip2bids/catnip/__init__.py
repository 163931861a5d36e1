"""CATNIP's output: components, run names, logs, atlas tables and counts; no other package knows its file names."""
