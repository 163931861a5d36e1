"""What CATNIP writes: components, run names, logs, atlas tables, counts. The only place that knows CATNIP."""
