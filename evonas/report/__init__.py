"""Output for people: live view, tables, report page, lineage figure; without torch and ray."""
