"""What a person sees: the live view and tables. Never torch, never ray."""
