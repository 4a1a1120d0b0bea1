"""OpenAI's API: chat, completions and embeddings, as one answer or as events. Imported by `routes`."""
