"""Fine-tuning of a head and of the backbone's layers below it."""
