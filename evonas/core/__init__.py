"""Settings, experiments, the registry of parts and file access, which all packages use."""
