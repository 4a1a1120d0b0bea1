"""InferenceHub against the others, as programs that a user can run; nothing under services/ imports it."""
