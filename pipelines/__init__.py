"""What runs on top of the package: DVC stages, the demonstration, scheduled jobs, benchmarks."""
