"""Settings, experiments, the registry of parts and safe file reading, on which all packages stand."""
